"""Tables of the tree: for every domain the best cost of every state, built bottom up with alike domains shared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from solver.bound.convolve import convolve, halves
from solver.bound.lanes import INFINITE, Lanes, infeasible, settle
from solver.compile.layout import TreeTooLarge
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints, Mask
from solver.terms.base import Term
from solver.topology.tree import Tree

#: Most memory the tables of one gang shape may take, in bytes.
MAX_BYTES = 512 * 2**20


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
class _Last:
    """What the newest snapshot looked like: kind of every domain, and their holes."""

    tree: Tree
    kind_of: list[Codes]
    holes: tuple[Ints, ...]


@dataclass
class TableStore:
    """Tables of one gang shape, found by content, so that they never go stale; kept between snapshots.

    kinds[level]: kinds of domains. found: (children, path, hole) → kind; joined: children → their joined table;
    parts: some children → those put together.
    size: bytes of all tables.
    """

    leaves: list[Leaf] = field(default_factory=list)
    kinds: dict[int, list[Kind]] = field(default_factory=dict)
    found: dict[tuple[object, ...], int] = field(default_factory=dict)
    joined: dict[tuple[object, ...], tuple[Part, Ints]] = field(default_factory=dict)
    own: dict[tuple[int, int], Ints] = field(default_factory=dict)
    parts: dict[tuple[object, ...], Part] = field(default_factory=dict)
    last: _Last | None = None
    size: int = 0


class TreeTables:
    """All tables of one problem.

    kinds[level]: kinds of domains; kind_of[level]: [domains] index into them, −1 where no pod can go. At the host
    level kinds are node classes. recomputed: domains whose children or hole differ from the store's last snapshot.
    """

    def __init__(
        self,
        problem: Problem,
        terms: Sequence[Term],
        lanes: Lanes,
        allowed: Callable[[int, bool], Mask],
        budget: Budget,
        store: TableStore | None = None,
    ) -> None:
        self.problem, self.terms, self.lanes, self.budget = problem, tuple(terms), lanes, budget
        self.allowed = allowed
        self.store = store or TableStore()
        self.recomputed = 0
        height = problem.tree.height
        self.kinds = [self.store.kinds.setdefault(level, []) for level in range(height)]
        self._add_leaves()
        self.kind_of: list[Codes] = [np.empty(0, dtype=np.int32)] * height + [problem.node_class]
        for level in range(height - 1, -1, -1):
            self._build_level(level)
        self.store.last = _Last(problem.tree, self.kind_of, problem.holes)

    @property
    def root(self) -> Ints | None:
        """[lanes, states] table of the root, or None when no pod can go anywhere."""
        kind = int(self.kind_of[0][0])
        return None if kind < 0 else self.kinds[0][kind].table

    @property
    def signatures(self) -> int:
        """Kinds of domains in use, over all levels above the hosts."""
        return sum(len(np.unique(codes[codes >= 0])) for codes in self.kind_of[:-1])

    def own_cost(self, level: int, bits: int) -> Ints:
        """[lanes, states] what a domain of `level` with path `bits` adds, infeasible where a rule forbids it."""
        key = (level, bits)
        if key not in self.store.own:
            table = np.zeros((self.lanes.count, self.problem.layout.spaces[level].size), dtype=np.int64)
            for term, (lane, weight) in zip(self.terms, self.lanes.slots, strict=True):
                cost = term.cost(level, bits)
                if cost is not None:
                    table[lane] += weight * cost
            table[0, ~self.allowed(level, bool(bits >> level & 1))] = INFINITE
            self.store.own[key] = settle(table)
        return self.store.own[key]

    def _finish(self, table: Ints, level: int, bits: int, hole: int) -> Ints:
        """Add the domain's own cost, and its hole to every state with pods."""
        finished = table + self.own_cost(level, bits)
        if level and bits >> level & 1:
            for term, (lane, weight) in zip(self.terms, self.lanes.slots, strict=True):
                if term.holes:
                    finished[lane, 1:] += weight * hole
        self.store.size += finished.nbytes
        return settle(finished)

    def _add_leaves(self) -> None:
        """Tables of the node classes the store does not know yet."""
        height = self.problem.tree.height
        for at in range(len(self.store.leaves), len(self.problem.classes)):
            node = self.problem.classes[at]
            assert node.fits is not None, "the layout was checked"
            table = infeasible(self.lanes.count, len(node.fits))
            table[0, node.fits] = 0
            self.store.leaves.append(Leaf(at, self._finish(table, height, node.bits, node.hole)))

    def _build_level(self, level: int) -> None:
        """Kinds of the level's domains; those whose children and hole are as they were keep theirs."""
        tree = self.problem.tree
        children, parents = self.kind_of[level + 1], tree.parent[level + 1]
        last = self.store.last if self.store.last and self.store.last.tree is tree else None
        if last is None:
            kind_of = np.full(len(tree.parent[level]), -1, dtype=np.int32)
            changed = np.ones(len(kind_of), dtype=np.bool_)
        else:
            kind_of = last.kind_of[level].copy()
            changed = self.problem.holes[level] != last.holes[level]
            changed[parents[children != last.kind_of[level + 1]]] = True
            kind_of[changed] = -1
        self.recomputed += int(changed.sum())
        inside = changed[parents]
        for domain, members in _grouped(parents[inside], children[inside]):
            self.budget.check()
            kind_of[domain] = self._kind(level, domain, members)
        self.kind_of[level] = kind_of

    def _kind(self, level: int, domain: int, members: Sequence[tuple[int, int]]) -> int:
        """The kind of a domain with these (kind of child, how many), made when it is new."""
        store, bits = self.store, int(self.problem.tree.path_bits[level][domain])
        hole = int(self.problem.holes[level][domain])
        below = store.leaves if level + 1 == self.problem.tree.height else None
        parts = [(below[kind] if below else Leaf(kind, self.kinds[level + 1][kind].table), n) for kind, n in members]
        capped = tuple((leaf.kind, self._useful(leaf, count)) for leaf, count in parts)
        key = (level, capped, bits, hole)
        if key not in store.found:
            if (level, capped) not in store.joined:
                index, states = self.problem.layout.gather(level)
                inner = self._join(level + 1, [(leaf, n) for (leaf, _), (_, n) in zip(parts, capped, strict=True)])
                table = inner.table[:, index]
                table[0, ~states] = INFINITE
                store.joined[level, capped] = (inner, table)
                store.size += table.nbytes
            inner, table = store.joined[level, capped]
            store.found[key] = len(self.kinds[level])
            self.kinds[level].append(Kind(capped, inner, self._finish(table, level, bits, hole)))
        return store.found[key]

    def _useful(self, leaf: Leaf, count: int) -> int:
        """How many of alike children can matter: as many as there are pods, where the rest may stay empty."""
        return min(count, self.problem.frame.pods) if leaf.table[0, 0] < INFINITE else count

    def _join(self, level: int, parts: Sequence[tuple[Leaf, int]]) -> Part:
        """Children (kind, how many) put together, sorted by kind.

        Halves are split where the kinds' numbers differ in their highest bit, so that a changed child leaves all
        parts alone that do not contain it; every part is kept.
        """
        key = (level, tuple((leaf.kind, count) for leaf, count in parts))
        if key not in self.store.parts:
            self.budget.check()
            if len(parts) == 1:
                ((leaf, count),) = parts
                made = self._power(level, leaf, count)
            else:
                low, high = parts[0][0].kind, parts[-1][0].kind
                bit = (low ^ high).bit_length() - 1
                pivot = high >> bit << bit
                left = [part for part in parts if part[0].kind < pivot]
                right = [part for part in parts if part[0].kind >= pivot]
                made = self._joined(level, self._join(level, left), self._join(level, right))
            self.store.parts[key] = made
        return self.store.parts[key]

    def _power(self, level: int, leaf: Leaf, count: int) -> Part:
        """`count` alike children: half of them twice, and one more where the number is odd."""
        if count == 1:
            return leaf
        half = self._join(level, [(leaf, count // 2)])
        twice = self._joined(level, half, half)
        return self._joined(level, twice, leaf) if count & 1 else twice

    def _joined(self, level: int, left: Part, right: Part) -> Joined:
        shape = self.problem.layout.spaces[level].shape
        joined = Joined(left, right, convolve(left.table, right.table, shape, self.budget.check))
        self.store.size += joined.table.nbytes
        if self.store.size > MAX_BYTES:
            raise TreeTooLarge
        return joined


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
