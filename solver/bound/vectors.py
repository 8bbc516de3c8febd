"""What domains can hold, count vector by count vector, and what each costs: the raw stuff of merged tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.compile.listing import Room, fits_node, listed, node_room, rooms_by_path, vectors_within
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints
from solver.rules.registry import allowed_states
from solver.terms.base import Term

MakeTerms = Callable[[Problem], Sequence[Term]]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Count vectors that no rule forbids in a domain. pods: [roles, vectors]; costs: [terms, vectors] without holes."""

    pods: Ints
    costs: Ints


@dataclass(frozen=True, eq=False)
class HostKind:
    """Nodes that hold the same vectors at the same cost; bits and hole as in a node class."""

    vectors: Vectors
    bits: int
    hole: int


class VectorTables:
    """Vectors by level and path above the hosts, and by kind of host.

    Above the hosts a vector is listed when the largest domain of the level and path could hold it, each resource taken
    by itself: more than any one domain holds, never less. At the root only `targets` are, [dims, vectors]; None = the
    whole gang. host_kind: [nodes] index into hosts, −1 where no pod can go. Raises TreeTooLarge when a listing gets too
    long, OutOfTime.
    """

    def __init__(self, problem: Problem, make_terms: MakeTerms, budget: Budget, targets: Ints | None = None) -> None:
        self.problem, self.make_terms = problem, make_terms
        self.terms = tuple(make_terms(problem))
        if targets is None:
            targets = np.array([[dim.cap] for dim in problem.layout.spaces[0].dims], dtype=np.int64)
        self.domains = {(0, 1): self._vectors(0, 1, targets)}
        for level in range(1, problem.tree.height):
            for bits, room in rooms_by_path(problem, level).items():
                budget.check()
                self.domains[level, bits] = self._vectors(level, bits, vectors_within(problem, level, room))
        self.hosts: list[HostKind] = []
        self.host_kind = self._host_kinds(budget)

    def at(self, level: int) -> list[Vectors]:
        """All vectors of a level, path by path or kind by kind."""
        if level == self.problem.tree.height:
            return [kind.vectors for kind in self.hosts]
        return [vectors for (other, _), vectors in self.domains.items() if other == level]

    def _vectors(self, level: int, bits: int, counts: Ints) -> Vectors:
        """The vectors among `counts` [dims, …] that the rules of a domain allow, with their costs."""
        here = listed(self.problem, level, counts)
        allowed = allowed_states(here, level, bool(bits >> level & 1))
        if here.frame.shape is None:
            allowed &= here.layout.whole(level)
        here = listed(self.problem, level, counts[:, allowed])
        return Vectors(here.layout.spaces[level].pods, costs_of(here, self.make_terms(here), level, bits))

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


def costs_of(problem: Problem, terms: Sequence[Term], level: int, bits: int) -> Ints:
    """[terms, states] what a domain of `level` with path `bits` adds, holes apart; the terms are the problem's."""
    costs = np.zeros((len(terms), problem.layout.spaces[level].size), dtype=np.int64)
    for at, term in enumerate(terms):
        cost = term.cost(level, bits)
        if cost is not None:
            costs[at] = cost
    return costs
