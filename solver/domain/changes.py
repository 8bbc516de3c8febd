"""Changes of a cluster, one by one, as a watcher sees them."""

from dataclasses import dataclass

from solver.domain.levels import TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.snapshot import NodeRecord, QueueSpec


@dataclass(frozen=True, slots=True)
class PodBound:
    """A pod is bound, or changed while bound; without a uid it is the one pod of its name that has none."""

    pod: BoundPod


@dataclass(frozen=True, slots=True)
class PodGone:
    """A pod is gone: the one with this uid, or without a uid every pod of the name. Unknown pods are no error."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class NodeSet:
    """A node appeared or changed; it is replaced as a whole, its pods stay."""

    node: NodeRecord


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node is gone, and its pods with it. Unknown nodes are no error."""

    name: str


@dataclass(frozen=True, slots=True)
class TopologySet:
    """A topology appeared or changed."""

    spec: TopologySpec


@dataclass(frozen=True, slots=True)
class TopologyGone:
    """A topology is gone. Unknown ones are no error."""

    name: str


@dataclass(frozen=True, slots=True)
class QueueSet:
    """A queue appeared or changed."""

    queue: QueueSpec


@dataclass(frozen=True, slots=True)
class QueueGone:
    """A queue is gone. Unknown ones are no error."""

    name: str


Change = PodBound | PodGone | NodeSet | NodeGone | TopologySet | TopologyGone | QueueSet | QueueGone
