"""What domains can hold, count vector by count vector, and what each costs: the raw stuff of merged tables."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from solver.bound.projection import Projection
from solver.compile.layout import TreeTooLarge
from solver.compile.links import NO_LINK
from solver.compile.listing import Room, fits_node, listed, node_room, rooms_by_path, vectors_within
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints, Mask
from solver.rules.registry import allowed_states
from solver.terms.base import Term

#: Most numbers in the vectors of all levels, paths and kinds of hosts together.
MOST_NUMBERS = 50_000_000

MakeTerms = Callable[[Problem], Sequence[Term]]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Count vectors that no rule forbids in a domain. pods: [roles, vectors]; costs: [terms, vectors] without holes."""

    pods: Ints
    costs: Ints
    _groups: dict[bytes, "Groups"] = field(default_factory=dict)

    def where(self, kept: Mask) -> "Vectors":
        """Some of the vectors."""
        return Vectors(self.pods[:, kept], self.costs[:, kept])

    def grouped(self, projection: Projection) -> "Groups":
        """The vectors by merged state; remembered, because every relaxation asks for it."""
        key = projection.weights.tobytes()
        if key not in self._groups:
            self._groups[key] = _grouped(self.pods, projection)
        return self._groups[key]


@dataclass(frozen=True, eq=False)
class Groups:
    """Vectors sorted by the merged state that they project to.

    order: [vectors] sorted; starts, states: [groups] first position in the order, and merged state, of each group.
    state_of, size_of: [vectors] merged state, and sum of the merged counts.
    """

    order: Ints
    starts: Ints
    states: Ints
    state_of: Ints
    size_of: Ints

    def cheapest(self, costs: Ints) -> Ints:
        """[groups] the vector of each group whose `costs` [lanes, vectors] come first, lane by lane."""
        sizes = np.diff(self.starts, append=len(self.order))
        left = self.order
        group_of = np.repeat(np.arange(len(self.starts)), sizes)
        for lane in costs:
            values = lane[left]
            starts = np.flatnonzero(np.diff(group_of, prepend=-1))
            best = np.minimum.reduceat(values, starts)
            tied = values == best[group_of]
            left, group_of = left[tied], group_of[tied]
        return np.asarray(left[np.flatnonzero(np.diff(group_of, prepend=-1))])


@dataclass(frozen=True, eq=False)
class HostKind:
    """Nodes that hold the same vectors at the same cost; bits and hole as in a node class."""

    vectors: Vectors
    bits: int
    hole: int


