"""All gangs of a batch in one CP-SAT model, by the states that their tables leave: a literal for each state.

Where a gang's limit is its own optimum, hardly a domain has more than two states left, so the model is small where one
by counts of pods is not; and what a domain costs is a number at each literal, not a product of counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm

import numpy as np
from ortools.sat.python import cp_model

from solver.batch.variants import OF_SHAPE, Limits, Variant
from solver.domain.budget import Budget
from solver.domain.errors import TooLarge
from solver.domain.snapshot import Ints, Snapshot
from solver.model.variables import Expr, Variables
from solver.rules import queue
from solver.search.cpsat import Run, run
from solver.search.joint import MOST_SUM
from solver.topology.tree import Tree

#: Most literals of one model; searches of more hardly end.
MOST_LITERALS = 60_000
#: Numbers of a standing, before `fragmentation`.
SUMS = 6


@dataclass(frozen=True)
class Choice:
    """States a domain may be in, and whether it is in each: literals, which add up to whether the variant is chosen."""

    states: Sequence[int]
    literals: Sequence[Expr]

    def weighted(self, weights: Ints) -> list[tuple[int, Expr]]:
        """What the state weighs, as (weight, literal) pairs. weights: by state."""
        return [(int(weight), literal) for weight, literal in zip(weights, self.literals, strict=True) if weight]


@dataclass(frozen=True)
class Part:
    """One variant of a member in the model. chosen: 1 where it is the only one. choices: by (level, domain)."""

    member: int
    variant: Variant
    chosen: Expr
    choices: Mapping[tuple[int, int], Choice]

    def pods(self, level: int, domain: int) -> Ints:
        """[roles, states left] pods of each role in the domain."""
        return self.variant.problem.layout.spaces[level].pods[:, self.choices[level, domain].states]


@dataclass
class United:
    """The model of `members`, each by its variants, none beyond its limits.

    Raises TooLarge when it has too many literals, OutOfTime while it is built. sums: of each number of a standing, what
    every literal adds. left: by (level, domain) GPUs wholly free afterwards.
    """

    snapshot: Snapshot
    tree: Tree
    members: Sequence[Sequence[Variant]]
    limits: Sequence[Limits]
    budget: Budget
    parts: list[Part] = field(default_factory=list)
    sums: list[list[tuple[Fraction, Expr]]] = field(default_factory=lambda: [[] for _ in range(SUMS)])
    left: dict[tuple[int, int], Expr] = field(default_factory=dict)
    impossible: bool = False
    _literals: int = 0

    def __post_init__(self) -> None:
        self.variables = Variables(self.budget)
        for member, variants in enumerate(self.members):
            self._add_member(member, variants, self.limits[member])
        if self.impossible:
            return
        for part in self.parts:
            self._link(part)
        self._fit()
        self._keep_queues()
        self._use()
        self._order_alike()

    def _add_member(self, member: int, variants: Sequence[Variant], most: Limits) -> None:
        """The variants within a member's limits; one of them is chosen."""
        within = [(variant, limit) for variant in variants if (limit := variant.limit(most)) is not None]
        if not within:
            self.impossible = True
        alone = len(within) == 1
        chosen = [1 if alone else self.variables.boolean() for _ in within]
        if not alone and within:
            self.variables.cp_model.add_exactly_one(chosen)
        for (variant, limit), literal in zip(within, chosen, strict=True):
            choices = {}
            for level, domain in variant.support.domains():
                states = variant.support.within(level, domain, limit).tolist()
                self.impossible = self.impossible or not states
                choices[level, domain] = Choice(states, self._one_of(len(states), literal))
            part = Part(member, variant, literal, choices)
            self.parts.append(part)
            self._price(part, most)

    def _one_of(self, count: int, chosen: Expr) -> list[Expr]:
        """So many literals that add up to `chosen`."""
        if count <= 1:
            return [chosen] * count
        self._literals += count
        if self._literals > MOST_LITERALS:
            raise TooLarge("states of all domains for all gangs", self._literals, MOST_LITERALS)
        if count == 2 and isinstance(chosen, int):
            second = self.variables.boolean()
            return [1 - second, second]
        literals = [self.variables.boolean() for _ in range(count)]
        if isinstance(chosen, int):
            self.variables.cp_model.add_exactly_one(literals)
        else:
            self.variables.add(_total([(1, each) for each in literals]) == chosen)
        return literals

    def _price(self, part: Part, most: Limits) -> None:
        """What a part adds to the sums; a number that its limits pin down has to be met."""
        variant = part.variant
        for at, value in enumerate(variant.above):
            self.sums[at].append((value, part.chosen))
        exact = all(limit is not None and own == limit for own, limit in zip(variant.above, most, strict=False))
        for at, term in enumerate(variant.terms):
            added: list[tuple[int, Expr]] = [(term.constant, part.chosen)]
            for (level, domain), choice in part.choices.items():
                cost = term.cost(level, int(self.tree.path_bits[level][domain]))
                if cost is not None:
                    added += choice.weighted(cost[choice.states])
            self.sums[OF_SHAPE + at] += [(weight * term.unit, literal) for weight, literal in added]
            if not exact:
                continue
            least = variant.best[OF_SHAPE + at] / term.unit
            exact = variant.best[OF_SHAPE + at] == most[OF_SHAPE + at]
            if least.denominator == 1:
                self._bound(added, part.chosen, int(least), exact)

    def _bound(self, added: Sequence[tuple[int, Expr]], chosen: Expr, least: int, exact: bool) -> None:
        """A part's sum is at least its least, or exactly that; numbers are made as small as they can be."""
        shared = gcd(least, *(weight for weight, _ in added)) or 1
        total = _total([(weight // shared, literal) for weight, literal in added])
        goal = least // shared * chosen
        self.variables.add(total == goal if exact else total >= goal)

    def _link(self, part: Part) -> None:
        """Every domain holds what its children hold together."""
        problem, parents = part.variant.problem, self.tree.parent
        below: dict[tuple[int, int], list[tuple[int, Choice]]] = {}
        for (level, domain), choice in part.choices.items():
            if level:
                below.setdefault((level - 1, int(parents[level][domain])), []).append((level, choice))
        for (level, domain), choice in part.choices.items():
            if level == self.tree.height:
                continue
            coordinates = problem.layout.spaces[level + 1].coordinates
            own = part.variant.support.tables.index(level)[choice.states]
            for row in coordinates:
                held = choice.weighted(-row[own])
                for _, child in below.get((level, domain), ()):
                    held += child.weighted(row[child.states])
                self.variables.add(_total(held) == 0)

    def _fit(self) -> None:
        """On every node, what all gangs take of a resource is there, where it might not be."""
        height = self.tree.height
        for node in range(len(self.snapshot.nodes)):
            here = [part for part in self.parts if (height, node) in part.choices]
            for column, resource in enumerate(self.snapshot.resources):
                taken: list[tuple[int, Expr]] = []
                most = 0
                for part in here:
                    if resource in part.variant.problem.resources:
                        asked = part.variant.problem.requests[:, part.variant.problem.resources.index(resource)]
                        use = asked @ part.pods(height, node)
                        taken += part.choices[height, node].weighted(use)
                        most += int(use.max())
                free = max(0, int(self.snapshot.free[node, column]))
                if most > free:
                    self.variables.add(_total(taken) <= free)

    def _keep_queues(self) -> None:
        """What all gangs in a queue and below it hold together fits its limits."""
        held: dict[tuple[str, str], list[tuple[int, Expr]]] = {}
        left: dict[tuple[str, str], int] = {}
        for part in self.parts:
            structure = part.variant.problem.frame.structure
            assert structure.root is not None
            for room in queue.rooms(structure.gang, self.snapshot):
                key = (room.queue, room.resource)
                left[key] = max(0, room.left)
                amount = queue.held_by(structure.root, part.variant.shape, room.resource)
                held.setdefault(key, []).append((amount, part.chosen))
        for key, each in held.items():
            self.variables.add(_total(each) <= left[key])

    def _use(self) -> None:
        """What is left wholly free in every domain below the root."""
        holes = self.parts[0].variant.problem.holes
        for level in range(self.tree.height, 0, -1):
            for domain, hole in enumerate(holes[level].tolist()):
                used: list[tuple[int, Expr]] = []
                for part in self.parts:
                    if (level, domain) in part.choices:
                        gpus = np.array([role.gpus for role in part.variant.problem.frame.roles], dtype=np.int64)
                        used += part.choices[level, domain].weighted(gpus @ part.pods(level, domain))
                self.left[level, domain] = int(hole) - _total(used)

    @cached_property
    def touched(self) -> dict[tuple[int, int], list[Expr]]:
        """By real domain below the root: of every member that may have pods there whether it has."""
        return {
            (level, domain): present
            for level, domain in self.left
            if self.tree.real[level][domain] and (present := self._present(level, domain))
        }

    def add_fragmentation(self) -> Expr:
        """At least Σ over gangs and domains they touch of what is left free there; adds to the model."""
        holes = self.parts[0].variant.problem.holes
        added: list[tuple[int, Expr]] = []
        for (level, domain), present in self.touched.items():
            hole = int(holes[level][domain])
            free = self.variables.integer(0, hole)
            self.variables.add(free == self.left[level, domain])
            for there in present:
                counted = self.variables.integer(0, hole)
                self.variables.add(counted >= free - hole * (1 - there))
                added.append((1, counted))
        return _total(added)

    def fragmentation(self, found: Run) -> int:
        """The same of a solution, exactly."""
        return sum(
            found.value(self.left[where]) * sum(found.value(there) for there in present)
            for where, present in self.touched.items()
        )

    def _present(self, level: int, domain: int) -> list[Expr]:
        found: dict[int, list[tuple[int, Expr]]] = {}
        for part in self.parts:
            if (level, domain) in part.choices:
                choice = part.choices[level, domain]
                some = np.array([state > 0 for state in choice.states], dtype=np.int64)
                found.setdefault(part.member, []).extend(choice.weighted(some))
        return [_total(pairs) for pairs in found.values() if pairs]

    def _order_alike(self) -> None:
        """Of domains that are alike in one parent, one comes first that has less left: they could be swapped whole."""
        traits = self._traits()
        for level in range(1, self.tree.height + 1):
            last: dict[object, int] = {}
            for domain in range(len(self.tree.parent[level])):
                key = (int(self.tree.parent[level][domain]), traits[level, domain])
                if key in last:
                    self.variables.add(self.left[level, last[key]] <= self.left[level, domain])
                last[key] = domain

    def _traits(self) -> dict[tuple[int, int], object]:
        """Of every domain what tells it from others: of nodes all that any gang or the model reads of them."""
        height, problems = self.tree.height, [part.variant.problem for part in self.parts]
        traits: dict[tuple[int, int], object] = {}
        for node in range(len(self.snapshot.nodes)):
            free = self.snapshot.free[node].tobytes()
            classes = tuple(int(problem.node_class[node]) for problem in problems)
            hole, bits = int(problems[0].holes[height][node]), int(self.tree.path_bits[height][node])
            traits[height, node] = (free, classes, hole, bits)
        for level in range(height - 1, 0, -1):
            below: dict[int, list[object]] = {}
            for child, parent in enumerate(self.tree.parent[level + 1].tolist()):
                below.setdefault(parent, []).append(traits[level + 1, child])
            for domain in range(len(self.tree.parent[level])):
                inside = tuple(sorted(below.get(domain, ()), key=repr))
                traits[level, domain] = (inside, int(self.tree.path_bits[level][domain]))
        return traits

    def minimise(self, objective: Expr, budget: Budget) -> Run:
        """The least value of an expression."""
        self.variables.cp_model.clear_objective()
        self.variables.cp_model.minimize(objective)
        return run(self.variables.cp_model, budget, presolve=True)

    def satisfy(self, budget: Budget, presolve: bool) -> Run:
        """Any placement."""
        self.variables.cp_model.clear_objective()
        return run(self.variables.cp_model, budget, presolve)

    def states(self, found: Run) -> dict[int, tuple[Variant, dict[int, int]]]:
        """By member the variant of a solution, and node index → host state."""
        height = self.tree.height
        answer = {}
        for part in self.parts:
            if not found.value(part.chosen):
                continue
            held = {}
            for (level, domain), choice in part.choices.items():
                if level == height:
                    state = sum(
                        state * found.value(literal)
                        for state, literal in zip(choice.states, choice.literals, strict=True)
                    )
                    if state:
                        held[domain] = state
            answer[part.member] = (part.variant, held)
        return answer


@dataclass(frozen=True)
class Sum:
    """A number of a standing summed over all gangs: value = (expression + constant) · unit, the expression whole."""

    expression: Expr
    constant: int
    unit: Fraction

    def most(self, value: Fraction) -> int:
        """The highest value of the expression at which the sum is at most `value`."""
        return int((value / self.unit) // 1) - self.constant


def in_one_unit(added: Sequence[tuple[Fraction, Expr]]) -> Sum:
    """A sum in the largest unit in which every part of it is whole. Raises TooLarge when it leaves 64 bits then."""
    scale = lcm(*(weight.denominator for weight, _ in added))
    whole = [(int(weight * scale), literal) for weight, literal in added]
    shared = gcd(*(weight for weight, _ in whole)) or 1
    constant = sum(weight * literal for weight, literal in whole if isinstance(literal, int)) // shared
    open_parts = [(weight // shared, literal) for weight, literal in whole if not isinstance(literal, int)]
    reach = sum(abs(weight) for weight, _ in open_parts)
    if reach > MOST_SUM:
        raise TooLarge("sums of a term over several gangs", reach, MOST_SUM)
    return Sum(_total(open_parts), constant, Fraction(shared, scale))


def _total(pairs: Sequence[tuple[int, Expr]]) -> Expr:
    """Σ weight · expression."""
    constant = sum(weight * part for weight, part in pairs if isinstance(part, int))
    rest = [(weight, part) for weight, part in pairs if not isinstance(part, int)]
    if not rest:
        return constant
    weights, parts = zip(*rest, strict=True)
    return cp_model.LinearExpr.weighted_sum(parts, weights) + constant
