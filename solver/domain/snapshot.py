"""One consistent state of a cluster, as frozen columns over the nodes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from solver.domain.accelerators import KNOWN_ACCELERATORS, MAX_DEVICES, Accelerators, device_unit
from solver.domain.constraints import NOT_READY, UNREACHABLE, UNSCHEDULABLE, Taint, Toleration
from solver.domain.errors import InvalidRequest
from solver.domain.levels import HOST_LABEL, TopologySpec
from solver.domain.naming import natural_key
from solver.domain.pods import BoundPod, Pods
from solver.domain.resources import CPU, EPHEMERAL_STORAGE, GPU, MEMORY, PODS, Resources

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_Array = TypeVar("_Array", bound=npt.NDArray[Any])

#: Resources that every snapshot has a column for, in this order; further ones follow by name.
FIRST_RESOURCES = (GPU, CPU, MEMORY, PODS, EPHEMERAL_STORAGE)

#: Most that the pods of one node may hold of a resource beyond what it has; sums stay inside 64 bits.
_MOST_HELD = 2**61


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node as a source adapter hands it over.

    ready: False when the node is not Ready. schedulable: False when it is cordoned. Either works as a taint, see
    `Snapshot.state_taints`.
    """

    name: str
    allocatable: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    schedulable: bool = True


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue: limits by resource (absent = unlimited) and its parent, or empty.

    namespaces: whose gangs may name it; none = all. default_for: namespaces whose gangs and pods are in it unless they
    name another; these may use it too.
    """

    name: str
    limits: Mapping[str, int] = field(default_factory=dict)
    parent: str = ""
    namespaces: tuple[str, ...] = ()
    default_for: tuple[str, ...] = ()

    def is_open_to(self, namespace: str) -> bool:
        """Whether gangs of a namespace may use it."""
        return not self.namespaces or namespace in self.namespaces or namespace in self.default_for


@dataclass(frozen=True, slots=True)
class Column:
    """A text column over the nodes: `values[codes[node_idx]]`, code −1 where the node has none."""

    codes: Codes
    values: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """Frozen columns over `nodes` (natural name order), with a version.

    allocatable, free: [nodes, resources] in the units of `solver.domain.resources`; free is what bound pods leave
    and may be negative where a node is overcommitted. taint_sets[taint_codes[node_idx]] are a node's taints.
    repelling: those of `pods` that are bound and declare anti-affinity. nominated: those that wait for their node; what
    they hold is still in `free`, see `solver.domain.nominated`. accelerators: the resources that are devices; GPUs are
    devices of all kinds together.
    """

    version: int
    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    allocatable: Ints
    free: Ints
    ready: Mask
    schedulable: Mask
    labels: Mapping[str, Column]
    taint_codes: Codes
    taint_sets: tuple[tuple[Taint, ...], ...]
    pods: Pods = field(default_factory=Pods)
    repelling: tuple[BoundPod, ...] = ()
    nominated: tuple[BoundPod, ...] = ()
    topologies: Mapping[str, TopologySpec] = field(default_factory=dict)
    queues: Mapping[str, QueueSpec] = field(default_factory=dict)
    accelerators: Accelerators = KNOWN_ACCELERATORS

    @cached_property
    def node_idx(self) -> Mapping[str, int]:
        """Node name → index."""
        return {name: idx for idx, name in enumerate(self.nodes)}

    @cached_property
    def nominated_and_held(self) -> frozenset[str]:
        """Names of nominated pods for which capacity is held already, as for promised ones."""
        names = {pod.name for pod in self.nominated}
        return frozenset(pod.name for pod in (self.pods if names else ()) if pod.name in names and not pod.is_nominated)

    @cached_property
    def open_nodes(self) -> Mask:
        """Nodes that are ready and not cordoned."""
        return self.ready & self.schedulable

    @cached_property
    def state_taints(self) -> tuple[tuple[Taint, Mask], ...]:
        """Taints that nodes have by their state, each with the nodes that have it, whether `taint_sets` say so or not.

        A node that is not ready has NOT_READY, or UNREACHABLE if that is among its taints; a cordoned one has
        UNSCHEDULABLE.
        """
        codes = [code for code, taints in enumerate(self.taint_sets) if UNREACHABLE in taints]
        silent = ~self.ready & np.isin(self.taint_codes, codes)
        return (NOT_READY, ~self.ready & ~silent), (UNREACHABLE, silent), (UNSCHEDULABLE, ~self.schedulable)

    def open_to(self, pods: Collection[tuple[Toleration, ...]]) -> Mask:
        """Nodes that are open, or that have no taint by their state which one of some pods does not tolerate.

        pods: the tolerations of each.
        """
        found = self.open_nodes
        for tolerations in () if found.all() else pods:
            closed = np.zeros(len(self.nodes), dtype=np.bool_)
            for taint, mask in self.state_taints:
                if not any(toleration.tolerates(taint) for toleration in tolerations):
                    closed |= mask
            found = found | ~closed
        return found

    @cached_property
    def default_queues(self) -> Mapping[str, str]:
        """Namespace → the queue of what names none there; of several the first by name."""
        queues = sorted(self.queues.values(), key=lambda queue: queue.name, reverse=True)
        return {namespace: queue.name for queue in queues for namespace in queue.default_for}

    @cached_property
    def whole_gpus(self) -> Ints:
        """[nodes] devices of a node, taken or free. Raises InvalidRequest for more than can be counted."""
        return frozen(self.devices_in(self.allocatable))

    @property
    def gpu_capacity(self) -> int:
        """Devices of all nodes, taken or free."""
        return exact_sum(self.whole_gpus)

    @cached_property
    def devices_left(self) -> Ints:
        """[nodes] devices wholly free, on closed nodes too."""
        return frozen(self.devices_in(self.free))

    @cached_property
    def whole_free_gpus(self) -> Ints:
        """[nodes] devices wholly free for new pods; 0 on nodes that are closed."""
        return self.wholly_free_on(self.open_nodes)

    def wholly_free_on(self, nodes: Mask) -> Ints:
        """[nodes] devices wholly free on some nodes; 0 on all others."""
        return np.where(nodes, self.devices_left, 0)

    def devices_in(self, amounts: Ints) -> Ints:
        """[nodes] whole devices of all kinds in [nodes, resources] amounts, of which negative ones are nothing.

        Raises InvalidRequest for more than can be counted.
        """
        found = np.zeros(len(self.nodes), dtype=np.int64)
        for name in self.accelerators.among(self.resources):
            column = amounts[:, self.resources.index(name)] // device_unit(name)
            found += np.clip(column, 0, MAX_DEVICES + 1)
            if found.max(initial=0) > MAX_DEVICES:
                node = self.nodes[int(found.argmax())]
                raise InvalidRequest(f"Node {node}: it has more devices than can be counted ({MAX_DEVICES})")
        return found

    def with_pods(self, pods: Sequence[BoundPod]) -> "Snapshot":
        """A new version in which `pods` hold their capacity too."""
        return self.with_changes(pods, ())

    def with_changes(self, added: Sequence[BoundPod], gone: Sequence[BoundPod]) -> "Snapshot":
        """A new version without the pods `gone` and with those `added`; all other columns are shared.

        Raises InvalidRequest when a pod to go is not there, a pod to come already is, or its node is unknown.
        """
        free = self.free.copy()
        _charge(free, self.node_idx, self.resources, gone, sign=1)
        _charge(free, self.node_idx, self.resources, added)
        pods = self.pods.changed(added, gone)
        later = replace(
            self,
            version=self.version + 1,
            free=frozen(free),
            pods=pods,
            repelling=_without(self.repelling, repelling(gone)) + repelling(added),
            nominated=_without(self.nominated, nominated(gone)) + nominated(added),
        )
        later.__dict__["node_idx"] = self.node_idx  # the nodes are the same
        return later

    def with_rules(self, topologies: Mapping[str, "TopologySpec"], queues: Mapping[str, "QueueSpec"]) -> "Snapshot":
        """A new version with other topologies and queues, by name; all columns are shared."""
        later = replace(self, version=self.version + 1, topologies=topologies, queues=queues)
        later.__dict__["node_idx"] = self.node_idx
        return later

    def as_version(self, version: int) -> "Snapshot":
        """The same state under another version."""
        later = copy(self)  # with everything that was computed from it
        object.__setattr__(later, "version", version)
        return later


def build_snapshot(
    nodes: Iterable[NodeRecord],
    pods: Iterable[BoundPod] = (),
    topologies: Iterable[TopologySpec] = (),
    queues: Iterable[QueueSpec] = (),
    accelerators: Accelerators = KNOWN_ACCELERATORS,
) -> Snapshot:
    """Columns from records, in natural name order whatever the input order.

    Raises InvalidRequest for repeated node, topology or queue names and for pods bound to unknown nodes. Resources
    that no node has exist nowhere; a node without a `kubernetes.io/hostname` label is its own host.
    """
    records = sorted(nodes, key=lambda record: natural_key(record.name))
    names = tuple(record.name for record in records)
    _refuse_repeats("Node", names)
    bound = tuple(sorted(pods, key=lambda pod: pod.name))
    resources = _resource_names(records, bound)
    allocatable = np.zeros((len(records), len(resources)), dtype=np.int64)
    position = {name: idx for idx, name in enumerate(resources)}
    for row, record in enumerate(records):
        for name, amount in record.allocatable:
            allocatable[row, position[name]] = amount
    free = allocatable.copy()
    _charge(free, {name: idx for idx, name in enumerate(names)}, resources, bound)
    taint_sets: dict[tuple[Taint, ...], int] = {}
    taint_codes = [taint_sets.setdefault(record.taints, len(taint_sets)) for record in records]
    specs, queue_specs = list(topologies), list(queues)
    _refuse_repeats("Topology", [spec.name for spec in specs])
    _refuse_repeats("Queue", [queue.name for queue in queue_specs])
    return Snapshot(
        version=0,
        nodes=names,
        resources=resources,
        allocatable=frozen(allocatable),
        free=frozen(free),
        ready=frozen(np.array([record.ready for record in records], dtype=np.bool_)),
        schedulable=frozen(np.array([record.schedulable for record in records], dtype=np.bool_)),
        labels=_label_columns(records),
        taint_codes=frozen(np.array(taint_codes, dtype=np.int32)),
        taint_sets=tuple(taint_sets) or ((),),
        pods=Pods(bound),
        repelling=repelling(bound),
        nominated=nominated(bound),
        topologies=MappingProxyType({spec.name: spec for spec in specs}),
        queues=MappingProxyType({queue.name: queue for queue in queue_specs}),
        accelerators=accelerators,
    )


def repelling(pods: Sequence[BoundPod]) -> tuple[BoundPod, ...]:
    """Those that are bound and declare anti-affinity."""
    return tuple(pod for pod in pods if pod.anti_affinity and pod.nominated_priority is None)


def nominated(pods: Sequence[BoundPod]) -> tuple[BoundPod, ...]:
    """Those that wait for their node."""
    return tuple(pod for pod in pods if pod.nominated_priority is not None)


def _without(pods: tuple[BoundPod, ...], gone: Sequence[BoundPod]) -> tuple[BoundPod, ...]:
    leaving = {pod.key for pod in gone}
    return tuple(pod for pod in pods if pod.key not in leaving) if leaving else pods


def _resource_names(records: Sequence[NodeRecord], pods: Sequence[BoundPod]) -> tuple[str, ...]:
    found = {name for record in records for name in record.allocatable.names()}
    found |= {name for pod in pods for name in pod.requests.names()}
    return FIRST_RESOURCES + tuple(sorted(found - set(FIRST_RESOURCES)))


def _charge(
    free: Ints,
    node_idx: Mapping[str, int],
    resources: tuple[str, ...],
    pods: Sequence[BoundPod],
    sign: int = -1,
) -> None:
    """Take what bound pods hold from `free`, or give it back; every pod also holds one of `pods`."""
    position = {name: idx for idx, name in enumerate(resources)}
    for pod in pods:
        row = node_idx.get(pod.node)
        if row is None:
            raise InvalidRequest(f"Pod {pod.name}: spec.nodeName {pod.node!r} is not among the nodes")
        if pod.nominated_priority is not None:
            continue
        for name, amount in pod.requests:
            if name in position and name != PODS:
                left = int(free[row, position[name]]) + sign * amount
                if left < -_MOST_HELD:
                    raise InvalidRequest(f"Pod {pod.name}: the pods of node {pod.node} hold more than can be counted")
                free[row, position[name]] = left
        free[row, position[PODS]] += sign


def _label_columns(records: Sequence[NodeRecord]) -> Mapping[str, Column]:
    codes: dict[str, Codes] = {}
    values: dict[str, dict[str, int]] = {}
    for row, record in enumerate(records):
        labels = record.labels
        if HOST_LABEL not in labels:
            labels = {**labels, HOST_LABEL: record.name}
        for key, value in labels.items():
            if key not in codes:
                codes[key] = np.full(len(records), -1, dtype=np.int32)
                values[key] = {}
            codes[key][row] = values[key].setdefault(value, len(values[key]))
    return MappingProxyType({key: Column(frozen(codes[key]), tuple(values[key])) for key in sorted(codes)})


def exact_sum(amounts: Ints) -> int:
    """The sum of amounts of many nodes, which may not fit into 64 bits."""
    return (int((amounts >> 32).sum()) << 32) + int((amounts & 0xFFFF_FFFF).sum())


def frozen(array: _Array) -> _Array:
    """The array itself, from now on read-only."""
    array.flags.writeable = False
    return array


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"{what} {name!r} appears twice")
        seen.add(name)