class VectorTables:
    """Vectors by level and path above the hosts, and by kind of host.

    paths: by level, [domains] the path bits, and in the bits above all levels which of the level's links it has.
    Above the hosts a vector is listed when the largest domain of the level and path could hold it, each resource taken
    by itself: more than any one domain holds, never less. At the root only `targets` are, [dims, vectors]; None = the
    whole gang. host_kind: [nodes] index into hosts, −1 where no pod can go. Raises OutOfTime, and TreeTooLarge when a
    listing gets too long; with `gaps`, which are for asking what is feasible only, the level and path is left out.
    """

    def __init__(
        self,
        problem: Problem,
        make_terms: MakeTerms,
        budget: Budget,
        targets: Ints | None = None,
        gaps: bool = False,
    ) -> None:
        self.problem, self.make_terms, self._numbers = problem, make_terms, 0
        self.terms = tuple(make_terms(problem))
        if targets is None:
            targets = np.array([[dim.cap] for dim in problem.layout.spaces[0].dims], dtype=np.int64)
        self.paths = _paths(problem)
        self.domains = {(0, 1): self._vectors(0, 1, targets)}
        for level in range(1, problem.tree.height):
            for path, room in rooms_by_path(problem, level, self.paths[level]).items():
                budget.check()
                try:
                    self.domains[level, path] = self._vectors(level, path, vectors_within(problem, level, room))
                except TreeTooLarge:
                    if not gaps:
                        raise
        self.hosts: list[HostKind] = []
        self.host_kind = self._host_kinds(budget)

    def on(self, usable: Mask) -> "VectorTables":
        """The same for `usable` nodes only, [nodes]."""
        return self._with(self.domains, self.hosts, np.where(usable, self.host_kind, -1).astype(np.int32))

    def sifted(self, keep: Callable[[int, int], Mask]) -> "VectorTables":
        """The vectors that `keep` has: given a level and the path, or the kind of host, it says which [vectors]."""
        domains = {key: vectors.where(keep(*key)) for key, vectors in self.domains.items()}
        height = self.problem.tree.height
        hosts = [replace(kind, vectors=kind.vectors.where(keep(height, at))) for at, kind in enumerate(self.hosts)]
        return self._with(domains, hosts, self.host_kind)

    def _with(self, domains: dict[tuple[int, int], Vectors], hosts: list[HostKind], host_kind: Codes) -> "VectorTables":
        other = copy(self)
        other.domains, other.hosts, other.host_kind = domains, hosts, host_kind
        return other

    def at(self, level: int) -> list[Vectors]:
        """All vectors of a level, path by path or kind by kind."""
        if level == self.problem.tree.height:
            return [kind.vectors for kind in self.hosts]
        return [vectors for (other, _), vectors in self.domains.items() if other == level]

    def _vectors(self, level: int, path: int, counts: Ints) -> Vectors:
        """The vectors among `counts` [dims, …] that the rules of a domain allow, with their costs."""
        self.problem.budget.check()
        self._numbers += counts.shape[1] * (len(self.problem.totals) + len(self.terms))
        if self._numbers > MOST_NUMBERS:
            raise TreeTooLarge("count vectors of all domains times roles", self._numbers, MOST_NUMBERS)
        here = listed(self.problem, level, counts)
        bits = path & ((2 << self.problem.tree.height) - 1)
        allowed = allowed_states(here, level, bool(bits >> level & 1), self._link(level, path))
        if here.frame.shape is None:
            allowed &= here.layout.whole(level)
        here = listed(self.problem, level, counts[:, allowed])
        return Vectors(here.layout.spaces[level].pods, costs_of(here, self.make_terms(here), level, bits))

    def _link(self, level: int, path: int) -> int:
        """What may go over the links of the domains of a level with this path."""
        if level == self.problem.tree.height:
            return self.problem.link_of_node(path)
        links = self.problem.links_at(level)
        return NO_LINK if links is None else int(links[self.paths[level] == path][0])

    def _host_kinds(self, budget: Budget) -> Codes:
        problem = self.problem
        amounts, most = node_room(problem)
        classes, first = np.unique(problem.node_class, return_index=True)
        kind_of = np.full(len(problem.classes) + 1, -1, dtype=np.int32)
        by_room: dict[tuple[object, ...], int] = {}
        by_content: dict[tuple[object, ...], int] = {}
        for at, node in zip(classes.tolist(), first.tolist(), strict=True):
            if at < 0:
                continue
            budget.check()
            room = self._usable(Room(amounts[node], most[node]))
            bits, hole = problem.classes[at].bits, problem.classes[at].hole
            here, masks = problem.running[:, node], problem.masks[:, node]
            key = (at,) if problem.classes[at].fits is not None else ()
            key += (room.amounts.tobytes(), room.pods.tobytes(), here.tobytes(), masks.tobytes(), bits, hole)
            if key not in by_room:
                vectors = self._vectors(problem.tree.height, bits, self._host_counts(at, node, room))
                content = (vectors.pods.tobytes(), bits, hole)
                if content not in by_content:
                    by_content[content] = len(self.hosts)
                    self.hosts.append(HostKind(vectors, bits, hole))
                by_room[key] = by_content[content]
            kind_of[at] = by_room[key]
        return np.asarray(kind_of[problem.node_class])

    def _usable(self, room: Room) -> Room:
        """The room without what no whole number of pods uses."""
        steps = np.maximum(1, np.gcd.reduce(self.problem.requests, axis=0))
        amounts = np.minimum(room.amounts, room.pods @ self.problem.requests)
        return Room(amounts // steps * steps, room.pods)

    def _host_counts(self, at: int, node: int, room: Room) -> Ints:
        """[dims, vectors] what fits the nodes of a class, of which `node` is one."""
        space, fits = self.problem.layout.spaces[-1], self.problem.classes[at].fits
        if fits is not None:
            return np.asarray(space.coordinates[:, fits])
        counts = vectors_within(self.problem, self.problem.tree.height, room)
        return np.asarray(counts[:, fits_node(self.problem, node, space.role_matrix @ counts)])


def _paths(problem: Problem) -> tuple[Ints, ...]:
    """By level, [domains] path bits with the kind of their links in the bits above all levels."""
    above = problem.tree.height + 1
    found = []
    for level, bits in enumerate(problem.paths):
        links = None if level == problem.tree.height else problem.links_at(level)
        kinds = 0 if links is None else np.unique(links, return_inverse=True)[1].astype(np.int64)
        found.append(np.asarray(bits | kinds << above))
    return tuple(found)


def _grouped(pods: Ints, projection: Projection) -> Groups:
    state_of = projection.index(pods)
    order = np.argsort(state_of, kind="stable")
    states, starts = np.unique(state_of[order], return_index=True)
    return Groups(order, starts, states, state_of, (projection.weights @ pods).sum(axis=0))


def costs_of(problem: Problem, terms: Sequence[Term], level: int, bits: int) -> Ints:
    """[terms, states] what a domain of `level` with path `bits` adds, holes apart; the terms are the problem's."""
    costs = np.zeros((len(terms), problem.layout.spaces[level].size), dtype=np.int64)
    for at, term in enumerate(terms):
        cost = term.cost(level, bits)
        if cost is not None:
            costs[at] = cost
    return costs
