"""What is counted at each level: the state spaces of the bound, and the variables of the model.

Below a group's required level its pods are counted, role by role; from that level up only its whole replicas are.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from solver.compile.frame import Frame
from solver.domain.errors import TooLarge
from solver.domain.snapshot import Ints, Mask

#: Largest number of states, and of pairs of states that add up, the tree works with.
MAX_STATES = 60_000
MAX_PAIRS = 1_000_000_000
#: Most numbers in one table over states.
MAX_CELLS = 32_000_000
#: Bytes of one number in a table.
_NUMBER_BYTES = 8


class TreeTooLarge(TooLarge):
    """The state space is too large for tables; CP-SAT has to do without the tree."""

    def __init__(self, what: str = "states of a domain", number: int = MAX_STATES + 1, limit: int = MAX_STATES) -> None:
        super().__init__(what, number, limit)


def refuse_states(states: int, rows: int) -> None:
    """Raise TreeTooLarge for more states than tables hold, or more numbers than one has for so many rows of them."""
    if states > MAX_STATES:
        raise TreeTooLarge("states of a domain", states, MAX_STATES)
    if states * rows > MAX_CELLS:
        raise TreeTooLarge("roles times states of a domain", states * rows, MAX_CELLS)


@dataclass(frozen=True)
class Dim:
    """One count of a state: pods of a role, replicas of a rigid group, or whether a flexible group is here.

    kind: "role", "group" or "located". item: index of the role or group in the frame. cap: highest value.
    """

    kind: str
    item: int
    cap: int


@dataclass(frozen=True)
class Space:
    """States of the domains of one level: every vector of counts within the caps, in C order.

    role_matrix[role, dim]: pods of a role per unit of a dim. group_matrix[group, dim]: replicas of a group per unit;
    meaningful for groups whose required level is this one or finer.
    """

    dims: tuple[Dim, ...]
    role_matrix: Ints
    group_matrix: Ints

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each dim."""
        return tuple(dim.cap + 1 for dim in self.dims)

    @property
    def size(self) -> int:
        """Number of states."""
        return prod(self.shape)

    @property
    def listable(self) -> bool:
        """Whether its states are few enough to be listed with the pods of every role."""
        return self.size <= MAX_STATES and self.size * len(self.role_matrix) <= MAX_CELLS

    @property
    def pairs(self) -> int:
        """Number of pairs of states whose sum is a state."""
        return prod((dim.cap + 1) * (dim.cap + 2) // 2 for dim in self.dims)

    @cached_property
    def coordinates(self) -> Ints:
        """[dims, states] counts of each state."""
        refuse_states(self.size, len(self.dims))
        return np.indices(self.shape, dtype=np.int64).reshape(len(self.dims), -1)

    @cached_property
    def pods(self) -> Ints:
        """[roles, states] pods of each role."""
        if len(self.role_matrix) * self.size > MAX_CELLS:
            raise TreeTooLarge("roles times states of a domain", len(self.role_matrix) * self.size, MAX_CELLS)
        return np.asarray(self.role_matrix @ self.coordinates)

    def counts_at(self, state: int) -> Ints:
        """[dims] counts of one state, also of a space too large to list."""
        counts = []
        for size in reversed(self.shape):
            state, count = divmod(int(state), size)
            counts.append(count)
        return np.array(counts[::-1], dtype=np.int64)

    def replicas(self, group: int) -> Ints:
        """[states] replicas of a group that is counted whole at this level."""
        return np.asarray(self.group_matrix[group] @ self.coordinates)

    def state_of(self, counts: Ints) -> int:
        """State index of one count vector, also of a space beyond the 64-bit range."""
        state = 0
        for count, size in zip(counts.tolist(), self.shape, strict=True):
            state = state * size + count
        return state

    def index(self, counts: Ints) -> Ints:
        """State index of count vectors [dims, …]."""
        return np.asarray(np.ravel_multi_index(tuple(counts), self.shape))


@dataclass(frozen=True)
class Layout:
    """Spaces by level, 0 = root … host."""

    frame: Frame
    spaces: tuple[Space, ...]

    def check(self) -> None:
        """Raises TreeTooLarge when a space is beyond what tables can hold.

        At the limits one table takes 0.5 MB a lane; one convolution of two full tables takes up to 0.1 s compiled
        and 1 s in numpy, and one with a table that is 5 % full a tenth of that.
        """
        for space in self.spaces:
            refuse_states(space.size, max(len(space.dims), len(space.role_matrix)))
            if space.pairs > MAX_PAIRS:
                raise TreeTooLarge("pairs of states of a domain", space.pairs, MAX_PAIRS)

    def gather(self, level: int) -> tuple[Ints, Mask]:
        """For each state of `level`: the state of its children's space it stands for, and whether it is allowed."""
        space, below = self.spaces[level], self.spaces[level + 1]
        counts = self.below_matrix(level) @ space.coordinates
        return below.index(counts), self.whole(level)

    def below_matrix(self, level: int) -> Ints:
        """[dims of level + 1, dims of level]: counts below = matrix · counts here."""
        space, below = self.spaces[level], self.spaces[level + 1]
        rows = [_row(space, dim) for dim in below.dims]
        return np.array(rows, dtype=np.int64).reshape(len(below.dims), len(space.dims))

    def whole(self, level: int) -> Mask:
        """[states of level] a flexible group is located here exactly when it has pods here."""
        space = self.spaces[level]
        allowed = np.ones(space.size, dtype=np.bool_)
        for at, dim in enumerate(space.dims):
            if dim.kind == "located":
                inside = np.array(self.frame.groups[dim.item].inside) > 0
                allowed &= (space.coordinates[at] > 0) == (space.pods[inside].sum(axis=0) > 0)
        return allowed


def _row(space: Space, dim: Dim) -> Ints:
    """How one dim of the children's space depends on the dims of `space`."""
    if dim.kind == "role":
        return np.asarray(space.role_matrix[dim.item])
    if dim.kind == "group":
        return np.asarray(space.group_matrix[dim.item])
    return np.array([int(other.kind == "located" and other.item == dim.item) for other in space.dims])


def root_counts(layout: Layout, pods: list[int], replicas: list[int]) -> Ints:
    """[dims of the root] counts of an elastic layout in which roles and groups have these."""
    values = []
    for dim in layout.spaces[0].dims:
        if dim.kind == "role":
            values.append(pods[dim.item])
        elif dim.kind == "group":
            values.append(replicas[dim.item])
        else:
            inside = layout.frame.groups[dim.item].inside
            values.append(int(any(count for count, size in zip(pods, inside, strict=True) if size)))
    return np.array(values, dtype=np.int64)


def build_layout(frame: Frame) -> Layout:
    """Spaces of every level for `frame`."""
    height, budget = frame.structure.tree.height, frame.structure.budget
    dims = [tuple(_dims(frame, 0, level)) for level in range(height + 1)]
    rows = len(frame.roles) + len(frame.groups)
    budget.allow("roles and groups times what is counted", _NUMBER_BYTES * rows * sum(map(len, dims)))
    spaces: list[Space] = []
    for each in dims:
        same = spaces[-1] if spaces and spaces[-1].dims == each else None
        spaces.append(same or _space(frame, each))
    return Layout(frame, tuple(spaces))


def _space(frame: Frame, dims: tuple[Dim, ...]) -> Space:
    roles = np.zeros((len(frame.roles), len(dims)), dtype=np.int64)
    groups = np.zeros((len(frame.groups), len(dims)), dtype=np.int64)
    for at, dim in enumerate(dims):
        frame.structure.budget.check()
        if dim.kind == "role":
            roles[dim.item, at] = 1
        elif dim.kind == "group":
            roles[:, at] = frame.groups[dim.item].inside
            _count_groups(frame, dim.item, 1, groups[:, at])
        else:
            groups[dim.item, at] = 1
    return Space(dims, roles, groups)


def _dims(frame: Frame, index: int, level: int) -> list[Dim]:
    group = frame.groups[index]
    here: list[Dim] = []
    if group.required and level <= group.required:
        if not group.flexible:
            return [Dim("group", index, group.count)]
        here.append(Dim("located", index, 1))
    here += [Dim("role", role, frame.roles[role].total) for role in group.roles]
    for child in group.children:
        here += _dims(frame, child, level)
    return here


def _count_groups(frame: Frame, index: int, factor: int, column: Ints) -> None:
    """Add to `column` the replicas of a group and its nested groups in `factor` of its replicas."""
    group = frame.groups[index]
    column[index] += factor
    for child in group.children:
        _count_groups(frame, child, factor * frame.groups[child].count // group.count, column)
