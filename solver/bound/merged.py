"""Bounds for gangs too large for tables: a relaxation in which only weighted totals of the counts are kept.

A projection P is additive, so P(sum of states) = sum of P(states). Let g̃(m) be the least cost of any count vector n
with P·n = m that some domain can hold and no rule forbids. Lexicographic order on integer vectors respects addition, so
the tree of tables over m, built with g̃, bounds every real placement from below, and where it is infeasible no
placement exists.

What P forgets comes back through prices. Σ over the domains of one level of n_r is N_r for every complete placement, so
adding λ·n_r to the cost of each domain of that level (void ones too: together they hold every node) and taking λ·N_r
off the total changes no placement's cost, for any integer λ. A good λ makes the best split of a domain the one that its
share of the gang has; solver.bound.prices looks for it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from solver.bound.lanes import Lanes, infeasible, plan_lanes
from solver.bound.projection import Projection
from solver.bound.tables import TableStore, TreeTables, assignment
from solver.bound.vectors import Vectors, VectorTables
from solver.compile.classes import NodeClass
from solver.compile.layout import Layout, TreeTooLarge
from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.budget import Budget
from solver.domain.errors import InvalidRequest
from solver.domain.snapshot import Ints, Mask
from solver.terms.base import Term

#: Prices times pods stay below this.
PRICE_LIMIT = 1 << 56
#: Bytes of one number in a table.
_NUMBER_BYTES = 8
#: Prices by level: [levels + 1, terms, roles], in units of each term.
Prices = Ints


@dataclass(frozen=True)
class Relaxed:
    """The optimum of one relaxation.

    sums: by term, constants included; no placement's are lexicographically smaller. surplus: [levels + 1, roles] pods
    in the relaxed optimum beyond the gang's. lowest: merged count vectors of the lowest domains used, [clusters] each.
    nodes, pods: the nodes used, and [roles, nodes] what they hold; a placement where nothing was merged.
    """

    sums: tuple[int, ...]
    surplus: Ints
    nodes: Ints
    pods: Ints
    lowest: Mapping[int, tuple[int, ...]]


def relax(vectors: VectorTables, projection: Projection, prices: Prices, budget: Budget) -> Relaxed | None:
    """Lower bounds of every placement of the whole gang by merged tables; None = there is no placement.

    Raises TreeTooLarge, also when the numbers leave the 64-bit range, and OutOfTime.
    """
    relaxation = Relaxation(vectors, projection, prices, budget)
    return relaxation.optimum() if relaxation.feasible(projection.caps) else None


class Relaxation:
    """The merged tables of one problem, projection and price list."""

    def __init__(self, vectors: VectorTables, projection: Projection, prices: Prices, budget: Budget) -> None:
        self.vectors, self.projection, self.prices = vectors, projection, prices
        self.budget, self.size = budget, 0
        self.height = vectors.problem.tree.height
        self.space = projection.space
        self._with_prices: dict[int, Ints] = {}
        self.lanes = self._planned_lanes()
        budget.check()
        self.domains = {key: self._cheapest(key[0], each) for key, each in vectors.domains.items()}
        self.hosts = [self._cheapest(self.height, kind.vectors) for kind in vectors.hosts]
        budget.check()
        self._with_prices.clear()
        parts = [_Part(f"lane {lane}", 0, self._lane(lane)) for lane in range(self.lanes.count)]
        slots = [(lane, 1) for lane in range(self.lanes.count)]
        for term, slot in zip(vectors.terms, self.lanes.slots, strict=True):
            if term.holes:
                parts.append(_Part(term.name, 0, holes=True))
                slots.append(slot)
        everything = np.ones(self.space.size, dtype=np.bool_)
        self.tables = TreeTables(
            self._problem(),
            parts,
            Lanes(tuple(slots), (0,) * len(slots), self.lanes.count),
            lambda level, real, link: everything,
            budget,
            TableStore(),
        )

    def feasible(self, counts: Sequence[int]) -> bool:
        """Whether merged counts of the whole cluster are not proven impossible."""
        return self.tables.may_be(self._state(counts))

    def optimum(self) -> Relaxed:
        """The bound of the whole gang, which must be feasible; every level is listed."""
        root = self.tables.root
        assert root is not None, "no pod can go anywhere"
        state = self._state(self.projection.caps)
        sums = self.lanes.unpack([int(value) for value in root[:, state]])
        paid = self.prices.sum(axis=0) @ np.array(self.projection.totals, dtype=np.int64)
        terms = self.vectors.terms
        exact = tuple(s - int(p) + term.constant for s, p, term in zip(sums, paid, terms, strict=True))
        return self._relaxed(exact, assignment(self.tables, state))

    def sifted(self, goal: Sequence[int]) -> VectorTables:
        """The vectors that a placement worth `goal` or less may use.

        What a vector costs more than the cheapest one behind the same merged state, prices included, comes on top of
        the bound for every placement that has it in some domain; with more than the gap it is out.
        """
        root = self.tables.root
        assert root is not None, "no pod can go anywhere"
        paid = self.prices.sum(axis=0) @ np.array(self.projection.totals, dtype=np.int64)
        terms = zip(goal, paid, self.vectors.terms, strict=True)
        worth = self._in_lanes([value - term.constant + int(price) for value, price, term in terms])
        least = root[:, self._state(self.projection.caps)]
        return self._dearer_by([value - int(low) for value, low in zip(worth, least, strict=True)])

    def near(self, slack: Sequence[int]) -> VectorTables:
        """The vectors that cost at most `slack`, by term, more than the cheapest behind their merged state.

        Good placements are likely among them, but nothing is proven.
        """
        return self._dearer_by(self._in_lanes(slack))

    def _in_lanes(self, sums: Sequence[int]) -> list[int]:
        lanes = [0] * self.lanes.count
        for (lane, weight), value in zip(self.lanes.slots, sums, strict=True):
            lanes[lane] += weight * value
        return lanes

    def _dearer_by(self, slack: Sequence[int]) -> VectorTables:
        """The vectors that cost at most `slack` [lanes] more than the cheapest behind their merged state."""

        def keep(level: int, which: int) -> Mask:
            vectors = self.vectors.hosts[which].vectors if level == self.height else self.vectors.domains[level, which]
            cheapest = self.hosts[which] if level == self.height else self.domains[level, which]
            return self._within(level, vectors, cheapest, slack)

        return self.vectors.sifted(keep)

    def _within(self, level: int, vectors: Vectors, cheapest: "_Cheapest", slack: Sequence[int]) -> Mask:
        """[vectors] those that cost at most `slack` [lanes] more than the cheapest behind their merged state."""
        more = self._packed(level, vectors) - cheapest.table[:, vectors.grouped(self.projection).state_of]
        kept = np.zeros(more.shape[1], dtype=np.bool_)
        tied = ~kept
        for lane, most in zip(more, slack, strict=True):
            kept |= tied & (lane < most)
            tied &= lane == most
        return kept | tied

    def _relaxed(self, sums: tuple[int, ...], states: Mapping[int, int]) -> Relaxed:
        """Reads off how the relaxed optimum splits its merged counts, level by level."""
        tree = self.vectors.problem.tree
        nodes = np.array(list(states), dtype=np.int64)
        counts = np.array([self.space.counts_at(state) for state in states.values()], dtype=np.int64)
        surplus = np.zeros((self.height + 1, len(self.projection.totals)), dtype=np.int64)
        lowest: dict[int, tuple[int, ...]] = {}
        for level in range(self.height + 1):
            domains, where = np.unique(tree.domain_of[level][nodes], return_inverse=True)
            held = np.zeros((len(domains), counts.shape[1]), dtype=np.int64)
            np.add.at(held, where, counts)
            for domain, state in zip(domains.tolist(), self.space.index(held.T).tolist(), strict=True):
                surplus[level] += self._split(level, domain, state)
            surplus[level] -= np.array(self.projection.totals, dtype=np.int64)
            if level == self.height - 1:
                lowest = {domain: tuple(row) for domain, row in zip(domains.tolist(), held.tolist(), strict=True)}
        own = [self._split(self.height, node, state) for node, state in states.items()]
        return Relaxed(sums, surplus, nodes, np.stack(own, axis=1), lowest)

    def _split(self, level: int, domain: int, state: int) -> Ints:
        """[roles] pods of the cheapest vector behind a merged state of a domain."""
        vectors = self.vectors
        if level == self.height:
            kind = int(vectors.host_kind[domain])
            return np.asarray(vectors.hosts[kind].vectors.pods[:, self.hosts[kind].found[state]])
        key = (level, int(vectors.paths[level][domain]))
        return np.asarray(vectors.domains[key].pods[:, self.domains[key].found[state]])

    def _state(self, counts: Sequence[int]) -> int:
        return int(self.space.index(np.array(counts, dtype=np.int64)))

    def _planned_lanes(self) -> Lanes:
        try:
            return plan_lanes([_Part(term.name, size) for term, size in self._ranges()])
        except InvalidRequest as error:  # the numbers of the relaxation are larger than those of the input
            raise TreeTooLarge from error

    def _ranges(self) -> list[tuple[Term, int]]:
        """Each term with a bound on its partial sums in the relaxation, which may exceed the term's own.

        No vector costs more than its rate times its merged counts, and these add up to the gang's at each level.
        """
        found = []
        whole = sum(self.projection.caps)
        for at, term in enumerate(self.vectors.terms):
            rates = [max(map(int, self._rates(level, at)), default=0) for level in range(self.height + 1)]
            found.append((term, sum(rates) * whole + (term.magnitude if term.holes else 0) + 1))
        return found

    def _rates(self, level: int, at: int) -> Iterator[int]:
        """At least the highest cost by merged count of term `at` in each listing of a level."""
        for vectors in self.vectors.at(level):
            sizes = vectors.grouped(self.projection).size_of
            rates = np.abs(self._priced(level, vectors)[at]) / np.maximum(1, sizes)
            yield math.ceil(float(rates.max(initial=0.0)) * (1 + 1e-9)) + 1

    def _priced(self, level: int, vectors: Vectors) -> Ints:
        """[terms, vectors] costs, prices included."""
        if id(vectors) not in self._with_prices:
            most = int(np.abs(self.prices[level]).max(initial=0))
            if most * sum(self.projection.totals) > PRICE_LIMIT:
                raise TreeTooLarge
            costs = vectors.costs
            for role, pods in enumerate(vectors.pods if most else ()):
                costs = costs + self.prices[level, :, role, None] * pods
            self._with_prices[id(vectors)] = costs
        return self._with_prices[id(vectors)]

    def _cheapest(self, level: int, vectors: Vectors) -> "_Cheapest":
        """The first in order of costs among the vectors behind each merged state."""
        self.budget.check()
        self.size += (self.lanes.count + 1) * self.space.size * _NUMBER_BYTES
        self.budget.allow("merged states times kinds of domains", self.size)
        table = infeasible(self.lanes.count, self.space.size)
        found = np.full(self.space.size, -1, dtype=np.int64)
        if vectors.pods.shape[1]:
            costs, groups = self._packed(level, vectors), vectors.grouped(self.projection)
            found[groups.states] = groups.cheapest(costs)
            table[:, groups.states] = costs[:, found[groups.states]]
        return _Cheapest(table, found)

    def _packed(self, level: int, vectors: Vectors) -> Ints:
        """[lanes, vectors] costs, prices included."""
        costs = np.zeros((self.lanes.count, vectors.pods.shape[1]), dtype=np.int64)
        for at, (lane, weight) in enumerate(self.lanes.slots):
            costs[lane] += weight * self._priced(level, vectors)[at]
        return costs

    def _problem(self) -> Problem:
        """The problem over merged states: every level has the same, and each kind of host its own costs."""
        hosts = zip(self.vectors.hosts, self.hosts, strict=True)
        classes = [
            NodeClass(cheapest.found >= 0, kind.hole, kind.bits | (at + 1) << (self.height + 1), (), ())
            for at, (kind, cheapest) in enumerate(hosts)
        ]
        problem = self.vectors.problem
        layout = _SameEverywhere(problem.frame, (self.space,) * (self.height + 1))
        return replace(
            problem,
            layout=layout,
            node_class=self.vectors.host_kind,
            classes=classes,
            links=None,
            paths=self.vectors.paths,
        )

    def _lane(self, lane: int) -> Callable[[int, int], Ints | None]:
        """One lane of the own costs by level and path; a host's path carries its kind in the bits above."""

        def cost(level: int, bits: int) -> Ints | None:
            if level == self.height:
                return np.asarray(self.hosts[(bits >> (self.height + 1)) - 1].table[lane])
            own = self.domains.get((level, bits))
            return None if own is None else np.asarray(own.table[lane])

        return cost


class _SameEverywhere(Layout):
    """A layout of merged states, which mean the same at every level."""

    def gather(self, level: int) -> tuple[Ints, Mask]:
        """Every state stands for itself."""
        size = self.spaces[level].size
        return np.arange(size, dtype=np.int64), np.ones(size, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class _Cheapest:
    """By merged state: [lanes, states] the least cost, and [states] the vector that has it, −1 = none."""

    table: Ints
    found: Ints


@dataclass(eq=False)
class _Part:
    """What the tables add up, given by a function instead of a formula."""

    name: str
    magnitude: int
    own: Callable[[int, int], Ints | None] | None = None
    holes: bool = False
    constant: int = 0
    unit: Fraction = Fraction(1)

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] of the function."""
        return None if self.own is None else self.own(level, bits)

    def hole_times(self) -> Ints:
        """Never asked: the tables count a hole once."""
        raise NotImplementedError

    def express(self, view: DomainView) -> Expr:
        """Never asked: there is no model of merged states."""
        raise NotImplementedError
