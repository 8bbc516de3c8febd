"""Which gang a pod belongs to, by what it says about itself."""

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]

#: Labels of pods that join a Gang.
GANG_LABEL = "huddle.scheduler/gang"
ROLE_LABEL = "huddle.scheduler/role"
_POD_GROUP = "pod-group-name"
_SET_NAME = "leaderworkerset.sigs.k8s.io/name"
_SET_INDEX = "leaderworkerset.sigs.k8s.io/group-index"


def gang_key(pod: Body) -> str:
    """`namespace/name` of the gang a pod belongs to, or empty.

    The label of a Gang counts before the PodGroup that KAI's annotation or the pod's scheduling group names, and that
    before the replica of a LeaderWorkerSet.
    """
    metadata = pod["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    name = labels.get(GANG_LABEL) or annotations.get(_POD_GROUP) or _scheduling_group(pod) or _replica(labels)
    return f"{metadata.get('namespace') or 'default'}/{name}" if name else ""


def _scheduling_group(pod: Body) -> str:
    group = (pod.get("spec") or {}).get("schedulingGroup") or {}
    return str(group.get("podGroupName") or "")


def _replica(labels: Mapping[str, str]) -> str:
    name, index = labels.get(_SET_NAME), labels.get(_SET_INDEX)
    return f"{name}-{index}" if name and index else ""
