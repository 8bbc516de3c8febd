"""Which gang a pod belongs to, by what it says about itself: by a name it carries, else by what controls it."""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

Body = Mapping[str, Any]
Texts = Mapping[str, str]

#: The scheduling gate that holds pods back for Huddle.
GATE = "huddle.scheduler/gang"
#: Pods that name this scheduler are bound by Huddle itself.
SCHEDULER = "huddle"
#: Labels of pods that join a Gang.
GANG_LABEL = "huddle.scheduler/gang"
ROLE_LABEL = "huddle.scheduler/role"
#: Annotation of pods that join a PodGroup of KAI.
POD_GROUP_ANNOTATION = "pod-group-name"
#: Annotations and labels by which pods name a PodGroup of another scheduler; Kueue's counts last of all.
_GROUP_ANNOTATIONS = (
    POD_GROUP_ANNOTATION,
    "scheduling.volcano.sh/group-name",
    "scheduling.k8s.io/group-name",
    "gang.scheduling.koordinator.sh/name",
)
_GROUP_LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "pod-group.scheduling.sigs.k8s.io/name",
)
_LAST_LABEL = "kueue.x-k8s.io/pod-group-name"
#: How many pods of a group are needed, said by the pods alone.
SIZE_ANNOTATIONS = (
    "huddle.scheduler/size",
    "gang.scheduling.koordinator.sh/min-available",
    "scheduling.volcano.sh/group-min-member",
    "kueue.x-k8s.io/pod-group-total-count",
)
SIZE_LABELS = ("pod-group.scheduling.sigs.k8s.io/min-available",)
#: Everything by which pods say which gang they are in, which role they have and how many are needed.
GROUP_MARKS = frozenset(
    {*_GROUP_ANNOTATIONS, *_GROUP_LABELS, _LAST_LABEL, GANG_LABEL, ROLE_LABEL, *SIZE_ANNOTATIONS, *SIZE_LABELS}
)
#: Annotation that Huddle lets a pod of the extender go with: the one node it may be bound to.
NODE_ANNOTATION = "huddle.scheduler/node"
#: Labels by which the operators of Dynamo and Grove say which deployment a pod was made for.
DEPLOYMENT_LABEL = "nvidia.com/dynamo-graph-deployment-name"
COMPONENT_LABEL = "nvidia.com/dynamo-component"
_DYNAMO_NAMESPACE = "nvidia.com/dynamo-namespace"
_MANAGER, _WHOLE = "app.kubernetes.io/managed-by", "app.kubernetes.io/part-of"
_SET_NAME = "leaderworkerset.sigs.k8s.io/name"
_SET_INDEX = "leaderworkerset.sigs.k8s.io/group-index"
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")

_JOB_SET, _HASH = "jobset.sigs.k8s.io/jobset-name", "pod-template-hash"
#: Controllers of pods that nobody plans: each node has its own.
_PER_NODE = ("Node", "DaemonSet")
_LONGEST_OWNER = 180


def gang_name(namespace: str, labels: Texts, annotations: Texts, pod_group: str) -> str:
    """`namespace/name` of a pod's gang, or empty. pod_group: the one its scheduling group names, or empty.

    The label of a Gang counts before the DynamoGraphDeployment that its operator's labels name, that before the
    PodGroup that an annotation, the scheduling group or a label names, that before the replica of a
    LeaderWorkerSet, and that before a pod group of Kueue.
    """
    name = (
        labels.get(GANG_LABEL)
        or deployment_name(namespace, labels)
        or _named_group(labels, annotations, pod_group)
        or _replica(labels)
        or labels.get(_LAST_LABEL, "")
    )
    return f"{namespace}/{name}" if name else ""


def deployment_name(namespace: str, labels: Texts) -> str:
    """The DynamoGraphDeployment that a pod, or another object, was made for, by its labels; empty if they name none."""
    name = labels.get(DEPLOYMENT_LABEL, "")
    if not name and labels.get(COMPONENT_LABEL):
        name = labels.get(_DYNAMO_NAMESPACE, "").removeprefix(f"{namespace}-")
    if not name and labels.get(_MANAGER) == "grove-operator":
        name = labels.get(_WHOLE, "")
    return name


