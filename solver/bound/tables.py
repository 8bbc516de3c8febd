"""Tables of the tree: for every domain the best cost of every state, built bottom up with alike domains shared."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from solver.bound import kernel
from solver.bound.arithmetic import Domains
from solver.bound.lanes import INFINITE, Lanes
from solver.bound.members import Members, children, grouped
from solver.bound.own_costs import OwnCosts, counted_hole
from solver.bound.parts import Parts
from solver.bound.pool import Pool
from solver.compile.links import NO_LINK
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints, Mask
from solver.terms.base import Term
from solver.topology.tree import Tree


@dataclass(frozen=True, slots=True)
class Kind:
    """Domains of a level that are alike: the same children, path, hole and link.

    inner: number of their children's joined table, in the children's space; table: of the finished one, in the
    level's own space. A node class has no children.
    """

    inner: int
    table: int


@dataclass
class _Last:
    """What the newest snapshot looked like: kind of every domain, and their holes."""

    tree: Tree
    kind_of: list[Codes]
    holes: tuple[Ints, ...]


@dataclass
class TableStore:
    """Tables of one gang shape, found by content, so that they never go stale; kept between snapshots.

    kinds[level]: kinds of domains, node classes at the host level. found: (level, joined children, path, hole, link) →
    kind. own: (level, path, link) → what such a domain adds. indices[level]: of each state the children's state it
    stands for.
    """

    kinds: dict[int, list[Kind]] = field(default_factory=dict)
    found: dict[tuple[int, int, int, int, int], int] = field(default_factory=dict)
    own: dict[tuple[int, int, int], Ints] = field(default_factory=dict)
    indices: dict[int, Ints] = field(default_factory=dict)
    last: _Last | None = None
    _pool: Pool | None = None
    _parts: Parts | None = None

    def pool(self, lanes: int) -> tuple[Pool, Parts]:
        """The tables and what was put together of them, all with so many lanes."""
        if self._pool is None or self._parts is None:
            self._pool = Pool(lanes)
            self._parts = Parts(self._pool)
        return self._pool, self._parts

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return (self._pool.bytes if self._pool else 0) + sum(table.nbytes for table in self.own.values())


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
        allowed: Callable[[int, bool, int], Mask],
        budget: Budget,
        store: TableStore | None = None,
    ) -> None:
        self.problem, self.budget = problem, budget
        self.store = store or TableStore()
        self.pool, self.parts = self.store.pool(lanes.count)
        self.parts.forget()  # an earlier call may have been interrupted while it planned
        self.own_costs = OwnCosts(problem, terms, lanes, allowed, self.store.own)
        self.recomputed = 0
        height = problem.tree.height
        self.kinds = [self.store.kinds.setdefault(level, []) for level in range(height + 1)]
        self._add_nodes()
        self.kind_of: list[Codes] = [np.empty(0, dtype=np.int32)] * height + [problem.node_class]
        for level in range(height - 1, -1, -1):
            self._build_level(level)
        self.store.last = _Last(problem.tree, self.kind_of, problem.holes)

    @property
    def root(self) -> Ints | None:
        """[lanes, states] table of the root, or None when no pod can go anywhere."""
        kind = int(self.kind_of[0][0])
        return None if kind < 0 else self.pool.get(self.kinds[0][kind].table, self.problem.layout.spaces[0].size)

    def may_be(self, state: int) -> bool:
        """Whether the root may be in a state; no is a proof. Where no pod can go anywhere it may be empty only."""
        root = self.root
        return not state if root is None else bool(root[0, state] < INFINITE // 2)

    @property
    def signatures(self) -> int:
        """Kinds of domains in use, over all levels above the hosts."""
        return sum(int(np.count_nonzero(np.bincount(codes[codes >= 0]))) for codes in self.kind_of[:-1])

    def index(self, level: int) -> Ints:
        """[states of `level`] the state of its children's space that each stands for."""
        if level not in self.store.indices:
            self.store.indices[level] = self.problem.layout.gather(level)[0]
        return self.store.indices[level]

    def _add_nodes(self) -> None:
        """Tables of the node classes the store does not know yet."""
        known = self.kinds[self.problem.tree.height]
        for node in self.problem.classes[len(known) :]:
            number = self.pool.put(self.own_costs.of_node(node))
            known.append(Kind(number, number))

    def _build_level(self, level: int) -> None:
        """Kinds of the level's domains; those whose children and hole are as they were keep theirs."""
        self.budget.check()
        parents, below = self.problem.tree.parent[level + 1], self.kind_of[level + 1]
        kind_of, changed = self._kept(level)
        self.recomputed += int(changed.sum())
        inside = changed[parents]
        joined: dict[Members, int] = {}
        domains = []
        for domain, members in grouped(parents[inside], below[inside]):
            if members not in joined:
                joined[members] = self._joined(level, members)
            domains.append((domain, joined[members]))
        self.parts.run(self.problem.layout.spaces[level + 1].shape, self.budget.check)
        for domain, kind in self._finished(level, domains):
            kind_of[domain] = kind
        self.kind_of[level] = kind_of

    def _kept(self, level: int) -> tuple[Codes, Mask]:
        """[domains] their kinds where they are as in the store's last snapshot, else −1; and where they are not."""
        tree = self.problem.tree
        last = self.store.last if self.store.last and self.store.last.tree is tree else None
        if last is None:
            count = len(tree.parent[level])
            return np.full(count, -1, dtype=np.int32), np.ones(count, dtype=np.bool_)
        kind_of = last.kind_of[level].copy()
        changed = np.asarray(self.problem.holes[level] != last.holes[level])
        changed[tree.parent[level + 1][self.kind_of[level + 1] != last.kind_of[level + 1]]] = True
        kind_of[changed] = -1
        return kind_of, changed

    def _joined(self, level: int, members: Members) -> int:
        """Number of the joined table of children."""
        kinds, times = self.kinds[level + 1], self.parts.times
        tables = [
            kinds[kind].table if count == 1 else times(kinds[kind].table, self._useful(kinds[kind].table, count))
            for kind, count in zip(*members, strict=True)
        ]
        return self.parts.together(members[0], tables)

    def _useful(self, table: int, count: int) -> int:
        """How many of alike children can matter: as many as there are pods, where the rest may stay empty."""
        most = self.problem.frame.pods
        return most if count > most and self.pool.holds_nothing_for_free(table) else count

    def _finished(self, level: int, domains: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """(domain, its kind) for domains with the joined table of their children; new kinds are made."""
        found, kinds = self.store.found, self.kinds[level]
        paths, holes = self.problem.paths[level], self.problem.holes[level]
        links = self.problem.links_at(level)
        keys = [
            (level, inner, int(paths[at]), int(holes[at]), NO_LINK if links is None else int(links[at]))
            for at, inner in domains
        ]
        fresh = [key for key in dict.fromkeys(keys) if key not in found]
        if fresh:
            first = self.pool.count
            self._finish(level, fresh)
            for at, key in enumerate(fresh):
                found[key] = len(kinds)
                kinds.append(Kind(key[1], first + at))
        for (domain, _), key in zip(domains, keys, strict=True):
            yield domain, found[key]

    def _finish(self, level: int, keys: Sequence[tuple[int, int, int, int, int]]) -> None:
        """Add each domain's own cost, and its hole to every state with pods."""
        layout = self.problem.layout
        holes = [counted_hole(level, bits, hole) for _, _, bits, hole, _ in keys]
        owns = [self.own_costs.of(level, bits, link) for _, _, bits, _, link in keys]
        domains = Domains([inner for _, inner, *_ in keys], owns, holes, self.own_costs.hole_weights())
        worker = kernel.arithmetic(self.pool, layout.spaces[level].shape, 0)
        worker.finish(self.pool, layout.spaces[level + 1].size, self.index(level), domains)


def assignment(tables: TreeTables, state: int) -> dict[int, int]:
    """Node index → host state, of one best placement of root state `state`; empty nodes are left out.

    Among alike children the fuller states go to the first in natural order.
    """
    problem, tree = tables.problem, tables.problem.tree
    current = {0: state} if state else {}
    for level in range(tree.height):
        index = tables.index(level)
        kinds = [tables.kinds[level][int(tables.kind_of[level][domain])] for domain in current]
        tops = [(kind.inner, int(index[own])) for kind, own in zip(kinds, current.values(), strict=True)]
        shares: dict[tuple[int, int], list[int]] = {}
        shape = problem.layout.spaces[level + 1].shape
        domains = list(current)
        for position, table, below in kernel.arithmetic(tables.pool, shape, 0).trace(tables.pool, shape, tops):
            shares.setdefault((domains[position], table), []).append(below)
        current = {}
        alike = children(tree.parent[level + 1], tables.kind_of[level + 1], domains)
        for (domain, kind), each in alike.items():
            states = shares.get((domain, tables.kinds[level + 1][kind].table), [])
            current.update(zip(each, sorted(states, reverse=True), strict=False))
    return current
