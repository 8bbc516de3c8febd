"""One frame laid over one snapshot: node classes and the constants of the domains. Below here no name is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.compile.classes import ClassBook, NodeClass, NodeColumns
from solver.compile.frame import Frame
from solver.compile.layout import Layout, build_layout
from solver.compile.links import NO_LINK, Links, links_of
from solver.domain.budget import Budget
from solver.domain.resources import PODS
from solver.domain.snapshot import Codes, Ints, Mask, Snapshot
from solver.topology.tree import Tree

#: Bytes that one role takes for each node: its mask, its running members, and both once more while nodes are compared.
_NODE_BYTES = 40


@dataclass(frozen=True)
class Problem:
    """Everything bound, model and search need.

    resources, requests: the resources the gang asks for and [roles, resources] of one pod. node_class: [nodes] index
    into classes, −1 where no pod can go. running: [roles, nodes] running members. holes: by level, [domains] GPUs
    wholly free on nodes open to the gang, plus those of running members. impossible: a running member belongs to what
    the frame leaves out. links: what the rule `bandwidth` allows; None without the rule, and while counts are open.
    paths: by level, [domains] their path bits, with which tables tell alike domains apart.
    """

    frame: Frame
    layout: Layout
    resources: tuple[str, ...]
    requests: Ints
    masks: Mask
    running: Ints
    node_class: Codes
    classes: Sequence[NodeClass]
    holes: tuple[Ints, ...]
    impossible: bool
    links: Links | None
    paths: tuple[Ints, ...]

    @property
    def tree(self) -> Tree:
        """The tree of domains."""
        return self.frame.structure.tree

    @property
    def snapshot(self) -> Snapshot:
        """The cluster state."""
        return self.frame.structure.snapshot

    @property
    def budget(self) -> Budget:
        """What everything that is made of it may take."""
        return self.frame.structure.budget

    def link_of_node(self, bits: int) -> int:
        """Bytes a second that the gang may send through the NICs of a node with path `bits`, NO_LINK = any number."""
        return NO_LINK if self.links is None else self.links.of_node(bits)

    def links_at(self, level: int) -> Ints | None:
        """[domains] the same of the links of a level above the hosts; None where it has none."""
        return None if self.links is None else self.links.at(level)

    @property
    def classes_in_use(self) -> int:
        """Number of different classes among the nodes."""
        return len(np.unique(self.node_class[self.node_class >= 0]))

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """Pods by role."""
        return tuple(role.total for role in self.frame.roles)

    @cached_property
    def final(self) -> int:
        """Root state in which everything of the frame is placed."""
        return self.layout.spaces[0].size - 1


def build_problem(frame: Frame, book: ClassBook | None = None) -> Problem:
    """Classes and constants of `frame` over its snapshot, computed on columns.

    book: classes of earlier snapshots for a frame of the same shape. Where the host space has too many states to
    list, classes are formed of nodes with equal room instead.
    """
    book = book or ClassBook()
    snapshot, budget = frame.structure.snapshot, frame.structure.budget
    budget.check()
    budget.allow("roles times nodes", _NODE_BYTES * len(frame.roles) * len(snapshot.nodes))
    layout = build_layout(frame)
    resources = tuple(sorted({name for role in frame.roles for name in role.source.requests.names()} | {PODS}))
    requests = np.array(
        [[1 if name == PODS else role.source.requests[name] for name in resources] for role in frame.roles],
        dtype=np.int64,
    ).reshape(len(frame.roles), len(resources))
    masks = np.array([role.source.mask for role in frame.roles], dtype=np.bool_)
    masks = masks.reshape(len(frame.roles), len(snapshot.nodes))
    running, impossible = _running(frame)
    gpus = np.array([role.gpus for role in frame.roles], dtype=np.int64)
    hole = snapshot.wholly_free_on(snapshot.open_to(frame.structure.gang.tolerations)) + gpus @ running
    totals = np.array([role.total for role in frame.roles], dtype=np.int64)
    free = np.minimum(free_by_node(snapshot, resources), totals @ requests)
    budget.check()
    node_class = book.classify(frame, layout, NodeColumns(free, masks, running, hole), requests)
    return Problem(
        frame,
        layout,
        resources,
        requests,
        masks,
        running,
        node_class,
        book.classes,
        _holes(frame.structure.tree, hole),
        impossible,
        _links(frame),
        frame.structure.tree.path_bits,
    )


def _links(frame: Frame) -> Links | None:
    """Links of the topology for a gang that says how much it serves."""
    gang = frame.structure.gang
    if not gang.requests_per_second or not gang.hands_over or not frame.settled:
        return None
    return links_of(frame.structure.tree)


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


def free_by_node(snapshot: Snapshot, resources: Sequence[str]) -> Ints:
    """[nodes, resources] free for new pods; a resource no node has is 0."""
    columns = [
        np.maximum(snapshot.free[:, snapshot.resources.index(name)], 0)
        if name in snapshot.resources
        else np.zeros(len(snapshot.nodes), dtype=np.int64)
        for name in resources
    ]
    return np.stack(columns, axis=1)


def _holes(tree: Tree, hole: Ints) -> tuple[Ints, ...]:
    return tuple(
        np.bincount(tree.domain_of[level], weights=hole, minlength=len(tree.parent[level])).astype(np.int64)
        for level in range(tree.height + 1)
    )
