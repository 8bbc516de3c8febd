"""A plan laid over the tree: who is where, counted per role and node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.domain.budget import UNLIMITED, Budget
from solver.domain.gang import Flow, Gang, Pattern
from solver.domain.pods import BoundPod
from solver.domain.replicas import Fewest, Replica, root_replica
from solver.domain.snapshot import Ints, Snapshot
from solver.topology.tree import Tree
from solver.verify.nominated import holders, left_beside
from solver.verify.times import Engine, engines, ranks


@dataclass(frozen=True)
class Placement:
    """Pods of one gang on nodes, running members included.

    node_of: pod → node index. nodes: sorted indices of the nodes in use. counts: role → [nodes in use] pods. nominated:
    waiting pods whose room the gang cannot have. free: [nodes, resources] what it may take. budget: of the check.
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
    budget: Budget = UNLIMITED

    def is_new(self, pod: str) -> bool:
        """Whether the pod is placed and does not run yet."""
        return pod in self.node_of and pod not in self.running

    def count(self, roles: Sequence[str]) -> Ints:
        """[nodes in use] pods of several roles together."""
        return np.asarray(np.sum([self.counts[role] for role in roles], axis=0, dtype=np.int64))

    def domains(self, level: int) -> Ints:
        """[nodes in use] domain at `level`."""
        return self.tree.domain_of[level][self.nodes].astype(np.int64)

    @cached_property
    def paths(self) -> list[tuple[Ints, list[int]]]:
        """By level, [nodes in use] which of the domains in use a node is in, and the path bits of these."""
        found = []
        for level in range(self.tree.height + 1):
            domains, position = np.unique(self.domains(level), return_inverse=True)
            found.append((position, self.tree.path_bits[level][domains].tolist()))
        return found

    def by_domain(self, level: int, values: Ints) -> dict[int, int]:
        """Sum of `values` over the nodes of each real domain at `level`; domains with 0 left out."""
        sums: dict[int, int] = {}
        for domain, value in zip(self.domains(level).tolist(), values.tolist(), strict=True):
            if value and self.tree.real[level][domain]:
                sums[domain] = sums.get(domain, 0) + value
        return sums

    @cached_property
    def root(self) -> Replica:
        """The replicas of the gang, kept or not."""
        return root_replica(self.gang, self.budget)

    @cached_property
    def replicas(self) -> Mapping[str, list[Replica]]:
        """Group → its replicas, outer ones first."""
        found: dict[str, list[Replica]] = {group.name: [] for group in self.gang.root.walk()}
        waiting = [self.root]
        while waiting:
            replica = waiting.pop()
            found[replica.group.name].append(replica)
            waiting += [child for siblings in reversed(replica.children) for child in reversed(siblings)]
        return found

    @cached_property
    def nodes_of(self) -> Mapping[int, frozenset[int]]:
        """Replica, by identity → the nodes that hold a pod inside it; those without any are left out."""
        found: dict[int, frozenset[int]] = {}
        self._collect(self.root, found)
        return found

    def _collect(self, replica: Replica, found: dict[int, frozenset[int]]) -> frozenset[int]:
        self.budget.check()
        nodes = {self.node_of[pod] for pods in replica.pods.values() for pod in pods if pod in self.node_of}
        for siblings in replica.children:
            for child in siblings:
                nodes |= self._collect(child, found)
        if nodes:
            found[id(replica)] = frozenset(nodes)
        return frozenset(nodes)

    def senders(self, flow: Flow) -> Mapping[str, Engine]:
        """Role name → what sends and receives in a flow."""
        return self._ranks if flow.pattern is Pattern.COLLECTIVE else self._engines

    @cached_property
    def _engines(self) -> Mapping[str, Engine]:
        return engines(self.gang, self.snapshot.accelerators)

    @cached_property
    def _ranks(self) -> Mapping[str, Engine]:
        return ranks(self.gang, self.snapshot.accelerators)

    @cached_property
    def fewest(self) -> Fewest:
        """Fewest pods by group."""
        return Fewest()


def place(gang: Gang, snapshot: Snapshot, tree: Tree, new: Mapping[str, str], budget: Budget = UNLIMITED) -> Placement:
    """Placement of `new` (pod → node name) and the running members; unknown names raise KeyError."""
    index = snapshot.node_idx
    running = {member.pod: member.node for member in gang.running}
    node_of = {pod: index[node] for pod, node in {**new, **running}.items()}
    nodes = np.array(sorted(set(node_of.values())), dtype=np.int64)
    column = {int(node): position for position, node in enumerate(nodes)}
    counts = {}
    for role in gang.roles:
        budget.check()
        row = np.zeros(len(nodes), dtype=np.int64)
        for pod in role.pods:
            if pod in node_of:
                row[column[node_of[pod]]] += 1
        counts[role.name] = row
    nominated = tuple(holders(snapshot, gang))
    free = left_beside(snapshot, nominated)
    return Placement(gang, snapshot, tree, node_of, frozenset(running), nodes, counts, nominated, free, budget)
