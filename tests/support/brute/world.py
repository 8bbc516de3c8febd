"""The facts of one cluster and one gang that the brute force looks up: domains, meetings, pods, eligible nodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from solver.domain.constraints import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    AntiAffinity,
    NodeSelectorTerm,
    Taint,
    Toleration,
)
from solver.domain.gang import Gang, Group, Role
from solver.domain.levels import TopologySpec, discovered_topology
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU, PODS
from solver.domain.snapshot import Snapshot

#: Labels whose values are NVLink domains.
_NVL = ("nvl", "network.topology.nvidia.com/accelerator", "accelerator.topograph.run/domain", "nvidia.com/gpu.clique")
#: A domain: the label values on its path, None where a coarser level is missing; the host ends in its node.
Domain = tuple[str | None, ...]


@dataclass(eq=False)
class Replica:
    """One replica of a group: its enclosing replicas (outermost first), its pods by role, its child replicas."""

    group: Group
    above: tuple["Replica", ...]
    pods: dict[str, tuple[str, ...]]
    children: dict[str, list["Replica"]]

    def walk(self) -> Iterator["Replica"]:
        """It and every replica inside, kept or not."""
        yield self
        for siblings in self.children.values():
            for child in siblings:
                yield from child.walk()

    @cached_property
    def all_pods(self) -> frozenset[str]:
        """Names of all pods inside, placed or not."""
        return frozenset(pod for replica in self.walk() for names in replica.pods.values() for pod in names)


def replica_tree(group: Group, number: int = 0, above: tuple[Replica, ...] = ()) -> Replica:
    """Replica `number` of the group, counted row by row over the whole gang, with everything inside."""
    own = {role.name: role.pods[number * role.replicas : (number + 1) * role.replicas] for role in group.roles}
    replica = Replica(group, above, own, {})
    for child in group.groups:
        replica.children[child.name] = [
            replica_tree(child, number * child.replicas + i, (*above, replica)) for i in range(child.replicas)
        ]
    return replica


class World:
    """Facts of a snapshot and a gang. Nodes are indices into `snapshot.nodes`, levels positions in the topology."""

    def __init__(self, snapshot: Snapshot, gang: Gang) -> None:
        self.snapshot, self.gang = snapshot, gang
        self.spec = topology_of(snapshot, gang)
        self.height = len(self.spec.levels)
        self.nodes = range(len(snapshot.nodes))
        self.root = replica_tree(gang.root)
        self.replicas = list(self.root.walk())
        self.replica_of = {
            pod: replica for replica in self.replicas for names in replica.pods.values() for pod in names
        }
        self.role_of = {pod: role for role in gang.roles for pod in role.pods}
        self.group_of = {role.name: group for group in gang.root.walk() for role in group.roles}
        position = {name: idx for idx, name in enumerate(snapshot.nodes)}
        self.node_idx: Mapping[str, int] = position
        self.running = {member.pod: position[member.node] for member in gang.running}
        # what new pods may take, and what one pod takes
        self.room = [
            {
                name: max(int(free) - self._spoken_for(node, name), 0)
                for name, free in zip(snapshot.resources, row, strict=True)
            }
            for node, row in enumerate(snapshot.free.tolist())
        ]
        self.demand = {role.name: demand_of(role) for role in gang.roles}
        self._domains = [self._path(node) for node in self.nodes]
        self._common: dict[tuple[int, int], tuple[int, ...]] = {}

    def devices(self, amounts: Mapping[str, int]) -> int:
        """Whole devices in some amounts: thousandths of `gpu`, and each unit of another resource that counts them."""
        counted = {name: each for name, each in amounts.items() if self.snapshot.accelerators.counts(name)}
        return sum(each // 1000 if name == GPU else each for name, each in counted.items())

    def level(self, word: str) -> int:
        """Position of the level called `word`."""
        position = self.spec.find(word)
        assert position is not None, f"unknown level {word}"
        return position

    def preferred_level(self, group: Group) -> int:
        """Position of the level that the group prefers, 0 = none; `narrowest` is nvl, else the last above the host."""
        word = group.pack.preferred
        if word != "narrowest":
            return 0 if word is None else self.level(word)
        called = [level.name == "nvl" or level.label in _NVL or "nvl" in level.also for level in self.spec.levels]
        return called.index(True) + 1 if any(called) else self.height - 1

    # Domains

    def label(self, node: int, key: str) -> str | None:
        """Value of a node's label."""
        column = self.snapshot.labels.get(key)
        if column is None or column.codes[node] < 0:
            return None
        return column.values[int(column.codes[node])]

    def _path(self, node: int) -> list[Domain | None]:
        values = [self.label(node, level.label) for level in self.spec.levels[:-1]]
        values.append(f"node {node}")
        path: list[Domain | None] = [()]
        for level, value in enumerate(values, start=1):
            path.append(None if value is None else tuple(values[:level]))
        return path

    def domain(self, node: int, level: int) -> Domain | None:
        """The node's domain at a level, None where it is void."""
        return self._domains[node][level]

    def common(self, one: int, other: int) -> tuple[int, ...]:
        """Levels at which two nodes share a real domain, coarse to fine; the last is where they meet."""
        if (one, other) not in self._common:
            self._common[one, other] = tuple(
                level
                for level in range(self.height + 1)
                if self.domain(one, level) is not None and self.domain(one, level) == self.domain(other, level)
            )
        return self._common[one, other]

    # Rule 3

    def named_levels(self, role: Role) -> list[int]:
        """Levels that the rules of the role and of the groups around it name; for a reach rule all coarser ones too."""
        replica = self.replica_of[role.pods[0]]
        words = [spread.level for spread in role.spread]
        for each in (*replica.above, replica):
            packs = (each.group.pack.required, each.group.pack.preferred)
            words += [word for word in packs if word and word != "narrowest"]
            words += [spread.level for spread in each.group.spread]
        levels = [self.level(word) for word in words]
        for rule in self.gang.reach:
            if role.name in (*rule.senders, *rule.receivers):
                levels += range(1, self.level(rule.level) + 1)
        return levels

    @cached_property
    def eligible(self) -> dict[str, list[int]]:
        """Role name → nodes its new pods may use."""
        return {
            role.name: [node for node in self.nodes if self._may_use(role, node)]
            for role in self.gang.roles
            if role.pods
        }

    def _may_use(self, role: Role, node: int) -> bool:
        snapshot, wanted = self.snapshot, role.constraints
        if not _tolerated(self.closed_by(node), wanted.tolerations):
            return False
        if any(self.label(node, key) != value for key, value in wanted.selector):
            return False
        if wanted.affinity and not any(self._term_holds(term, node) for term in wanted.affinity):
            return False
        if not all(any(self._term_holds(term, node) for term in volume.terms) for volume in wanted.volumes):
            return False
        for taint in snapshot.taint_sets[snapshot.taint_codes[node]]:
            if taint.repels and not any(each.tolerates(taint) for each in wanted.tolerations):
                return False
        named = self.named_levels(role)
        needed = named if self.spec.discovered else range(1, max(named, default=0) + 1)
        if any(self.domain(node, level) is None for level in needed):
            return False
        return not self._kept_apart(role, node)

    def closed_by(self, node: int) -> list[Taint]:
        """Taints that the node has by its state, whatever else it has."""
        snapshot, found = self.snapshot, []
        if not snapshot.ready[node]:
            own = snapshot.taint_sets[snapshot.taint_codes[node]]
            found.append(UNREACHABLE if UNREACHABLE in own else NOT_READY)
        return found if snapshot.schedulable[node] else [*found, UNSCHEDULABLE]

    def is_open(self, node: int) -> bool:
        """Whether the node counts as open: nothing closes it, or some role tolerates all that does."""
        return any(_tolerated(self.closed_by(node), role.constraints.tolerations) for role in self.gang.roles)

    def _term_holds(self, term: NodeSelectorTerm, node: int) -> bool:
        if not term.labels and not term.names:
            return False
        return all(each.matches(self.label(node, each.key)) for each in term.labels) and all(
            each.matches(self.snapshot.nodes[node]) for each in term.names
        )

    @cached_property
    def outsiders(self) -> list[BoundPod]:
        """Bound pods that are not of the gang."""
        return [pod for pod in self.snapshot.pods if pod.name not in self.running and pod.nominated_priority is None]

    @cached_property
    def nominated(self) -> list[BoundPod]:
        """Waiting pods that keep the gang from room: others' of at least its priority, that are bound nowhere else."""
        bound = {pod.name for pod in self.snapshot.pods if pod.nominated_priority is None}
        least = self.gang.pod_priority if self.gang.pod_priority is not None else self.gang.priority
        return [
            pod
            for pod in self.snapshot.pods
            if pod.nominated_priority is not None
            and not pod.nominated_priority < least
            and pod.gang != self.gang.name
            and pod.name not in self.role_of
            and pod.name not in bound
        ]

    def _spoken_for(self, node: int, resource: str) -> int:
        """What nominated pods hold of a node."""
        here = [pod for pod in self.nominated if self.node_idx[pod.node] == node]
        return len(here) if resource == PODS else sum(pod.requests[resource] for pod in here)

    def _kept_apart(self, role: Role, node: int) -> bool:
        wanted = role.constraints
        for pod in (*self.outsiders, *self.nominated):
            clashes = [rule for rule in wanted.anti_affinity if rule.selector.matches(pod.namespace, pod.labels)] + [
                rule for rule in pod.anti_affinity if rule.selector.matches(wanted.namespace, dict(wanted.labels))
            ]
            if any(self._same_place(rule, node, self.node_idx[pod.node]) for rule in clashes):
                return True
        return False

    def _same_place(self, rule: AntiAffinity, one: int, other: int) -> bool:
        value = self.label(other, rule.topology_key)
        return value is not None and self.label(one, rule.topology_key) == value


def _tolerated(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> bool:
    return all(any(each.tolerates(taint) for each in tolerations) for taint in taints)


def topology_of(snapshot: Snapshot, gang: Gang) -> TopologySpec:
    """The gang's topology: the named one, the only one, else what the well-known labels say."""
    if gang.topology:
        return snapshot.topologies[gang.topology]
    if len(snapshot.topologies) == 1:
        return next(iter(snapshot.topologies.values()))
    assert not snapshot.topologies, "several topologies and the gang names none"
    return discovered_topology(snapshot.labels)


def demand_of(role: Role) -> dict[str, int]:
    """What one pod of the role takes: its requests and one of `pods`."""
    return {**{name: amount for name, amount in role.requests if name != PODS}, PODS: 1}