def group_name(labels: Texts, annotations: Texts, pod_group: str) -> str:
    """The name of the PodGroup that a pod says it belongs to, or empty; the replica of a LeaderWorkerSet is none."""
    return _named_group(labels, annotations, pod_group) or ("" if _replica(labels) else labels.get(_LAST_LABEL, ""))


def wanted_sizes(labels: Texts, annotations: Texts) -> dict[str, str]:
    """How many pods of its group a pod says are needed, by the annotation or label that says it."""
    told = {key: annotations.get(key, "") for key in SIZE_ANNOTATIONS} | {
        key: labels.get(key, "") for key in SIZE_LABELS
    }
    return {key: size for key, size in told.items() if size}


def _named_group(labels: Texts, annotations: Texts, pod_group: str) -> str:
    told = annotations.get(POD_GROUP_ANNOTATION) or pod_group
    if told:
        return told
    by_annotation = (annotations[key] for key in _GROUP_ANNOTATIONS if annotations.get(key))
    by_label = (labels[key] for key in _GROUP_LABELS if labels.get(key))
    return next(by_annotation, "") or next(by_label, "")


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


def owner_key(pod: Body) -> str:
    """The key of the gang that a pod without the name of any is in by its owner, or empty: `namespace/kind.group:name`.

    The owner is its controller, of which a ReplicaSet counts as its Deployment and a Job as its JobSet; of a pod
    without a controller the pod itself. A name that is too long is cut, and told apart by a hash.
    """
    metadata = pod["metadata"]
    kind, group, name = _owner(metadata)
    if kind in _PER_NODE or not name:
        return ""
    if len(name) > _LONGEST_OWNER:
        name = f"{name[:_LONGEST_OWNER]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    whole = f"{kind.lower()}.{group}" if group else kind.lower()
    return f"{metadata.get('namespace') or 'default'}/{whole}:{name}"


def split_owner_key(key: str) -> tuple[str, str] | None:
    """`kind.group`, in lower case, and name of the owner that a key is made of; None for the key of a named gang."""
    kind, colon, name = key.partition("/")[2].partition(":")
    return (kind, name) if colon else None


def is_held(pod: Body) -> bool:
    """Whether a pod that has not ended waits for Huddle, by its gate or by the name of its scheduler."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    gates = spec.get("schedulingGates") or ()
    return spec.get("schedulerName") == SCHEDULER or any(gate.get("name") == GATE for gate in gates)


def _owner(metadata: Body) -> tuple[str, str, str]:
    """Kind, API group and name of what a pod belongs to."""
    controller = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    if controller is None:
        return "Pod", "", metadata["name"]
    kind, name = str(controller.get("kind") or ""), str(controller.get("name") or "")
    group, labels = str(controller.get("apiVersion") or "").rpartition("/")[0], metadata.get("labels") or {}
    code = labels.get(_HASH) or ""
    if kind == "ReplicaSet" and code and name.endswith(f"-{code}"):
        return "Deployment", group, name.removesuffix(f"-{code}")
    if kind == "Job" and group == "batch" and labels.get(_JOB_SET):
        return "JobSet", "jobset.x-k8s.io", labels[_JOB_SET]
    return kind, group, name


def replica_keys(leader_worker_set: Body, known: Collection[str]) -> list[str]:
    """The gangs of a LeaderWorkerSet, one for each replica, among those that are known."""
    stem, replicas = _replicas(leader_worker_set)
    if replicas <= len(known):
        return [key for index in range(replicas) if (key := f"{stem}-{index}") in known]
    return [key for key in known if is_replica(leader_worker_set, key)]


def is_replica(leader_worker_set: Body, key: str) -> bool:
    """Whether a gang is one of those of a LeaderWorkerSet, `namespace/name-index`: it has as many as its spec says."""
    stem, replicas = _replicas(leader_worker_set)
    before, _, index = key.rpartition("-")
    return before == stem and bool(_INDEX.fullmatch(index)) and int(index) < replicas


def _replicas(leader_worker_set: Body) -> tuple[str, int]:
    """What the keys of a LeaderWorkerSet begin with, and how many there are."""
    metadata = leader_worker_set["metadata"]
    replicas = (leader_worker_set.get("spec") or {}).get("replicas")
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}", 1 if replicas is None else replicas


def _replica(labels: Texts) -> str:
    name, index = labels.get(_SET_NAME), labels.get(_SET_INDEX)
    return f"{name}-{index}" if name and index else ""
