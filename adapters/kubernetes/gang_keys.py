"""Which gang a pod belongs to, by what it says about itself."""

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
Texts = Mapping[str, str]

#: Labels of pods that join a Gang.
GANG_LABEL = "huddle.scheduler/gang"
ROLE_LABEL = "huddle.scheduler/role"
#: Annotation of pods that join a PodGroup of KAI.
POD_GROUP_ANNOTATION = "pod-group-name"
#: Annotation that Huddle lets a pod of the extender go with: the one node it may be bound to.
NODE_ANNOTATION = "huddle.scheduler/node"
_SET_NAME = "leaderworkerset.sigs.k8s.io/name"
_SET_INDEX = "leaderworkerset.sigs.k8s.io/group-index"


def gang_name(namespace: str, labels: Texts, annotations: Texts, pod_group: str) -> str:
    """`namespace/name` of a pod's gang, or empty. pod_group: the one its scheduling group names, or empty.

    The label of a Gang counts before the PodGroup that KAI's annotation or the scheduling group names, and that before
    the replica of a LeaderWorkerSet.
    """
    name = labels.get(GANG_LABEL) or annotations.get(POD_GROUP_ANNOTATION) or pod_group or _replica(labels)
    return f"{namespace}/{name}" if name else ""


def gang_key(pod: Body) -> str:
    """`namespace/name` of the gang of a pod as the API server sends it, or empty."""
    metadata = pod["metadata"]
    group = (pod.get("spec") or {}).get("schedulingGroup") or {}
    return gang_name(
        metadata.get("namespace") or "default",
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
        group.get("podGroupName") or "",
    )


def replica_keys(leader_worker_set: Body) -> list[str]:
    """The gangs of a LeaderWorkerSet: one for each replica."""
    metadata = leader_worker_set["metadata"]
    replicas = (leader_worker_set.get("spec") or {}).get("replicas")
    name = f"{metadata.get('namespace') or 'default'}/{metadata['name']}"
    return [f"{name}-{index}" for index in range(1 if replicas is None else replicas)]


def _replica(labels: Texts) -> str:
    name, index = labels.get(_SET_NAME), labels.get(_SET_INDEX)
    return f"{name}-{index}" if name and index else ""
