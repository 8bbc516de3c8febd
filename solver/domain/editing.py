"""A group of changes on top of a snapshot: seen one after the other, shown together or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

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
from solver.domain.errors import InvalidRequest
from solver.domain.levels import TopologySpec
from solver.domain.node_changes import with_nodes, with_resources
from solver.domain.pods import BoundPod, PodKey
from solver.domain.snapshot import NodeRecord, QueueSpec, Snapshot

_Item = TypeVar("_Item")


class PodNames:
    """Keys of pods by `namespace/name`. Several pods may share a name, as long as each has a uid."""

    def __init__(self, pods: Iterable[BoundPod] = ()) -> None:
        self._keys: dict[str, tuple[PodKey, ...]] = {}
        self.update(pods, ())

    def keys(self, name: str) -> tuple[PodKey, ...]:
        """Keys of the pods of this name."""
        return self._keys.get(name, ())

    def update(self, added: Iterable[BoundPod], gone: Iterable[BoundPod]) -> None:
        """Pods leave, then pods arrive."""
        for pod in gone:
            left = tuple(key for key in self.keys(pod.name) if key != pod.key)
            if left:
                self._keys[pod.name] = left
            else:
                self._keys.pop(pod.name, None)
        for pod in added:
            self._keys[pod.name] = (*self.keys(pod.name), pod.key)


@dataclass(frozen=True, slots=True)
class Edited:
    """What a group of changes comes to. added, gone: pods; one that changed is in both."""

    snapshot: Snapshot
    added: tuple[BoundPod, ...]
    gone: tuple[BoundPod, ...]
    nodes_changed: bool


class Editing:
    """Changes of one group in order. Cheap where only pods change; the snapshot stays as it is."""

    def __init__(self, snapshot: Snapshot, names: PodNames) -> None:
        """names: of the snapshot's pods; those of pods left out stay whatever happens to their name."""
        self._snapshot, self._names = snapshot, names
        self._pods: dict[PodKey, BoundPod | None] = {}
        self._named: dict[str, list[PodKey]] = {}  # keys of pods bound in this group, by name
        self._placed: dict[str, list[PodKey]] = {}  # the same by node
        self._nodes: dict[str, NodeRecord | None] = {}
        self._topologies: dict[str, TopologySpec | None] = {}
        self._queues: dict[str, QueueSpec | None] = {}
        self._by_node: dict[str, list[PodKey]] | None = None

    def apply(self, change: Change) -> None:
        """See one more change. Raises InvalidRequest when it contradicts the state so far."""
        match change:
            case PodBound(pod):
                self._bind(pod)
            case PodGone(uid, name):
                for key in (uid,) if uid else self._keys(name):
                    self._drop(key)
            case NodeSet(node):
                self._nodes[node.name] = node
            case NodeGone(name):
                self._nodes[name] = None
                for key in self._on_node(name):
                    self._drop(key)
            case TopologySet(spec):
                self._topologies[spec.name] = spec
            case TopologyGone(name):
                self._topologies[name] = None
            case QueueSet(queue):
                self._queues[queue.name] = queue
            case QueueGone(name):
                self._queues[name] = None

    def result(self) -> Edited:
        """The snapshot after all changes. Raises InvalidRequest when it becomes more than can be held."""
        before = {key: self._snapshot.pods.get(key) for key in self._pods}
        changed = [key for key, pod in self._pods.items() if pod != before[key]]
        gone = tuple(pod for pod in map(before.__getitem__, changed) if pod is not None)
        added = tuple(pod for pod in map(self._pods.__getitem__, changed) if pod is not None)
        snapshot = self._snapshot
        if self._nodes:
            snapshot = snapshot.with_changes((), gone) if gone else snapshot
            arrived = [node for node in self._nodes.values() if node is not None]
            snapshot = with_nodes(snapshot, arrived, [name for name, node in self._nodes.items() if node is None])
        if added or (gone and not self._nodes):
            snapshot = with_resources(snapshot, (), added)
            snapshot = snapshot.with_changes(added, () if self._nodes else gone)
        if self._topologies or self._queues:
            topologies = _merged(snapshot.topologies, self._topologies)
            snapshot = snapshot.with_rules(topologies, _merged(snapshot.queues, self._queues))
        return Edited(snapshot, added, gone, bool(self._nodes))

    def _get(self, key: PodKey) -> BoundPod | None:
        return self._pods[key] if key in self._pods else self._snapshot.pods.get(key)

    def _keys(self, name: str) -> list[PodKey]:
        """Keys of the pods that now have this name."""
        candidates = dict.fromkeys((*self._names.keys(name), *self._named.get(name, ())))
        return [key for key in candidates if (pod := self._get(key)) is not None and pod.name == name]

    def _on_node(self, name: str) -> list[PodKey]:
        """Keys of the pods that are now on this node."""
        if self._by_node is None:
            self._by_node = {}
            for held in self._snapshot.pods:
                self._by_node.setdefault(held.node, []).append(held.key)
        candidates = dict.fromkeys((*self._by_node.get(name, ()), *self._placed.get(name, ())))
        return [key for key in candidates if (pod := self._get(key)) is not None and pod.node == name]

    def _bind(self, pod: BoundPod) -> None:
        known = self._nodes[pod.node] is not None if pod.node in self._nodes else pod.node in self._snapshot.node_idx
        if not known:
            raise InvalidRequest(f"Pod {pod.name}: node {pod.node!r} is not among the nodes")
        if not pod.uid:
            for key in self._keys(pod.name):
                if not isinstance(key, str):
                    self._drop(key)
        self._pods[pod.key] = pod
        self._named.setdefault(pod.name, []).append(pod.key)
        self._placed.setdefault(pod.node, []).append(pod.key)

    def _drop(self, key: PodKey) -> None:
        if self._get(key) is not None:
            self._pods[key] = None


def _merged(before: Mapping[str, _Item], changed: Mapping[str, _Item | None]) -> Mapping[str, _Item]:
    found = {name: item for name, item in before.items() if name not in changed}
    found.update({name: item for name, item in changed.items() if item is not None})
    return MappingProxyType(found)
