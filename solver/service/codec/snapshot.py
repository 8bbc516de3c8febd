"""The cluster state on the wire: whole, in pieces, and change by change."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from solver.api.v1 import cluster_service_pb2
from solver.api.v1 import snapshot_pb2 as pb
from solver.domain.accelerators import MAX_ADDED, Accelerators
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
from solver.domain.columns import NodeColumns, assemble, refuse_cells
from solver.domain.levels import TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.snapshot import QueueSpec, Snapshot
from solver.service.codec.cluster_rules import decode_queue, decode_topology, encode_queue, encode_topology
from solver.service.codec.fields import checking, required
from solver.service.codec.node_columns import decode_node, decode_nodes, encode_node, encode_nodes
from solver.service.codec.pod_columns import decode_pod, decode_pod_key, decode_pods, encode_pod, encode_pods
from solver.service.config import Limits
from solver.service.errors import InvalidField

_Item = TypeVar("_Item")

#: Nodes or pods of the first piece of each; how large they are tells how many go into the next ones.
_FIRST_PIECE = 512
#: Share of the most bytes that pieces aim at, because their sizes vary.
_AIM = 0.9


class SnapshotAssembler:
    """Pieces of a snapshot, put together. Raises InvalidField, whose path begins with `field`, for what is wrong."""

    def __init__(self, limits: Limits, field: str = "chunk") -> None:
        self._limits, self._field = limits, field
        self._nodes: list[NodeColumns] = []
        self._node_names: set[str] = set()
        self._pods: list[BoundPod] = []
        self._uids: set[str] = set()
        self._pod_names: set[str] = set()  # of pods without a uid
        self._topologies: dict[str, TopologySpec] = {}
        self._queues: dict[str, QueueSpec] = {}
        self._accelerators: list[str] = []
        self._bytes = self._cells = 0

    def add(self, chunk: pb.SnapshotChunk) -> None:
        """Append one piece. After an error the whole is worth nothing."""
        self._bytes += chunk.ByteSize()
        if self._bytes > self._limits.max_snapshot_bytes:
            problem = f"the snapshot is larger than the limit of {self._limits.max_snapshot_bytes} bytes"
            raise InvalidField(self._field, problem)
        self._add_nodes(chunk.nodes)
        self._add_pods(chunk.pods)
        for at, topology in enumerate(chunk.topologies):
            path = f"{self._field}.topologies[{at}]"
            _add_once(self._topologies, topology.name, decode_topology(topology, path), f"{path}.name")
        for at, queue in enumerate(chunk.queues):
            path = f"{self._field}.queues[{at}]"
            _add_once(self._queues, queue.name, decode_queue(queue, path), f"{path}.name")
        self._accelerators += chunk.accelerators
        _refuse_many(len(self._accelerators), MAX_ADDED, "names", f"{self._field}.accelerators")

    def finish(self) -> Snapshot:
        """The snapshot, version 0."""
        for pod in self._pods:
            if pod.node not in self._node_names:
                raise InvalidField(f"{self._field}.pods.nodes", f"pod {pod.name} is on {pod.node!r}, which is no node")
        with checking(self._field):
            accelerators = Accelerators(tuple(self._accelerators))
            return assemble(self._nodes, self._pods, self._topologies, self._queues, accelerators)

    def _add_nodes(self, message: pb.NodeColumns) -> None:
        path = f"{self._field}.nodes"
        _refuse_many(len(self._node_names) + len(message.names), self._limits.max_nodes, "nodes", f"{path}.names")
        columns = decode_nodes(message, path)
        _add_names(self._node_names, columns.names, f"{path}.names")
        self._cells += len(columns.names) * (len(message.allocatable) + len(message.labels))
        with checking(path):
            refuse_cells(self._cells, 1)
        self._nodes.append(columns)

    def _add_pods(self, message: pb.PodColumns) -> None:
        path = f"{self._field}.pods"
        _refuse_many(len(self._pods) + len(message.names), self._limits.max_bound_pods, "pods", f"{path}.names")
        pods = decode_pods(message, path)
        _add_names(self._uids, [pod.uid for pod in pods if pod.uid], f"{path}.uids")
        _add_names(self._pod_names, [pod.name for pod in pods if not pod.uid], f"{path}.names")
        self._pods += pods


def encode_whole(snapshot: Snapshot) -> pb.SnapshotChunk:
    """The snapshot in one piece, for questions that bring their own."""
    found = _rules(snapshot)
    found.nodes.CopyFrom(encode_nodes(snapshot, 0, len(snapshot.nodes)))
    found.pods.CopyFrom(encode_pods(list(snapshot.pods)))
    return found


def encode_snapshot(snapshot: Snapshot, max_bytes: int) -> Iterator[pb.SnapshotChunk]:
    """The snapshot in pieces of at most `max_bytes`, but for a single node, pod, topology or queue that is larger."""
    topologies, queues = list(snapshot.topologies.values()), list(snapshot.queues.values())
    pods = list(snapshot.pods)

    def some_topologies(first: int, last: int) -> pb.SnapshotChunk:
        return pb.SnapshotChunk(topologies=map(encode_topology, topologies[first:last]))

    def some_queues(first: int, last: int) -> pb.SnapshotChunk:
        return pb.SnapshotChunk(queues=map(encode_queue, queues[first:last]))

    def some_nodes(first: int, last: int) -> pb.SnapshotChunk:
        return pb.SnapshotChunk(nodes=encode_nodes(snapshot, first, last))

    def some_pods(first: int, last: int) -> pb.SnapshotChunk:
        return pb.SnapshotChunk(pods=encode_pods(pods[first:last]))

    if added := snapshot.accelerators.added:
        yield pb.SnapshotChunk(accelerators=added)
    yield from _pieces(len(topologies), some_topologies, max_bytes)
    yield from _pieces(len(queues), some_queues, max_bytes)
    yield from _pieces(len(snapshot.nodes), some_nodes, max_bytes)
    yield from _pieces(len(pods), some_pods, max_bytes)


def put_requests(
    cluster: str, base: str, snapshot: Snapshot, max_bytes: int, idle_limit_s: float = 0.0
) -> Iterator[cluster_service_pb2.PutSnapshotRequest]:
    """The messages of PutSnapshot, the last one marked, each of little more than `max_bytes`.

    idle_limit_s: the state may be forgotten after so many seconds without use; 0: it is kept.
    """
    idle_limit_ms = round(1000 * idle_limit_s)
    yield cluster_service_pb2.PutSnapshotRequest(cluster=cluster, base=base, idle_limit_ms=idle_limit_ms)
    for chunk in encode_snapshot(snapshot, max_bytes):
        yield cluster_service_pb2.PutSnapshotRequest(chunk=chunk)
    yield cluster_service_pb2.PutSnapshotRequest(last=True)


def decode_change(message: pb.Change, field: str) -> Change:
    """One change. Raises InvalidField."""
    kind = message.WhichOneof("kind")
    path = f"{field}.{kind}"
    match kind:
        case "pod_bound":
            return PodBound(decode_pod(message.pod_bound, path))
        case "pod_gone":
            return decode_pod_key(message.pod_gone, path)
        case "node_set":
            return NodeSet(decode_node(message.node_set, path))
        case "node_gone":
            return NodeGone(required(message.node_gone, path))
        case "topology_set":
            return TopologySet(decode_topology(message.topology_set, path))
        case "topology_gone":
            return TopologyGone(message.topology_gone)
        case "queue_set":
            return QueueSet(decode_queue(message.queue_set, path))
        case "queue_gone":
            return QueueGone(required(message.queue_gone, path))
    raise InvalidField(field, "says nothing")


def encode_change(change: Change) -> pb.Change:
    """One change."""
    match change:
        case PodBound(pod):
            return pb.Change(pod_bound=encode_pod(pod))
        case PodGone(uid, name):
            return pb.Change(pod_gone=pb.PodKey(uid=uid, name=name))
        case NodeSet(node):
            return pb.Change(node_set=encode_node(node))
        case NodeGone(name):
            return pb.Change(node_gone=name)
        case TopologySet(spec):
            return pb.Change(topology_set=encode_topology(spec))
        case TopologyGone(name):
            return pb.Change(topology_gone=name)
        case QueueSet(queue):
            return pb.Change(queue_set=encode_queue(queue))
        case QueueGone(name):
            return pb.Change(queue_gone=name)


def _rules(snapshot: Snapshot) -> pb.SnapshotChunk:
    return pb.SnapshotChunk(
        topologies=map(encode_topology, snapshot.topologies.values()),
        queues=map(encode_queue, snapshot.queues.values()),
        accelerators=snapshot.accelerators.added,
    )


def _pieces(count: int, piece: Callable[[int, int], pb.SnapshotChunk], max_bytes: int) -> Iterator[pb.SnapshotChunk]:
    """Pieces of `count` things, each as large as allowed."""
    first, step = 0, _FIRST_PIECE
    while first < count:
        last = min(first + step, count)
        found = piece(first, last)
        size = max(1, found.ByteSize())
        fitting = max(1, int((last - first) * _AIM * max_bytes / size))
        if size > max_bytes and last - first > 1:
            step = min(fitting, (last - first) // 2 or 1)
            continue
        yield found
        first, step = last, fitting


def _add_once(known: dict[str, _Item], name: str, item: _Item, field: str) -> None:
    if name in known:
        raise InvalidField(field, f"{name!r} appears twice")
    known[name] = item


def _add_names(known: set[str], names: Sequence[str], field: str) -> None:
    if len(set(names)) == len(names) and known.isdisjoint(names):
        known.update(names)
        return
    for name in names:
        if name in known:
            raise InvalidField(field, f"{name!r} appears twice")
        known.add(name)


def _refuse_many(count: int, most: int, what: str, field: str) -> None:
    if count > most:
        raise InvalidField(field, f"{count} {what} are more than the limit of {most}")
