"""Documents that describe a cluster → one `Snapshot`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from adapters.files.own_cluster import is_own_cluster, read_own_clusters
from adapters.kubernetes.cluster import ClusterObjects, queues_by_gang, sorted_objects
from adapters.kubernetes.device_claims import ClaimBook, held_devices, with_devices
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.priorities import Priorities
from adapters.kubernetes.queues import read_queue
from adapters.kubernetes.running import read_bind_requests, read_pods
from adapters.kubernetes.topologies import read_topologies
from solver.domain.levels import TopologySpec
from solver.domain.plan import Notice
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot


@dataclass(frozen=True)
class LoadedCluster:
    """A cluster as read.

    notices: what was left out. pending: pods that hold no capacity and have not ended. pod_groups: by
    `namespace/name`. others: documents of kinds that say nothing about capacity (Namespace, PriorityClass …).
    """

    snapshot: Snapshot
    notices: tuple[Notice, ...]
    pending: tuple[Document, ...]
    pod_groups: Mapping[str, Document]
    others: tuple[Document, ...]


def load_cluster(documents: Iterable[Document]) -> LoadedCluster:
    """The snapshot that nodes, running pods, topologies, queues and Cluster objects come to.

    Every object counts once; kinds that say nothing about capacity are ignored. A cluster without nodes is fine
    here. Raises InvalidRequest, in one line, for malformed and contradictory objects.
    """
    with garbage_collection_paused():
        return _loaded(sorted_objects(documents))


def _loaded(objects: ClusterObjects) -> LoadedCluster:
    own = read_own_clusters([doc for doc in objects.others if is_own_cluster(doc)])
    nodes = _nodes(objects, own.nodes)
    pods = read_pods(
        objects.pods,
        {node.name for node in nodes},
        read_bind_requests(objects.bind_requests),
        queues_by_gang((*objects.pod_groups, *objects.gangs)),
        cache(lambda: Priorities(doc for doc in objects.others if doc.kind == "PriorityClass")),
    )
    topologies, notices = _topologies(objects, own.topologies)
    book = ClaimBook.of(objects.others)
    held, unknown = held_devices(book, objects.pods, frozenset(node.name for node in nodes))
    nodes = with_devices(book, nodes)
    return LoadedCluster(
        snapshot=build_snapshot(
            nodes, (*own.load, *held, *pods.bound), topologies, map(read_queue, objects.queues), own.accelerators
        ),
        notices=(*notices, *pods.notices, *unknown),
        pending=pods.pending,
        pod_groups={group.full_name: group for group in objects.pod_groups},
        others=tuple(doc for doc in objects.others if not is_own_cluster(doc)),
    )


def _nodes(objects: ClusterObjects, own: list[NodeRecord]) -> list[NodeRecord]:
    taken = {node.name for node in own}
    for doc in objects.nodes:
        if doc.name in taken:
            raise doc.refuse("metadata.name", "a Cluster object has a node of this name as well")
    return [*own, *map(read_node, objects.nodes)]


def _topologies(objects: ClusterObjects, own: list[TopologySpec]) -> tuple[list[TopologySpec], list[Notice]]:
    found, notices = read_topologies(objects.topologies)
    declared = {topology.name for topology in own}
    for doc in objects.topologies:
        if doc.name in declared:
            raise doc.refuse("metadata.name", "a Cluster object has a topology of this name as well")
    return [*own, *found], notices
