"""Every field of a DynamoGraphDeployment, both published shapes, and what becomes of it.

A path is relative to the object it stands in: the deployment itself, or one service or component. A path that ends in
`*` stands for all other fields there. Fields that are in no table are said in a notice `field_unknown`; refused ones
are hard rules that cannot be honoured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from adapters.kubernetes.objects import Part
from adapters.kubernetes.pods import Finding
from adapters.manifests.reading import Reading

#: Most unknown fields of one object that are named.
_MOST_NAMED = 20


class Use(StrEnum):
    """What is done with a field: it is read; it does not matter where pods go; it is a rule that is refused."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """use: what is done with it. why: the reason it may be ignored, or the problem said when it is refused."""

    use: Use
    why: str = ""


Table = Mapping[str, Field]


def _honoured(*paths: str) -> dict[str, Field]:
    return dict.fromkeys(paths, Field(Use.HONOURED))


def _ignored(why: str, *paths: str) -> dict[str, Field]:
    return dict.fromkeys(paths, Field(Use.IGNORED, why))


def _refused(why: str, *paths: str) -> dict[str, Field]:
    return dict.fromkeys(paths, Field(Use.REFUSED, why))


_OVERRIDES = "overrides of a component are not supported yet"
_UNKNOWN_RULE = "this part of a placement rule is not known"
_SHARED_GPUS = "GPUs shared through the GPU memory service are not supported"
_SERVING = "concerns the serving software, not where its pods run"
_STARTING = "changes how pods start, not where"
_NETWORK = "concerns the network to the outside"
_STORAGE = "a volume in memory, which counts against the limits of the pod"
_SCALING = "says who may change replicas; the replicas written are those that count"
_LATER = "acts on pods that run, not on where new ones go"

#: `spec.*` of a deployment, both shapes.
DEPLOYMENT: Table = {
    **_honoured(
        "annotations",
        "labels",
        "services",
        "components",
        "envs",
        "env",
        "priorityClassName",
        "providerOverride",
        "pvcs",
        "topologyConstraint.topologyProfile",
        "topologyConstraint.clusterTopologyName",
        "topologyConstraint.packDomain",
        "experimental.kvTransferPolicy.labelKey",
        "experimental.kvTransferPolicy.clusterTopologyName",
        "experimental.kvTransferPolicy.domain",
        "experimental.kvTransferPolicy.enforcement",
    ),
    **_ignored(_SERVING, "backendFramework"),
    **_ignored(_LATER, "restart"),
    **_ignored(
        "says how strong a preferred KV domain is, which a notice says is not considered",
        "experimental.kvTransferPolicy.preferredWeight",
    ),
    **_refused("groups of components are not supported yet", "experimental.componentGroups"),
    **_refused(_UNKNOWN_RULE, "topologyConstraint.*", "experimental.kvTransferPolicy.*"),
}

_COMMON: Table = {
    **_honoured(
        "replicas",
        "minAvailable",
        "multinode.nodeCount",
        "providerOverride",
        "topologyConstraint.packDomain",
        "experimental.grove.forceScalingGroup",
    ),
    **_ignored(_SERVING, "globalDynamoNamespace", "modelRef", "eppConfig"),
    **_ignored(_SCALING, "scalingAdapter"),
    **_ignored(_STARTING, "checkpoint", "experimental.checkpoint"),
    **_ignored("its container asks for nothing of its own", "frontendSidecar"),
    **_refused(_OVERRIDES, "roles", "multinode.leader.*", "multinode.worker.*"),
    **_refused(_SHARED_GPUS, "experimental.gpuMemoryService", "experimental.failover"),
    **_refused("parts of a model on other accelerators are not supported", "lpx"),
    **_refused(_UNKNOWN_RULE, "multinode.*", "topologyConstraint.*", "experimental.grove.*"),
}

#: One entry of `spec.services`, the older shape.
SERVICE: Table = {
    **_COMMON,
    **_honoured(
        "annotations",
        "labels",
        "componentType",
        "subComponentType",
        "envs",
        "extraPodMetadata.annotations",
        "extraPodMetadata.labels",
        "extraPodSpec.*",
        "volumeMounts",
        "resources.claims",
        "resources.requests.cpu",
        "resources.requests.memory",
        "resources.requests.gpu",
        "resources.requests.gpuType",
        "resources.requests.custom",
        "resources.limits.cpu",
        "resources.limits.memory",
        "resources.limits.gpu",
        "resources.limits.gpuType",
        "resources.limits.custom",
    ),
    **_ignored(_SERVING, "serviceName", "dynamoNamespace", "envFromSecret", "livenessProbe", "readinessProbe"),
    **_ignored(_NETWORK, "ingress"),
    **_ignored(_STORAGE, "sharedMemory"),
    **_ignored("the operator ignores it too", "autoscaling"),
    **_ignored("counts only where the service is enabled", "gpuMemoryService.*", "failover.*"),
    **_refused(_SHARED_GPUS, "gpuMemoryService.enabled", "failover.enabled"),
    **_refused("a node named in the template is not supported", "extraPodSpec.nodeName"),
}

#: One entry of `spec.components`, the newer shape.
COMPONENT: Table = {
    **_COMMON,
    **_honoured("name", "type", "compilationCache.pvcName", "podTemplate.metadata", "podTemplate.spec.*"),
    **_ignored(_SERVING, "runtimeVersionOverride"),
    **_ignored("its container stands in the pod template", "frontendSidecar", "dynamoSidecar"),
    **_ignored(_STORAGE, "sharedMemorySize"),
    **_ignored("where the volume is mounted in the pod", "compilationCache.mountPath"),
    **_refused("a node named in the template is not supported", "podTemplate.spec.nodeName"),
}


def check_fields(reading: Reading, part: Part, table: Table) -> None:
    """Refuse what the table refuses among the fields of `part`, and name those it does not know."""
    unknown = []
    for at, value, entry in _uses(part.body, "", table):
        if entry is None:
            unknown.append(part.path(at))
        elif entry.use is Use.REFUSED and value not in (False, "", []):
            reading.unsupported(Finding(part.path(at), entry.why))
    for at in unknown[:_MOST_NAMED]:
        reading.note("field_unknown", at, "no such field is known; it is not considered")
    if len(unknown) > _MOST_NAMED:
        reading.note("field_unknown", part.at, f"{len(unknown) - _MOST_NAMED} more fields are not known")


def _uses(body: Mapping[str, Any], at: str, table: Table) -> Iterator[tuple[str, Any, Field | None]]:
    """The fields there are: path, value and entry, which is None for those the table does not know."""
    for key, value in body.items():
        if value is None:
            continue
        here = f"{at}{key}"
        if "." in str(key):
            yield here, value, None
        elif here not in table and isinstance(value, Mapping) and any(path.startswith(f"{here}.") for path in table):
            yield from _uses(value, f"{here}.", table)
        else:
            yield here, value, table.get(here) or table.get(f"{at}*")
