"""One domain of the model: the counts of its space, and auxiliary quantities made on demand and only once."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from solver.compile.problem import Problem
from solver.model.variables import Expr, Hint, Variables, scaled, weighted


class DomainVariables:
    """Counts of one domain at `level`, as terms and rules see it (solver.compile.view.DomainView).

    counts: by dim of the level's space. most: by role, the largest number of pods the domain can hold.
    hints: by dim, or None throughout.
    """

    def __init__(
        self,
        problem: Problem,
        variables: Variables,
        level: int,
        bits: int,
        hole: int,
        counts: Sequence[Expr],
        hints: Sequence[Hint],
        most: Sequence[int],
    ) -> None:
        self.problem, self.variables = problem, variables
        self.level, self.bits, self.hole = level, bits, hole
        self.counts, self.hints = list(counts), list(hints)
        self.most = [min(total, cap) for total, cap in zip(problem.totals, most, strict=True)]
        self.space = problem.layout.spaces[level]
        self._steps: dict[int, list[tuple[Expr, Hint]]] = {}
        self._products: dict[tuple[int, int], Expr] = {}
        self._present: dict[tuple[int, ...], Expr] = {}
        self._closed: dict[int, Expr] = {}

    def pods(self, roles: Sequence[int]) -> Expr:
        """Pods of the roles together."""
        return weighted(self.counts, self._weights(roles))

    def pods_hint(self, roles: Sequence[int]) -> Hint:
        """The hinted value of `pods`."""
        return scaled(self.hints, self._weights(roles))

    def _weights(self, roles: Sequence[int]) -> list[int]:
        return [
            int(value) for value in self.space.role_matrix[np.array(roles, dtype=np.int64)].sum(axis=0, dtype=np.int64)
        ]

    def replicas(self, group: int) -> Expr:
        """Replicas of a group that is counted whole at this level."""
        return weighted(self.counts, [int(value) for value in self.space.group_matrix[group]])

    def product(self, left: int, right: int) -> Expr:
        """At most n_left · n_right, order-encoded on the role with fewer pods; n · (n − 1) for one role, exactly."""
        key = (left, right)
        if key not in self._products:
            self._products[key] = self._square(left) if left == right else self._rectangle(left, right)
        return self._products[key]

    def _square(self, role: int) -> Expr:
        steps = self.steps(role)
        return weighted([literal for literal, _ in steps], [2 * at for at in range(len(steps))])

    def _rectangle(self, left: int, right: int) -> Expr:
        few, many = (left, right) if self.most[left] <= self.most[right] else (right, left)
        cap = self.most[many]
        other, other_hint = self.pods((many,)), self.pods_hint((many,))
        total: Expr = 0
        if not cap:
            return total
        for literal, hint in self.steps(few):
            value = None if hint is None or other_hint is None else hint * other_hint
            part = self.variables.integer(0, cap, value)
            self.variables.add(part <= cap * literal)
            self.variables.add(part <= other)
            total = total + part
        return total

    def steps(self, role: int) -> list[tuple[Expr, Hint]]:
        """Literals u_1 ≥ u_2 ≥ … whose sum is the role's pods here, with their hints."""
        if role not in self._steps:
            hint = self.pods_hint((role,))
            literals = [
                (
                    self.variables.boolean(None if hint is None else int(hint > at)),
                    None if hint is None else int(hint > at),
                )
                for at in range(self.most[role])
            ]
            for (upper, _), (lower, _) in pairwise(literals):
                self.variables.add(upper >= lower)
            self.variables.add(sum(literal for literal, _ in literals) == self.pods((role,)))
            self._steps[role] = literals
        return self._steps[role]

    def absolute(self, left: Sequence[int], right: Sequence[int], by_left: int, by_right: int) -> Expr:
        """At least |n_left · by_left − n_right · by_right|."""
        pull = self.pods(left) * by_left - self.pods(right) * by_right
        most = max(by_left * sum(self.most[role] for role in left), by_right * sum(self.most[role] for role in right))
        first, second = self.pods_hint(left), self.pods_hint(right)
        hint = None if first is None or second is None else abs(first * by_left - second * by_right)
        bound = self.variables.integer(0, most, hint)
        self.variables.add(bound >= pull)
        self.variables.add(bound >= -pull)
        return bound

    def excess(self, left: Sequence[int], right: Sequence[int], by_left: int, by_right: int) -> Expr:
        """At least max(0, n_left · by_left − n_right · by_right)."""
        most = by_left * sum(self.most[role] for role in left)
        first, second = self.pods_hint(left), self.pods_hint(right)
        hint = None if first is None or second is None else max(0, first * by_left - second * by_right)
        bound = self.variables.integer(0, most, hint)
        self.variables.add(bound >= self.pods(left) * by_left - self.pods(right) * by_right)
        return bound

    def present(self, roles: Sequence[int]) -> Expr:
        """1 when any pod of the roles is here, and only then."""
        key = tuple(roles)
        if not any(self._weights(key)):
            return 0
        if key not in self._present:
            hint = self.pods_hint(key)
            literal = self.variables.boolean(None if hint is None else int(hint > 0))
            pods = self.pods(key)
            self.variables.add(pods <= sum(self.most[role] for role in key) * literal)
            self.variables.add(pods >= literal)
            self._present[key] = literal
        return self._present[key]

    def while_present(self, roles: Sequence[int], weights: Sequence[int]) -> Expr:
        """At most Σ weight · pods over all roles, and 0 unless any pod of `roles` is here."""
        every = range(len(weights))
        most = sum(weight * self.most[role] for role, weight in zip(every, weights, strict=True))
        values = [self.pods_hint((role,)) for role in every]
        here = self.pods_hint(tuple(roles))
        hint = None if here is None else (scaled(values, weights) if here else 0)
        part = self.variables.integer(0, most, hint)
        self.variables.add(part <= weighted([self.pods((role,)) for role in every], weights))
        self.variables.add(part <= most * self.present(roles))
        return part

    def closed(self, group: int) -> Expr:
        """At most the number of whole replicas of the group that the pods here make up."""
        if group not in self._closed:
            sizes = self.problem.frame.groups[group].inside
            used = [(role, size) for role, size in enumerate(sizes) if size]
            most = min(self.most[role] // size for role, size in used)
            values = [self.pods_hint((role,)) for role, _ in used]
            hint = None
            if None not in values:
                hint = min(value // size for value, (_, size) in zip(values, used, strict=True) if value is not None)
            whole = self.variables.integer(0, most, hint)
            for role, size in used:
                self.variables.add(size * whole <= self.pods((role,)))
            self._closed[group] = whole
        return self._closed[group]
