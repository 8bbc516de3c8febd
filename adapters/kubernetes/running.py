"""Pods that hold capacity: `v1` Pod and KAI BindRequest → `BoundPod`."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from adapters.kubernetes.amounts import held_requests
from adapters.kubernetes.constraints import ANTI_TERMS, anti_affinity
from adapters.kubernetes.gang_keys import GANG_LABEL, gang_name, group_name
from adapters.kubernetes.objects import Document
from adapters.kubernetes.priorities import Priorities
from adapters.kubernetes.shares import Share, SharedDevices, charged, read_share
from solver.domain.plan import Notice
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources

QUEUE_LABEL = "kai.scheduler/queue"


@dataclass(frozen=True, slots=True)
class Occupants:
    """What the pods of a cluster come to.

    bound: with those that are nominated to a node. pending: pods that are not bound and have not ended, in input order.
    """

    bound: tuple[BoundPod, ...]
    pending: tuple[Document, ...]
    notices: tuple[Notice, ...]


def own_gang_of(pod: Document) -> str:
    """`namespace/name` of the Gang whose label a pod carries, or empty; it counts before any PodGroup."""
    name = pod.labels.get(GANG_LABEL)
    return f"{pod.namespace}/{name}" if name else ""


def gang_of(pod: Document) -> str:
    """`namespace/name` of the PodGroup a pod belongs to, or empty."""
    name = group_name(pod.labels, pod.annotations, pod.text("spec.schedulingGroup.podGroupName", ""))
    return f"{pod.namespace}/{name}" if name else ""


def has_ended(pod: Document) -> bool:
    """Whether the pod succeeded or failed; a terminating pod has not."""
    return pod.text("status.phase", "") in ("Succeeded", "Failed")


def bound_node(pod: Document, promised: Mapping[str, str] | None = None) -> str:
    """The node whose capacity the pod holds, or empty: `spec.nodeName`, else the node a BindRequest promised.

    A terminating pod, which may be a victim of preemption, holds it until it is gone.
    """
    if has_ended(pod):
        return ""
    return pod.text("spec.nodeName", "") or (promised or {}).get(pod.full_name, "")


def nominated_node(pod: Document) -> str:
    """The node that a waiting pod is nominated to, where its scheduler keeps room for it; empty for all other pods."""
    node = pod.text("spec.nodeName", "")
    if node or has_ended(pod):
        return ""
    return pod.text("status.nominatedNodeName", "")


def read_bind_requests(documents: Iterable[Document]) -> dict[str, str]:
    """Pod `namespace/name` → selected node, of every BindRequest that has not failed."""
    return {
        f"{doc.namespace}/{doc.text('spec.podName')}": doc.text("spec.selectedNode")
        for doc in documents
        if doc.text("status.phase", "") != "Failed"
    }


def read_bound_pod(
    pod: Document,
    node: str,
    queue_of: Mapping[str, str] | None = None,
    requests_of: Callable[[Document], Resources] = held_requests,
    nominated_priority: int | None = None,
) -> BoundPod:
    """A pod that holds capacity of `node`; of devices it shares nothing is counted, see `shares`.

    queue_of: gang → queue, for pods that name none themselves. requests_of: `held_requests`, or what remembers it.
    nominated_priority: of a pod that waits and is only nominated to the node. Raises InvalidRequest for malformed
    fields.
    """
    group = pod.text("spec.schedulingGroup.podGroupName", "")
    gang = gang_name(pod.namespace, pod.labels, pod.annotations, group)
    return BoundPod(
        name=pod.full_name,
        node=node,
        requests=requests_of(pod),
        labels=pod.labels,
        anti_affinity=anti_affinity(pod, pod.namespace) if pod.has("spec.affinity") else (),
        queue=pod.labels.get(QUEUE_LABEL) or (queue_of or {}).get(gang, ""),
        gang=gang,
        uid=pod.uid,
        nominated_priority=nominated_priority,
    )


def read_pods(
    pods: Iterable[Document],
    nodes: Collection[str],
    promised: Mapping[str, str] | None = None,
    queue_of: Mapping[str, str] | None = None,
    priorities: Callable[[], Priorities] = Priorities,
) -> Occupants:
    """Pods that hold capacity of `nodes`, and those that wait; those of them that are nominated to a node are both.

    priorities: asked for once there is a nominated pod.

    promised: pod → node, of BindRequests. A pod bound to an unknown node is left out with a notice, one that shares a
    GPU is counted as `shares` says, with a notice.
    """
    bound: list[BoundPod] = []
    pending: list[Document] = []
    notices: list[Notice] = []
    shared = SharedDevices()
    for pod in pods:
        node, priority = bound_node(pod, promised), None
        if not node and not has_ended(pod):
            pending.append(pod)
            node = nominated_node(pod)
            if node not in nodes:
                continue
            priority = priorities().of_pod(pod)
        if node in nodes:
            holder = read_bound_pod(pod, node, queue_of, nominated_priority=priority)
            bound.append(holder)
            notices.extend(_widened(pod))
            share = read_share(pod, holder.requests)
            if share is not None:
                shared.set(_key(holder), node, share)
                notices.extend(_shared(pod, share))
        elif node:
            message = f"node {node} is not in the input; the pod is left out"
            notices.append(Notice("node_unknown", pod.described, "spec.nodeName", message))
    counted = tuple(charged(pod, shared.devices(_key(pod))) for pod in bound)
    return Occupants(counted, tuple(pending), tuple(notices))


def _key(pod: BoundPod) -> tuple[str, ...]:
    """Namespace and name, as the mirror has them."""
    return tuple(pod.name.split("/", 1))


def _shared(pod: Document, share: Share) -> list[Notice]:
    """What a share of a GPU is taken for."""
    return [Notice("gpu_share_counted", pod.described, share.field, share.message)] if share.field else []


def _widened(pod: Document) -> list[Notice]:
    """Anti-affinity of a running pod that is read in a wider sense than it is meant."""
    if not pod.has("spec.affinity.podAntiAffinity"):
        return []
    message = "namespaceSelector is read as every namespace"
    return [
        Notice("anti_affinity_widened", pod.described, term.path("namespaceSelector"), message)
        for term in pod.parts(ANTI_TERMS)
        if term.mapping("namespaceSelector")
    ]
