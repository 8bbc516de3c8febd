"""Objects of a cluster, each counted once and sorted by what they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adapters.kubernetes.objects import CLUSTER_SCOPED, Document
from adapters.kubernetes.running import QUEUE_LABEL, bound_node
from adapters.kubernetes.spelling import differs_in_case, suggestion
from adapters.kubernetes.topologies import KINDS as TOPOLOGY_KINDS

OWN_GROUP = "huddle.scheduler"
KAI_GROUP = "scheduling.run.ai"
NATIVE_GROUP = "scheduling.k8s.io"

#: Kinds without which a cluster looks other than it is.
_DESCRIBING = frozenset({"BindRequest", "Cluster", "Node", "Pod", "PodGroup", "Queue", *TOPOLOGY_KINDS})


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """Documents by what they are, in input order. others: kinds that say nothing about capacity."""

    nodes: list[Document] = field(default_factory=list)
    pods: list[Document] = field(default_factory=list)
    bind_requests: list[Document] = field(default_factory=list)
    topologies: list[Document] = field(default_factory=list)
    queues: list[Document] = field(default_factory=list)
    pod_groups: list[Document] = field(default_factory=list)
    others: list[Document] = field(default_factory=list)

    @property
    def gangs(self) -> list[Document]:
        """Huddle's own Gangs, which are among the others."""
        return [doc for doc in self.others if doc.kind == "Gang" and doc.api_group in (OWN_GROUP, "")]

    def list_for(self, doc: Document) -> list[Document]:
        """The list `doc` belongs in; an object without apiVersion is judged by its kind alone."""
        group = doc.api_group
        if doc.kind in ("Node", "Pod") and not group:
            return self.nodes if doc.kind == "Node" else self.pods
        if doc.kind in TOPOLOGY_KINDS:
            return self.topologies
        if group in (KAI_GROUP, "") and doc.kind in ("Queue", "BindRequest"):
            return self.queues if doc.kind == "Queue" else self.bind_requests
        if group in (KAI_GROUP, NATIVE_GROUP, "") and doc.kind == "PodGroup":
            return self.pod_groups
        return self.others


def sorted_objects(documents: Iterable[Document]) -> ClusterObjects:
    """Documents by what they are, every object once.

    Copies share API group, kind and name; the first counts, but of pods a bound one, and among those the youngest.
    Raises InvalidRequest for two nodes of one name and different uids, and for `kind: node`.
    """
    found: dict[tuple[str, str, str], Document] = {}
    for doc in documents:
        name = doc.name if doc.kind in CLUSTER_SCOPED else doc.full_name
        key = (doc.api_group, doc.kind, name)
        known = found.get(key)
        found[key] = doc if known is None else _one_of(known, doc)
    objects = ClusterObjects()
    for doc in found.values():
        kept = objects.list_for(doc)
        if kept is objects.others and differs_in_case(doc.kind, _DESCRIBING):
            raise doc.refuse("kind", f"{doc.kind} is not understood{suggestion(doc.kind, _DESCRIBING)}")
        kept.append(doc)
    return objects


def queues_by_gang(groups: Iterable[Document]) -> Mapping[str, str]:
    """Gang `namespace/name` → the queue that its PodGroup or Gang names, the last of them that names one."""
    named = ((group.full_name, group.text("spec.queue", "") or group.labels.get(QUEUE_LABEL, "")) for group in groups)
    return {gang: queue for gang, queue in named if queue}


def _one_of(known: Document, doc: Document) -> Document:
    if doc.kind == "Node" and known.uid and doc.uid and known.uid != doc.uid:
        raise doc.refuse("metadata.uid", f"another node of this name has uid {known.uid!r}, this one {doc.uid!r}")
    if doc.kind == "Cluster" and known.body != doc.body:
        raise doc.refuse("metadata.name", "another Cluster of this name says something else")
    if doc.kind == "Pod" and _pod_rank(doc) > _pod_rank(known):
        return doc
    return known


def _pod_rank(pod: Document) -> tuple[bool, str]:
    return bool(bound_node(pod)), pod.text("metadata.creationTimestamp", "")
