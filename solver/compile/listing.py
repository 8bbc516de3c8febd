"""Count vectors listed one by one: of levels whose whole space is too large, those that some domain can hold."""

from dataclasses import dataclass, replace

import numpy as np

from solver.compile.layout import MAX_CELLS, Layout, Space, TreeTooLarge
from solver.compile.problem import Problem, free_by_node
from solver.domain.snapshot import Codes, Ints, Mask

#: Most count vectors listed for the domains of one level.
MAX_LISTED = 300_000


@dataclass(frozen=True, eq=False)
class Listing(Space):
    """Some states of a space instead of all of them. listed: [dims, states] their counts."""

    listed: Ints

    @property
    def size(self) -> int:
        """Number of listed states."""
        return int(self.listed.shape[1])

    @property
    def coordinates(self) -> Ints:
        """[dims, states] counts of each listed state."""
        return self.listed


@dataclass(frozen=True)
class Room:
    """What one domain can hold at most, running members included. amounts: by resource; pods: by role."""

    amounts: Ints
    pods: Ints


def listed(problem: Problem, level: int, counts: Ints) -> Problem:
    """The problem as terms and rules see it when the states of `level` are `counts` [dims, states]."""
    spaces = list(problem.layout.spaces)
    space = spaces[level]
    spaces[level] = Listing(space.dims, space.role_matrix, space.group_matrix, counts)
    return replace(problem, layout=Layout(problem.frame, tuple(spaces)))


def vectors_within(problem: Problem, level: int, room: Room) -> Ints:
    """[dims, vectors] every count vector of `level` that `room` can hold, the empty one first.

    Raises TreeTooLarge above MAX_LISTED.
    """
    space = problem.layout.spaces[level]
    found = np.zeros((0, 1), dtype=np.int64)
    held = np.zeros((len(problem.totals) + problem.requests.shape[1], 1), dtype=np.int64)
    limits = np.concatenate([room.pods, room.amounts])
    for at, dim in enumerate(space.dims):
        one = np.concatenate([space.role_matrix[:, at], problem.requests.T @ space.role_matrix[:, at]])
        most = min([dim.cap, *(int(limit // each) for limit, each in zip(limits, one, strict=True) if each)])
        tried = held.shape[1] * (most + 1)
        if tried > 8 * MAX_LISTED:
            raise TreeTooLarge("count vectors of a domain", tried, 8 * MAX_LISTED)
        before, value = _extended(problem, held, one, most, limits)
        if len(before) > MAX_LISTED or len(before) * len(limits) > MAX_CELLS:
            raise TreeTooLarge("count vectors of a domain", len(before), min(MAX_LISTED, MAX_CELLS // len(limits)))
        found = np.concatenate([found[:, before], value[None]])
        longer = np.empty((len(held), len(before)), dtype=np.int64)
        for row, (old, each) in enumerate(zip(held, one, strict=True)):
            problem.budget.check()
            longer[row] = old[before] + each * value
        held = longer
    return found


def _extended(problem: Problem, held: Ints, one: Ints, most: int, limits: Ints) -> tuple[Ints, Ints]:
    """Vectors, by position, and the steps 0 … most of one more count with which they stay within the limits."""
    used = one > 0
    room = limits[used, None] - held[used]
    steps = np.full(held.shape[1], most, dtype=np.int64)
    for row, each in zip(room, one[used].tolist(), strict=True):
        problem.budget.check()
        np.minimum(steps, row // each, out=steps)
    counts = steps + 1
    before = np.repeat(np.arange(held.shape[1]), counts)
    return before, np.arange(len(before)) - np.repeat(np.cumsum(counts) - counts, counts)


def rooms_by_path(problem: Problem, level: int, paths: Ints) -> dict[int, Room]:
    """Path → the most that any domain of `level` with this path, of [domains] `paths`, can hold of each resource."""
    domains = problem.tree.domain_of[level]
    usable = problem.node_class >= 0
    where, count = domains[usable], len(problem.tree.parent[level])
    room, most = node_room(problem)
    amounts = _sums(room[usable], where, count)
    pods = np.minimum(_sums(most[usable], where, count), np.array(problem.totals, dtype=np.int64))
    found = {}
    for path in np.unique(paths[np.unique(where)]).tolist():
        members = paths == path
        found[path] = Room(amounts[members].max(axis=0), pods[members].max(axis=0))
    return found


def node_room(problem: Problem) -> tuple[Ints, Ints]:
    """[nodes, resources] what new pods and running members may take there; [nodes, roles] the most pods of each role.

    What all pods of the gang cannot use up is left out.
    """
    totals = np.array(problem.totals, dtype=np.int64)
    free = np.minimum(free_by_node(problem.snapshot, problem.resources), totals @ problem.requests)
    most = np.zeros((len(free), len(totals)), dtype=np.int64)
    for role, asked in enumerate(problem.requests):
        problem.budget.check()
        fits = [free[:, at] // ask for at, ask in enumerate(asked.tolist()) if ask]
        most[:, role] = np.where(problem.masks[role], np.minimum.reduce(fits), 0)
    most = np.minimum(most + problem.running.T, totals)
    return free + problem.running.T @ problem.requests, most


def host_vectors(problem: Problem, node: int, room: Room) -> Ints:
    """[dims, vectors] count vectors that fit `node`, whose room is given."""
    counts = vectors_within(problem, problem.tree.height, room)
    pods = problem.layout.spaces[-1].role_matrix @ counts
    return np.asarray(counts[:, fits_node(problem, node, pods)])


def fits_node(problem: Problem, node: int, pods: Ints) -> Mask:
    """[vectors] whether pods [roles, vectors] are at least the running members, and more only where new ones may go."""
    new = pods - problem.running[:, node, None]
    return np.asarray(((new == 0) | (problem.masks[:, node, None] & (new > 0))).all(axis=0))


def _sums(values: Ints, where: Codes, count: int) -> Ints:
    """[domains, columns] column sums of `values` [nodes, columns] by domain, exact for any amounts."""
    sums = np.zeros((count, values.shape[1]), dtype=np.int64)
    np.add.at(sums, where, values)
    return sums
