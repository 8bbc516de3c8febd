"""Classes of nodes: nodes on which the same count vectors fit, at the same cost, whatever their raw numbers."""

from dataclasses import dataclass, field

import numpy as np

from solver.compile.frame import Frame
from solver.compile.layout import Layout
from solver.domain.budget import Budget
from solver.domain.snapshot import Codes, Ints, Mask
from solver.topology.tree import Tree


@dataclass(frozen=True)
class NodeClass:
    """Nodes on which the same count vectors fit, at the same cost.

    fits: [states of the host space]; None where there are too many states to list. hole: GPUs wholly free before,
    plus those of running members, which the term `fragmentation` starts from. bits: path of the node. free: what is
    free of each of the problem's resources, of one node of the class; running: running members by role.
    """

    fits: Mask | None
    hole: int
    bits: int
    free: tuple[int, ...]
    running: tuple[int, ...]

    @property
    def empty_allowed(self) -> bool:
        """Whether a node of the class may stay without pods of the gang."""
        return not any(self.running)


@dataclass(frozen=True)
class NodeColumns:
    """What decides a node's class, as columns over the nodes.

    free: [nodes, resources] capped at what the whole gang asks for. masks, running: [roles, nodes]. hole: [nodes].
    """

    free: Ints
    masks: Mask
    running: Ints
    hole: Ints

    def stacked(self, tree: Tree) -> Ints:
        """[columns, nodes] everything one above the other; nodes with equal columns are alike."""
        bits = tree.path_bits[tree.height]
        return np.concatenate([self.masks, self.free.T, self.running, self.hole[None], bits[None]], dtype=np.int64)


@dataclass
class ClassBook:
    """Classes of one gang shape. Kept between snapshots, only nodes that changed are classified again.

    A class never changes: the book only grows, and its entries are found by content.
    """

    classes: list[NodeClass] = field(default_factory=list)
    _by_row: dict[bytes, int] = field(default_factory=dict)
    _by_content: dict[tuple[bytes, int, int], int] = field(default_factory=dict)
    _tree: Tree | None = None
    _stacked: Ints | None = None
    _node_class: Codes | None = None

    def classify(self, frame: Frame, layout: Layout, columns: NodeColumns, requests: Ints) -> Codes:
        """[nodes] index into `classes`, −1 where no pod of the gang can go."""
        tree, budget = frame.structure.tree, frame.structure.budget
        stacked = columns.stacked(tree)
        node_class = np.full(stacked.shape[1], -1, dtype=np.int32)
        changed = columns.masks.any(axis=0) | columns.running.any(axis=0)
        if self._tree is tree and self._stacked is not None and self._node_class is not None:
            fresh = (stacked != self._stacked).any(axis=0)
            node_class = np.where(fresh, -1, self._node_class).astype(np.int32)
            changed &= fresh
        nodes = np.flatnonzero(changed)
        if len(nodes):
            first, inverse = _distinct(stacked[:, nodes], budget)
            if layout.spaces[-1].listable:
                budget.allow("kinds of nodes times what one can hold", len(first) * layout.spaces[-1].size)
            rows = np.ascontiguousarray(stacked[:, nodes[first]].T)
            found = []
            for row in rows:
                budget.check()
                found.append(self._class_of(layout, row, len(frame.roles), requests))
            node_class[nodes] = np.array(found, dtype=np.int32)[inverse]
        self._tree, self._stacked, self._node_class = tree, stacked, node_class
        return node_class

    def _class_of(self, layout: Layout, row: Ints, roles: int, requests: Ints) -> int:
        seen = self._by_row.get(row.tobytes())
        if seen is None:
            seen = self._by_row[row.tobytes()] = self._new_class(layout, row, roles, requests)
        return seen

    def _new_class(self, layout: Layout, row: Ints, roles: int, requests: Ints) -> int:
        amounts = requests.shape[1]
        allowed, room, here = row[:roles] > 0, row[roles : roles + amounts], row[roles + amounts : 2 * roles + amounts]
        if not here.any() and not (allowed & (requests <= room).all(axis=1)).any():
            return -1
        leaf = layout.spaces[-1]
        fits = _fits(leaf.pods, allowed, room, here, requests) if leaf.listable else None
        key = (row[:-2].tobytes() if fits is None else fits.tobytes(), int(row[-2]), int(row[-1]))
        if key not in self._by_content:
            self._by_content[key] = len(self.classes)
            self.classes.append(NodeClass(fits, key[1], key[2], tuple(room.tolist()), tuple(here.tolist())))
        return self._by_content[key]


def _distinct(stacked: Ints, budget: Budget) -> tuple[Ints, Ints]:
    """Position of the first node of each kind, and for every node its kind; columns are mixed into one exact code."""
    code, size = np.zeros(stacked.shape[1], dtype=np.int64), 1
    seen: set[bytes] = set()
    for column in stacked:
        budget.check()
        content = column.tobytes()
        if content in seen or (column == column[0]).all():
            continue
        seen.add(content)
        values, digits = np.unique(column, return_inverse=True)
        if size * len(values) >= 1 << 62:
            kinds, code = np.unique(code, return_inverse=True)
            size = len(kinds)
        code, size = code * len(values) + digits, size * len(values)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse


def _fits(pods: Ints, allowed: Mask, room: Ints, here: Ints, requests: Ints) -> Mask:
    """[states] whether a node with `room` and running members `here` can hold each count vector."""
    new = pods - here[:, None]
    fits = np.asarray((new >= 0).all(axis=0) & (allowed[:, None] | (new == 0)).all(axis=0))
    for resource in range(requests.shape[1]):
        fits &= requests[:, resource] @ new <= room[resource]
    return fits
