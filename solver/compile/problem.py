"""One frame laid over one snapshot: node classes and the constants of the domains. Below here no name is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.compile.frame import Frame
from solver.compile.layout import MAX_STATES, Layout, build_layout
from solver.domain.resources import PODS
from solver.domain.snapshot import Codes, Ints, Mask, Snapshot
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
class Problem:
    """Everything bound, model and search need.

    resources, requests: the resources the gang asks for and [roles, resources] of one pod. node_class: [nodes] index
    into classes, −1 where no pod can go. running: [roles, nodes] running members. holes: by level, [domains] GPUs
    wholly free plus those of running members. impossible: a running member belongs to what the frame leaves out.
    """

    frame: Frame
    layout: Layout
    resources: tuple[str, ...]
    requests: Ints
    masks: Mask
    running: Ints
    node_class: Codes
    classes: tuple[NodeClass, ...]
    holes: tuple[Ints, ...]
    impossible: bool

    @property
    def tree(self) -> Tree:
        """The tree of domains."""
        return self.frame.structure.tree

    @property
    def snapshot(self) -> Snapshot:
        """The cluster state."""
        return self.frame.structure.snapshot

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """Pods by role."""
        return tuple(role.total for role in self.frame.roles)

    @cached_property
    def final(self) -> int:
        """Root state in which everything of the frame is placed."""
        return self.layout.spaces[0].size - 1


def build_problem(frame: Frame) -> Problem:
    """Classes and constants of `frame` over its snapshot, computed on columns.

    Where the host space has too many states to list, classes are formed of nodes with equal room instead.
    """
    snapshot = frame.structure.snapshot
    layout = build_layout(frame)
    resources = tuple(sorted({name for role in frame.roles for name in role.source.requests.names()} | {PODS}))
    requests = np.array(
        [[1 if name == PODS else role.source.requests[name] for name in resources] for role in frame.roles],
        dtype=np.int64,
    ).reshape(len(frame.roles), len(resources))
    masks = np.array([role.source.mask for role in frame.roles], dtype=np.bool_).reshape(len(frame.roles), -1)
    running, impossible = _running(frame)
    gpus = np.array([role.gpus for role in frame.roles], dtype=np.int64)
    hole = snapshot.whole_free_gpus + gpus @ running
    node_class, classes = _classify(frame, layout, _free(snapshot, resources), requests, masks, running, hole)
    return Problem(
        frame,
        layout,
        resources,
        requests,
        masks,
        running,
        node_class,
        classes,
        _holes(frame.structure.tree, hole),
        impossible,
    )


def _running(frame: Frame) -> tuple[Ints, bool]:
    """[roles, nodes] members of each role that already run, and whether one has no place in the frame."""
    structure = frame.structure
    role_of = {name: at for at, role in enumerate(frame.roles) for name in role.source.names}
    by_pod = {pod: role_of.get(role.name) for role in structure.gang.roles for pod in role.pods}
    counts = np.zeros((len(frame.roles), len(structure.snapshot.nodes)), dtype=np.int64)
    for member in structure.gang.running:
        role = by_pod[member.pod]
        if role is None:
            return counts, True
        counts[role, structure.snapshot.node_idx[member.node]] += 1
    totals = np.array([role.total for role in frame.roles], dtype=np.int64)
    return counts, bool((counts.sum(axis=1) > totals).any())


def _free(snapshot: Snapshot, resources: Sequence[str]) -> Ints:
    """[nodes, resources] free for new pods; a resource no node has is 0."""
    columns = [
        np.maximum(snapshot.free[:, snapshot.resources.index(name)], 0)
        if name in snapshot.resources
        else np.zeros(len(snapshot.nodes), dtype=np.int64)
        for name in resources
    ]
    return np.stack(columns, axis=1)


def _classify(
    frame: Frame, layout: Layout, free: Ints, requests: Ints, masks: Mask, running: Ints, hole: Ints
) -> tuple[Codes, tuple[NodeClass, ...]]:
    tree = frame.structure.tree
    totals = np.array([role.total for role in frame.roles], dtype=np.int64)
    clipped = np.minimum(free, totals @ requests)
    node_class = np.full(len(hole), -1, dtype=np.int32)
    usable = np.flatnonzero(masks.any(axis=0) | running.any(axis=0))
    if not len(usable):
        return node_class, ()
    bits = tree.path_bits[tree.height]
    rows = np.concatenate(
        [masks[:, usable].T, clipped[usable], running[:, usable].T, hole[usable, None], bits[usable, None]], axis=1
    )
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    leaf = layout.spaces[-1]
    pods = leaf.pods if leaf.size <= MAX_STATES else None
    merged: dict[tuple[bytes, int, int], int] = {}
    classes: list[NodeClass] = []
    class_of_row = np.full(len(unique), -1, dtype=np.int32)
    roles, amounts = len(frame.roles), free.shape[1]
    for at, row in enumerate(unique):
        allowed, room, here = row[:roles] > 0, row[roles : roles + amounts], row[roles + amounts : 2 * roles + amounts]
        if not here.any() and not (allowed & (requests <= room).all(axis=1)).any():
            continue
        fits = None if pods is None else _fits(pods, allowed, room, here, requests)
        key = (row[:-2].tobytes() if fits is None else fits.tobytes(), int(row[-2]), int(row[-1]))
        if key not in merged:
            merged[key] = len(classes)
            classes.append(NodeClass(fits, key[1], key[2], tuple(room.tolist()), tuple(here.tolist())))
        class_of_row[at] = merged[key]
    node_class[usable] = class_of_row[inverse.reshape(-1)]
    return node_class, tuple(classes)


def _fits(pods: Ints, allowed: Mask, room: Ints, here: Ints, requests: Ints) -> Mask:
    """[states] whether a node with `room` and running members `here` can hold each count vector."""
    new = pods - here[:, None]
    fits = np.asarray((new >= 0).all(axis=0) & (allowed[:, None] | (new == 0)).all(axis=0))
    for resource in range(requests.shape[1]):
        fits &= requests[:, resource] @ new <= room[resource]
    return fits


def _holes(tree: Tree, hole: Ints) -> tuple[Ints, ...]:
    return tuple(
        np.bincount(tree.domain_of[level], weights=hole, minlength=len(tree.parent[level])).astype(np.int64)
        for level in range(tree.height + 1)
    )
