"""A plan at once: pods put one after another on the first node that takes them, domains in a given order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from solver.bound.vectors import MakeTerms
from solver.compile.problem import Problem, free_by_node
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints
from solver.rules import spread
from solver.search.worth import states_of_pods, worth

States = Mapping[int, int]


@dataclass(frozen=True)
class Placed:
    """A placement of the whole frame. states: node index → host state. sums: by term, constants included."""

    states: States
    sums: tuple[int, ...]


def filled(problem: Problem, make_terms: MakeTerms, order: Ints, budget: Budget, mixed: bool = True) -> Placed | None:
    """A placement with the nodes taken in `order`, or None when this way finds none.

    order: [some nodes] indices. mixed: roles take turns in proportion to their pods, so that a domain gets its share of
    each; else the largest pods come first, which wastes least room. A required group goes replica by replica into the
    first domain that takes it whole. Raises OutOfTime.
    """
    filler = _Filler(problem, order, budget, mixed)
    if not filler.replica(0, filler.order):
        return None
    states = filler.states()
    sums = None if states is None else worth(problem, make_terms, states)
    return None if states is None or sums is None else Placed(states, sums)


@dataclass
class _Filler:
    problem: Problem
    order: Ints
    budget: Budget
    mixed: bool
    placed: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        problem = self.problem
        self.free = free_by_node(problem.snapshot, problem.resources).copy()
        self.waiting = np.array(problem.totals, dtype=np.int64) - problem.running.sum(axis=1)
        self.limits = self._limits()
        self.required = cache(self._required)

    def _limits(self) -> list[tuple[tuple[int, ...], Codes, Ints]]:
        """(roles, domain of each node, pods each domain may still take) of every spread rule on roles."""
        problem, found = self.problem, []
        for level in range(problem.tree.height + 1):
            domain_of = problem.tree.domain_of[level]
            for roles, most in spread.role_limits(problem, level):
                left = np.where(problem.tree.real[level], most, problem.frame.pods)
                np.subtract.at(left, domain_of, problem.running[list(roles)].sum(axis=0))
                found.append((roles, domain_of, left))
        return found

    def replica(self, group: int, nodes: Ints) -> bool:
        """Place one replica of a group on `nodes`; nothing is changed when that fails."""
        level = self.problem.frame.groups[group].required
        if not level:
            return self.content(group, nodes)
        domains = self.problem.tree.domain_of[level][nodes]
        _, first = np.unique(domains, return_index=True)
        home = self._home(group, level)
        for domain in domains[np.sort(first)].tolist():
            self.budget.check()
            if home in (None, domain) and self.problem.tree.real[level][domain]:
                here = nodes[domains == domain]
                if self._has_room(group, here) and self.content(group, here):
                    return True
        return False

    def content(self, group: int, nodes: Ints) -> bool:
        """Place what one replica of a group holds, required groups first."""
        before = len(self.placed)
        done = all(self.replica(child, nodes) for child, copies in self.required(group) for _ in range(copies)) and all(
            self.pod(role, nodes) for role in self._turns(group)
        )
        if not done:
            self._take_back(before)
        return done

    def pod(self, role: int, nodes: Ints) -> bool:
        """Place one pod on the first of `nodes` that takes it."""
        self.budget.check()
        asked = self.problem.requests[role]
        fits = self.problem.masks[role, nodes] & (self.free[nodes] >= asked).all(axis=1)
        for roles, domain_of, left in self.limits:
            if role in roles:
                fits &= left[domain_of[nodes]] > 0
        at = int(np.argmax(fits)) if len(nodes) else 0
        if not len(nodes) or not fits[at]:
            return False
        self._move(role, int(nodes[at]), 1)
        self.placed.append((role, int(nodes[at])))
        return True

    def states(self) -> States | None:
        """Host states of the nodes in use; None when a replica is torn apart where it has to be whole."""
        pods = self.problem.running.copy()
        for role, node in self.placed:
            pods[role, node] += 1
        nodes = np.flatnonzero(pods.any(axis=0))
        return states_of_pods(self.problem, nodes, pods[:, nodes])

    def _has_room(self, group: int, nodes: Ints) -> bool:
        """Whether a replica fits as far as the sums of free amounts tell."""
        inside = np.minimum(np.array(self.problem.frame.groups[group].inside), self.waiting)
        return bool((np.maximum(self.free[nodes], 0).sum(axis=0) >= inside @ self.problem.requests).all())

    def _home(self, group: int, level: int) -> int | None:
        """Where running members hold a group's replica; groups with running members have one."""
        inside = [role for role, size in enumerate(self.problem.frame.groups[group].inside) if size]
        nodes = np.flatnonzero(self.problem.running[inside].any(axis=0))
        return int(self.problem.tree.domain_of[level][nodes[0]]) if len(nodes) else None

    def _required(self, group: int) -> list[tuple[int, int]]:
        """The outermost required groups inside one replica of a group, the largest first, with their replicas."""
        groups = self.problem.frame.groups
        found: list[tuple[int, int]] = []
        for child in groups[group].children:
            self.budget.check()
            copies = groups[child].count // groups[group].count
            inner = [(child, 1)] if groups[child].required else self.required(child)
            found += [(each, count * copies) for each, count in inner]
        return sorted(found, key=lambda item: -self._size(groups[item[0]].inside))

    def _size(self, pods: Sequence[int]) -> int:
        roles = zip(pods, self.problem.frame.roles, strict=True)
        return sum(count * max(1, 1000 * role.gpus) for count, role in roles)

    def _turns(self, group: int) -> list[int]:
        """Roles of the pods one replica holds outside required groups, in the order in which they are placed."""
        counts = np.array(self.problem.frame.groups[group].inside)
        for child, copies in self.required(group):
            counts -= copies * np.array(self.problem.frame.groups[child].inside)
        counts = np.minimum(counts, self.waiting)
        sizes = [role.gpus for role in self.problem.frame.roles]
        if not self.mixed:
            return [at for at in sorted(range(len(counts)), key=lambda at: -sizes[at]) for _ in range(counts[at])]
        turns = [((turn + 0.5) / count, -sizes[at], at) for at, count in enumerate(counts) for turn in range(count)]
        return [at for _, _, at in sorted(turns)]

    def _take_back(self, before: int) -> None:
        for role, node in self.placed[before:]:
            self._move(role, node, -1)
        del self.placed[before:]

    def _move(self, role: int, node: int, count: int) -> None:
        self.free[node] -= count * self.problem.requests[role]
        self.waiting[role] -= count
        for roles, domain_of, left in self.limits:
            if role in roles:
                left[domain_of[node]] -= count
