"""Random cluster states as plain dictionaries of objects, random changes of them, and comparing by meaning."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.changes import (
    Change,
    NodeGone,
    NodeSet,
    PodBound,
    PodGone,
    QueueGone,
    QueueSet,
    TopologyGone,
    TopologySet,
)
from solver.domain.constraints import Taint
from solver.domain.levels import Level, Tier, TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.domain.snapshot import NodeRecord, QueueSpec, Snapshot, build_snapshot
from support.builders import apart

_EXTENDED = ("example.com/nic", "nvidia.com/mig-1g.5gb", "attachable-volumes")
_KEYS = ("zone", "rack", "nvl", "product", "kubernetes.io/hostname")


@dataclass
class Objects:
    """A cluster as dictionaries: the oracle of held states. pods: by uid, else by name."""

    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    pods: dict[tuple[str, str], BoundPod] = field(default_factory=dict)
    topologies: dict[str, TopologySpec] = field(default_factory=dict)
    queues: dict[str, QueueSpec] = field(default_factory=dict)
    accelerators: Accelerators = KNOWN_ACCELERATORS

    def snapshot(self) -> Snapshot:
        """What these objects come to, object by object."""
        topologies, queues = self.topologies.values(), self.queues.values()
        return build_snapshot(self.nodes.values(), self.pods.values(), topologies, queues, self.accelerators)

    def apply(self, change: Change) -> None:
        """One change. Raises KeyError for a pod on an unknown node."""
        match change:
            case PodBound(pod):
                self.nodes[pod.node]
                self.pods[identity(pod)] = pod
            case PodGone(uid, name):
                gone = [key for key, pod in self.pods.items() if (pod.uid == uid if uid else pod.name == name)]
                for key in gone:
                    del self.pods[key]
            case NodeSet(node):
                self.nodes[node.name] = node
            case NodeGone(name):
                self.nodes.pop(name, None)
                self.pods = {key: pod for key, pod in self.pods.items() if pod.node != name}
            case TopologySet(spec):
                self.topologies[spec.name] = spec
            case TopologyGone(name):
                self.topologies.pop(name, None)
            case QueueSet(queue):
                self.queues[queue.name] = queue
            case QueueGone(name):
                self.queues.pop(name, None)


def identity(pod: BoundPod) -> tuple[str, str]:
    """What the wire tells pods apart by."""
    return ("uid", pod.uid) if pod.uid else ("name", pod.name)


def random_objects(rng: random.Random, most_nodes: int = 12, most_pods: int = 30) -> Objects:
    """A cluster with every kind of column: voids, taints, labels of some nodes, pods with and without traits, uids."""
    found = Objects()
    for _ in range(rng.randint(0, most_nodes)):
        node = random_node(rng)
        found.nodes[node.name] = node
    for _ in range(rng.randint(0, most_pods) if found.nodes else 0):
        pod = random_pod(rng, rng.choice(sorted(found.nodes)))
        found.pods[identity(pod)] = pod
    for _ in range(rng.randint(0, 2)):
        spec = random_topology(rng)
        found.topologies[spec.name] = spec
    for _ in range(rng.randint(0, 3)):
        queue = random_queue(rng)
        found.queues[queue.name] = queue
    if rng.random() < 0.3:
        found.accelerators = Accelerators(tuple(rng.sample(("example.com/nic", "acme.example/*", "x.y/z?"), 2)))
    return found


def random_node(rng: random.Random, name: str | None = None) -> NodeRecord:
    """A node, one of thirty names."""
    name = name or f"n{rng.randint(0, 29)}"
    amounts = {resource: rng.choice((0, 1, 8000, 10**12)) for resource in ("gpu", "cpu", "memory", "pods")}
    amounts |= {resource: rng.randint(0, 3) for resource in rng.sample(_EXTENDED, rng.randint(0, 2))}
    labels = {key: rng.choice((name, "a", "b", "")) for key in rng.sample(_KEYS, rng.randint(0, len(_KEYS)))}
    taints = tuple(Taint(rng.choice("kl"), rng.choice(("", "v"))) for _ in range(rng.choice((0, 0, 1, 2))))
    ready, schedulable = rng.random() < 0.8, rng.random() < 0.8
    return NodeRecord(name, Resources.of(amounts), labels, taints, ready=ready, schedulable=schedulable)


def random_pod(rng: random.Random, node: str) -> BoundPod:
    """A pod on the node, one of twenty names and of as many uids, or without one."""
    amounts = {resource: rng.choice((0, 1, 500, 1000)) for resource in ("gpu", "cpu", rng.choice(_EXTENDED))}
    pod = BoundPod(f"prod/p{rng.randint(0, 19)}", node, Resources.of(amounts))
    if rng.random() < 0.6:
        pod = replace(pod, uid=f"uid-{rng.randint(0, 19)}")
    if rng.random() < 0.15:
        pod = replace(pod, nominated_priority=rng.choice((-(2**31), 0, 7)))
    if rng.random() < 0.5:
        terms = tuple(apart(rng.choice(_KEYS), app=rng.choice("xy")) for _ in range(rng.randint(0, 2)))
        labels = {"app": rng.choice("xyz")} if rng.random() < 0.7 else {}
        gang = rng.choice(("", "prod/llama"))
        pod = replace(pod, labels=labels, anti_affinity=terms, queue=rng.choice(("", "q1")), gang=gang)
    return pod


def random_topology(rng: random.Random) -> TopologySpec:
    """A topology of some levels, one of three names."""
    keys = [key for key in ("zone", "rack", "nvl") if rng.random() < 0.7]
    levels = tuple(
        Level(key, key, rng.choice((None, Tier(12.5, 3), Tier(12.5, 3, 25))), rng.choice(((), (f"{key}s",))))
        for key in keys
    )
    root = rng.choice((None, Tier(0.25, 1e6)))
    *settings, share = rng.choice(((None, None, 0.6), (50.0, None, 0.25), (0.5, 170.0, 1.0)))
    if levels and rng.random() < 0.5:
        uplink = {"oversubscription": 1.5} if settings[0] and rng.random() < 0.5 else {"uplink_gbps": 12.5}
        levels = (replace(levels[0], **uplink, used_gbps=rng.choice((None, 0.5))), *levels[1:])
    return TopologySpec(rng.choice(("", "site", "other")), levels, root, *settings, max_link_share=share)


def random_queue(rng: random.Random) -> QueueSpec:
    """A queue, one of four names."""
    limits = {resource: rng.choice((0, 8000, 2**62)) for resource in rng.sample(("gpu", "cpu"), rng.randint(0, 2))}
    namespaces, default_for = (tuple(rng.sample(("default", "a", "b"), rng.randint(0, 2))) for _ in range(2))
    return QueueSpec(f"q{rng.randint(0, 3)}", limits, rng.choice(("", "q0")), namespaces, default_for)


def random_change(rng: random.Random, objects: Objects) -> Change:
    """A change that does not contradict the objects; often of something that is there, sometimes of what is not."""
    nodes = sorted(objects.nodes)
    kind = rng.choice(("bound", "bound", "bound", "gone", "gone", "node", "node", "lost", "rule"))
    if kind == "bound" and nodes:
        return PodBound(random_pod(rng, rng.choice(nodes)))
    if kind == "gone":
        pod = rng.choice([*objects.pods.values(), random_pod(rng, "")])
        return PodGone(pod.uid, rng.choice((pod.name, "")) if pod.uid else pod.name)
    if kind == "node":
        return NodeSet(_changed_node(rng, objects))
    if kind == "lost":
        return NodeGone(rng.choice([*nodes, "n0", "n99"]))
    return rng.choice(
        (
            TopologySet(random_topology(rng)),
            TopologyGone(rng.choice(("", "site"))),
            QueueSet(random_queue(rng)),
            QueueGone("q1"),
        )
    )


def _changed_node(rng: random.Random, objects: Objects) -> NodeRecord:
    """Some node; or one that is there, in part as it was."""
    if not objects.nodes or rng.random() < 0.3:
        return random_node(rng)
    before = rng.choice(sorted(objects.nodes.values(), key=lambda node: node.name))
    other = random_node(rng, before.name)
    return rng.choice((before, replace(other, labels=before.labels), replace(before, labels=other.labels)))


def meaning(snapshot: Snapshot) -> dict[str, Any]:
    """What a snapshot says, whatever the numbering of its columns; zero columns say nothing."""
    columns = {
        name: (snapshot.allocatable[:, at].tolist(), snapshot.free[:, at].tolist())
        for at, name in enumerate(snapshot.resources)
        if snapshot.allocatable[:, at].any() or snapshot.free[:, at].any()
    }
    return {
        "nodes": snapshot.nodes,
        "resources": columns,
        "ready": snapshot.ready.tolist(),
        "schedulable": snapshot.schedulable.tolist(),
        "labels": {
            key: [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
            for key, column in snapshot.labels.items()
        },
        "label_order": tuple(snapshot.labels),
        "taints": [snapshot.taint_sets[code] for code in snapshot.taint_codes.tolist()],
        "pods": {identity(pod): pod for pod in snapshot.pods},
        "repelling": {identity(pod) for pod in snapshot.repelling},
        "nominated": {identity(pod) for pod in snapshot.nominated},
        "topologies": dict(snapshot.topologies),
        "queues": dict(snapshot.queues),
        "accelerators": snapshot.accelerators,
        "node_idx": dict(snapshot.node_idx),
    }


def tidy(snapshot: Snapshot) -> None:
    """Columns are read-only, and of different values, each of which some node has."""
    arrays = (snapshot.allocatable, snapshot.free, snapshot.ready, snapshot.schedulable, snapshot.taint_codes)
    assert not any(array.flags.writeable for array in arrays)
    for column in snapshot.labels.values():
        assert not column.codes.flags.writeable
        assert sorted({code for code in column.codes.tolist() if code >= 0}) == list(range(len(column.values)))
        assert len(set(column.values)) == len(column.values)
    if snapshot.nodes:
        assert sorted(set(snapshot.taint_codes.tolist())) == list(range(len(snapshot.taint_sets)))
    assert len(set(snapshot.taint_sets)) == len(snapshot.taint_sets)
    assert len(snapshot.pods) == len(list(snapshot.pods))
