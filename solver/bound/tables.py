"""Tables of the tree: for every domain the best cost of every state, built bottom up with alike domains shared."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.bound.convolve import convolve, halves
from solver.bound.lanes import INFINITE, Lanes, infeasible, settle
from solver.compile.problem import Problem
from solver.domain.snapshot import Codes, Ints, Mask
from solver.terms.base import Term


class OutOfTime(Exception):
    """The budget ended before the tables were complete."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """The finished table of one kind of child: a node class or a kind of domain."""

    kind: int
    table: Ints


@dataclass(frozen=True, eq=False)
class Joined:
    """Two parts of a domain put together."""

    left: "Part"
    right: "Part"
    table: Ints


Part = Leaf | Joined


@dataclass(frozen=True, eq=False)
class Kind:
    """Domains of a level that are alike: the same children, path and hole.

    children: (kind of child, how many count); inner: their joined table in the children's space; table: in the
    level's own space, finished.
    """

    children: tuple[tuple[int, int], ...]
    inner: Part
    table: Ints


@dataclass
class Budget:
    """Wall-clock end of the work, in seconds of `time.monotonic`."""

    deadline: float

    def check(self) -> None:
        """Raises OutOfTime after the deadline."""
        if time.monotonic() > self.deadline:
            raise OutOfTime


class TreeTables:
    """All tables of one problem.

    kinds[level]: kinds of domains; kind_of[level]: [domains] index into them, −1 where no pod can go. At the host
    level kinds are node classes.
    """

    def __init__(
        self,
        problem: Problem,
        terms: Sequence[Term],
        lanes: Lanes,
        allowed: Callable[[int, bool], Mask],
        budget: Budget,
    ) -> None:
        self.problem, self.terms, self.lanes, self.budget = problem, tuple(terms), lanes, budget
        self.allowed = allowed
        self.signatures = 0
        self._own: dict[tuple[int, int], Ints] = {}
        height = problem.tree.height
        self.leaves: list[Leaf] = self._classes()
        self.kinds: list[list[Kind]] = [[] for _ in range(height)]
        self.kind_of: list[Codes] = [np.empty(0, dtype=np.int32)] * height + [problem.node_class]
        for level in range(height - 1, -1, -1):
            self._build_level(level)

    @property
    def root(self) -> Ints | None:
        """[lanes, states] table of the root, or None when no pod can go anywhere."""
        kind = int(self.kind_of[0][0])
        return None if kind < 0 else self.kinds[0][kind].table

    def own_cost(self, level: int, bits: int) -> Ints:
        """[lanes, states] what a domain of `level` with path `bits` adds, infeasible where a rule forbids it."""
        key = (level, bits)
        if key not in self._own:
            table = np.zeros((self.lanes.count, self.problem.layout.spaces[level].size), dtype=np.int64)
            for term, (lane, weight) in zip(self.terms, self.lanes.slots, strict=True):
                cost = term.cost(level, bits)
                if cost is not None:
                    table[lane] += weight * cost
            table[0, ~self.allowed(level, bool(bits >> level & 1))] = INFINITE
            self._own[key] = settle(table)
        return self._own[key]

    def _finish(self, table: Ints, level: int, bits: int, hole: int) -> Ints:
        """Add the domain's own cost, and its hole to every state with pods."""
        finished = table + self.own_cost(level, bits)
        if level and bits >> level & 1:
            for term, (lane, weight) in zip(self.terms, self.lanes.slots, strict=True):
                if term.holes:
                    finished[lane, 1:] += weight * hole
        return settle(finished)

    def _classes(self) -> list[Leaf]:
        height = self.problem.tree.height
        leaves = []
        for at, node in enumerate(self.problem.classes):
            assert node.fits is not None, "the layout was checked"
            table = infeasible(self.lanes.count, len(node.fits))
            table[0, node.fits] = 0
            leaves.append(Leaf(at, self._finish(table, height, node.bits, node.hole)))
        return leaves

    def _build_level(self, level: int) -> None:
        problem = self.problem
        children = self.kind_of[level + 1]
        parents = problem.tree.parent[level + 1]
        below = self.leaves if level + 1 == problem.tree.height else self._as_leaves(level + 1)
        found: dict[tuple[object, ...], int] = {}
        joined: dict[tuple[object, ...], tuple[Part, Ints]] = {}
        kind_of = np.full(len(problem.tree.parent[level]), -1, dtype=np.int32)
        index, states = problem.layout.gather(level)
        for domain, members in _grouped(parents, children):
            self.budget.check()
            bits = int(problem.tree.path_bits[level][domain])
            capped = tuple((kind, self._useful(below[kind], count)) for kind, count in members)
            hole = int(problem.holes[level][domain])
            if (capped, bits, hole) not in found:
                if capped not in joined:
                    inner = self._join(level + 1, [(below[kind], count) for kind, count in capped])
                    table = inner.table[:, index]
                    table[0, ~states] = INFINITE
                    joined[capped] = (inner, table)
                    self.signatures += 1
                inner, table = joined[capped]
                found[capped, bits, hole] = len(self.kinds[level])
                self.kinds[level].append(Kind(capped, inner, self._finish(table, level, bits, hole)))
            kind_of[domain] = found[capped, bits, hole]
        self.kind_of[level] = kind_of

    def _as_leaves(self, level: int) -> list[Leaf]:
        return [Leaf(at, kind.table) for at, kind in enumerate(self.kinds[level])]

    def _useful(self, leaf: Leaf, count: int) -> int:
        """How many of alike children can matter: as many as there are pods, where the rest may stay empty."""
        return min(count, self.problem.frame.pods) if leaf.table[0, 0] < INFINITE else count

    def _join(self, level: int, parts: Sequence[tuple[Leaf, int]]) -> Part:
        shape = self.problem.layout.spaces[level].shape
        powers: list[Part] = [self._power(leaf, count, shape) for leaf, count in parts]
        while len(powers) > 1:
            self.budget.check()
            paired = [
                _joined(powers[at], powers[at + 1], shape) if at + 1 < len(powers) else powers[at]
                for at in range(0, len(powers), 2)
            ]
            powers = paired
        return powers[0]

    def _power(self, leaf: Leaf, count: int, shape: tuple[int, ...]) -> Part:
        result: Part | None = None
        square: Part = leaf
        while True:
            if count & 1:
                result = square if result is None else _joined(result, square, shape)
            count >>= 1
            if not count:
                assert result is not None
                return result
            square = _joined(square, square, shape)


