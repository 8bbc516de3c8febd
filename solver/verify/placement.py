"""A plan laid over the tree: who is where, counted per role and node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.domain.gang import Gang
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Ints, Snapshot
from solver.topology.tree import Tree
from solver.verify.nominated import holders, left_beside


@dataclass(frozen=True)
class Placement:
    """Pods of one gang on nodes, running members included.

    node_of: pod → node index. nodes: sorted indices of the nodes in use. counts: role → [nodes in use] pods. nominated:
    waiting pods whose room the gang cannot have. free: [nodes, resources] what it may take.
    """

    gang: Gang
    snapshot: Snapshot
    tree: Tree
    node_of: Mapping[str, int]
    running: frozenset[str]
    nodes: Ints
    counts: Mapping[str, Ints]
    nominated: tuple[BoundPod, ...]
    free: Ints

    def is_new(self, pod: str) -> bool:
        """Whether the pod is placed and does not run yet."""
        return pod in self.node_of and pod not in self.running

    def count(self, roles: Sequence[str]) -> Ints:
        """[nodes in use] pods of several roles together."""
        return np.asarray(np.sum([self.counts[role] for role in roles], axis=0, dtype=np.int64))

    def domains(self, level: int) -> Ints:
        """[nodes in use] domain at `level`."""
        return self.tree.domain_of[level][self.nodes].astype(np.int64)

    def by_domain(self, level: int, values: Ints) -> dict[int, int]:
        """Sum of `values` over the nodes of each real domain at `level`; domains with 0 left out."""
        sums: dict[int, int] = {}
        for domain, value in zip(self.domains(level).tolist(), values.tolist(), strict=True):
            if value and self.tree.real[level][domain]:
                sums[domain] = sums.get(domain, 0) + value
        return sums

    @cached_property
    def meeting_bits(self) -> Ints:
        """[nodes in use, nodes in use] path bits of the lowest common real domain of two nodes."""
        bits = np.ones((len(self.nodes), len(self.nodes)), dtype=np.int64)
        for level in range(1, self.tree.height + 1):
            own = self.domains(level)
            same = (own[:, None] == own) & self.tree.real[level][own]
            bits = np.where(same, self.tree.path_bits[level][own], bits)
        return bits


def place(gang: Gang, snapshot: Snapshot, tree: Tree, new: Mapping[str, str]) -> Placement:
    """Placement of `new` (pod → node name) and the running members; unknown names raise KeyError."""
    index = snapshot.node_idx
    running = {member.pod: member.node for member in gang.running}
    node_of = {pod: index[node] for pod, node in {**new, **running}.items()}
    nodes = np.array(sorted(set(node_of.values())), dtype=np.int64)
    column = {int(node): position for position, node in enumerate(nodes)}
    counts = {}
    for role in gang.roles:
        row = np.zeros(len(nodes), dtype=np.int64)
        for pod in role.pods:
            if pod in node_of:
                row[column[node_of[pod]]] += 1
        counts[role.name] = row
    nominated = tuple(holders(snapshot, gang))
    free = left_beside(snapshot, nominated)
    return Placement(gang, snapshot, tree, node_of, frozenset(running), nodes, counts, nominated, free)
