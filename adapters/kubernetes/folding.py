"""From raw objects to the solver's state: whatever changes is read anew, and what that comes to is told as changes.

Nothing here depends on the order of events. An object that changed is only noted; `drain` reads what was noted as it
is by then, compares it with what has been told and tells the difference. So a pod may be seen before its node, or
after it is gone, and a queue before the PodGroup that names it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from adapters.kubernetes.decoding import Body
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.occupancy import NAMING_QUEUES, Key, Occupancy, Store
from adapters.kubernetes.problems import SOURCE, Problems
from adapters.kubernetes.queues import read_queue
from adapters.kubernetes.resources import BIND_REQUESTS, NODES, PODS, PRIORITY_CLASSES, QUEUES, TOPOLOGIES, Resource
from adapters.kubernetes.topologies import read_topologies
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
from solver.domain.levels import TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, MEMORY, Resources
from solver.domain.snapshot import NodeRecord, QueueSpec, Snapshot, build_snapshot

#: Kinds that are read here.
FOLDED = (NODES, PODS, *TOPOLOGIES, QUEUES, BIND_REQUESTS, *NAMING_QUEUES, PRIORITY_CLASSES)

_Told = TypeVar("_Told")


class Fold:
    """Reads the objects of a store that changes.

    What is malformed is a problem and left out, so that it cannot lead to a wrong placement: a node takes no pods, and
    neither does one that holds a pod which cannot be read; a queue allows nothing.
    """

    def __init__(self, store: Store, problems: Problems, accelerators: Accelerators = KNOWN_ACCELERATORS) -> None:
        """store: has a mapping for every kind of FOLDED. accelerators: of the snapshot."""
        self._store, self._problems, self._accelerators = store, problems, accelerators
        self._occupancy = Occupancy(store, problems)
        self._noted: dict[Resource, dict[Key, None]] = {resource: {} for resource in FOLDED}
        self._nodes: dict[str, NodeRecord] = {}  # as told, like the others
        self._pods: dict[Key, BoundPod] = {}
        self._topologies: dict[str, TopologySpec] = {}
        self._queues: dict[str, QueueSpec] = {}
        self.is_room_left = False  # whether some pod held less, or elsewhere, than before when it was last told

    def note(self, resource: Resource, key: Key, before: Body | None, now: Body | None) -> None:
        """An object of a kind in FOLDED has changed; the store has it as it is `now`."""
        self._noted[resource][key] = None
        if resource is BIND_REQUESTS:
            self._noted[PODS].update(dict.fromkeys(self._occupancy.read_request(key, before, now)))

    def drain(self) -> list[Change]:
        """What has to be told since the last call; unchanged objects and repeated news come to nothing."""
        noted, self._noted = self._noted, {resource: {} for resource in FOLDED}
        pods, nodes = noted[PODS], dict.fromkeys(_names(noted, [NODES]))
        for key in dict.fromkeys(key for resource in NAMING_QUEUES for key in noted[resource]):
            pods.update(dict.fromkeys(self._occupancy.read_queue_of(key)))
        if noted[PRIORITY_CLASSES]:
            pods.update(dict.fromkeys(self._occupancy.read_priorities()))
        for key in pods:
            nodes.update(dict.fromkeys(self._occupancy.read_pod(key)))
        pods.update(dict.fromkeys(self._occupancy.recounted()))
        node_changes = self._tell_nodes(nodes, pods)
        leaving, arriving = self._tell_pods(pods)
        topologies = {name: self._topology(name) for name in _names(noted, TOPOLOGIES)}
        queues = {name: self._queue(name) for name in _names(noted, [QUEUES])}
        return [
            *leaving,
            *node_changes,
            *arriving,
            *_told(self._topologies, topologies, TopologySet, TopologyGone),
            *_told(self._queues, queues, QueueSet, QueueGone),
        ]

    def snapshot(self) -> Snapshot:
        """Everything told so far."""
        nodes, pods, topologies = self._nodes.values(), self._pods.values(), self._topologies.values()
        return build_snapshot(nodes, pods, topologies, self._queues.values(), self._accelerators)

    def pods_on(self, node: str) -> Sequence[Key]:
        """Pods bound to a node, whether it is there or not."""
        return self._occupancy.on(node)

    def _tell_nodes(self, names: Iterable[str], pods: dict[Key, None]) -> Sequence[Change]:
        """Changes of nodes; `pods` gets those that come and go with them."""
        now = {name: self._node(name) for name in names}
        for name, node in now.items():
            if (node is None) == (name in self._nodes):
                pods.update(dict.fromkeys(self._occupancy.on(name)))
        return _told(self._nodes, now, NodeSet, NodeGone)

    def _tell_pods(self, keys: Iterable[Key]) -> tuple[Sequence[Change], Sequence[Change]]:
        """Pods that leave, and pods that arrive or have changed."""
        leaving: list[Change] = []
        arriving: list[Change] = []
        self.is_room_left = False
        for key in keys:
            before, now = self._pods.get(key), self._occupancy.get(key)
            if now is not None and now.node not in self._nodes:
                now = None
            if now == before:
                continue
            if before is not None and (now is None or now.key != before.key):
                leaving.append(PodGone(before.uid, before.name))
            elif before is not None and now is not None and _leaves_room(before, now):
                self.is_room_left = True
            if now is not None:
                arriving.append(PodBound(now))
            _keep(self._pods, key, now)
        return leaving, arriving

    def _node(self, name: str) -> NodeRecord | None:
        body = self._store[NODES].get(("", name))
        node = self._read(f"Node {name}", body, read_node, None)
        if node is not None and self._occupancy.is_unclear(name):
            return replace(node, allocatable=Resources())
        return node

    def _topology(self, name: str) -> TopologySpec | None:
        bodies = (self._store[resource].get(("", name)) for resource in TOPOLOGIES)
        docs = [Document(body, SOURCE) for body in bodies if body]
        if not docs:
            self._problems.set(f"Topology {name}", "")
            return None
        return self._problems.reading(f"Topology {name}", lambda: read_topologies(docs)[0][0], None)

    def _queue(self, name: str) -> QueueSpec | None:
        body = self._store[QUEUES].get(("", name))
        return self._read(f"Queue {name}", body, read_queue, QueueSpec(name, {GPU: 0, CPU: 0, MEMORY: 0}))

    def _read(
        self, what: str, body: Body | None, read: Callable[[Document], _Told], malformed: _Told | None
    ) -> _Told | None:
        """An object that is there; None when it is not."""
        if body is None:
            self._problems.set(what, "")
            return None
        return self._problems.reading(what, lambda: read(Document(body, SOURCE)), malformed)


def _leaves_room(before: BoundPod, now: BoundPod) -> bool:
    """Whether a pod that stays the same one holds less of its node than before, or only against some."""
    if now.node != before.node:
        return True
    if now.nominated_priority is not None:
        is_weaker = before.nominated_priority is None or now.nominated_priority < before.nominated_priority
        if is_weaker:
            return True
    return any(now.requests[name] < amount for name, amount in before.requests)


def _names(noted: Mapping[Resource, Iterable[Key]], resources: Iterable[Resource]) -> dict[str, None]:
    """Names of the objects noted, each once, in order."""
    return {name: None for resource in resources for _, name in noted[resource]}


def _told(
    told: dict[str, _Told],
    now: Mapping[str, _Told | None],
    arrived: Callable[[_Told], Change],
    gone: Callable[[str], Change],
) -> list[Change]:
    """Changes from what was told to what is `now`, which then has been told."""
    changes: list[Change] = []
    for name, value in now.items():
        if value == told.get(name):
            continue
        changes.append(gone(name) if value is None else arrived(value))
        _keep(told, name, value)
    return changes


_Name = TypeVar("_Name")


def _keep(told: dict[_Name, _Told], name: _Name, value: _Told | None) -> None:
    if value is None:
        told.pop(name, None)
    else:
        told[name] = value