def _joined(left: Part, right: Part, shape: tuple[int, ...]) -> Joined:
    return Joined(left, right, convolve(left.table, right.table, shape))


def _grouped(parents: Codes, kinds: Codes) -> list[tuple[int, list[tuple[int, int]]]]:
    """(parent domain, [(kind of child, how many)]) for every parent with a child that can hold pods."""
    usable = kinds >= 0
    if not usable.any():
        return []
    width = int(kinds.max()) + 1
    keys, counts = np.unique(parents[usable].astype(np.int64) * width + kinds[usable], return_counts=True)
    found: dict[int, list[tuple[int, int]]] = {}
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        found.setdefault(key // width, []).append((key % width, count))
    return list(found.items())


def split(part: Part, state: int, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(kind of child, its state) for every child a part is made of, when the part is in `state`."""
    if isinstance(part, Leaf):
        return [(part.kind, state)]
    left, right = halves(part.left.table, part.right.table, state, part.table[:, state], shape)
    return split(part.left, left, shape) + split(part.right, right, shape)


def assignment(tables: TreeTables, state: int) -> dict[int, int]:
    """Node index → host state, of one best placement of root state `state`; empty nodes are left out.

    Among alike children the fuller states go to the first in natural order.
    """
    problem = tables.problem
    height = problem.tree.height
    current = {0: state}
    for level in range(height):
        index, _ = problem.layout.gather(level)
        shape = problem.layout.spaces[level + 1].shape
        members = _members(problem.tree.parent[level + 1], tables.kind_of[level + 1], set(current))
        following: dict[int, int] = {}
        for domain, own in current.items():
            kind = tables.kinds[level][int(tables.kind_of[level][domain])]
            shares: dict[int, list[int]] = {}
            for child_kind, child_state in split(kind.inner, int(index[own]), shape):
                shares.setdefault(child_kind, []).append(child_state)
            for child_kind, states in shares.items():
                fuller_first = zip(members[domain, child_kind], sorted(states, reverse=True), strict=False)
                following.update({child: child_state for child, child_state in fuller_first if child_state})
        current = following
    return current


def _members(parents: Codes, kinds: Codes, domains: set[int]) -> dict[tuple[int, int], list[int]]:
    """(domain, kind of child) → its children of that kind, in natural order."""
    found: dict[tuple[int, int], list[int]] = {}
    for child in np.flatnonzero(np.isin(parents, list(domains)) & (kinds >= 0)).tolist():
        found.setdefault((int(parents[child]), int(kinds[child])), []).append(child)
    return found
