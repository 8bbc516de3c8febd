"""From the bytes of the API server to objects: of pods and nodes only what is read here, and equal parts in one copy.

Most bytes of a list are managed fields, statuses of containers and images that nobody reads; they are passed over, not
made into objects first. What every pod of a template has is made once. A field that is to be read for the first time
has to be added here: tests compare what is read with what is kept.
"""

from collections.abc import Callable
from typing import Any, TypedDict

import msgspec
from msgspec import Raw

from adapters.kubernetes.resources import NODES, PODS, Resource

#: An object as the API server has it; bodies share parts: never change them.
Body = dict[str, Any]
#: A page of a list: `metadata` and `items`.
Page = dict[str, Any]

_MOST_SHARED = 20_000
_shared: dict[bytes, Any] = {}


class Identity(TypedDict, total=False):
    """What is kept of `metadata`."""

    name: Any
    namespace: Any
    uid: Any
    resourceVersion: Any
    creationTimestamp: Any
    deletionTimestamp: Any


class PodMetadata(Identity, total=False):
    """What is kept of the `metadata` of a pod."""

    labels: Raw
    annotations: Raw
    ownerReferences: Raw


class Container(TypedDict, total=False):
    """What is kept of a container. Its mounts are not, whose names differ from pod to pod of one template."""

    name: Raw
    command: Raw
    args: Raw
    env: Raw
    ports: Raw
    resources: Raw
    restartPolicy: Raw


class Volume(TypedDict, total=False):
    """What is kept of a volume: what the user is told about, and its name so that the others stay in place."""

    name: Any
    persistentVolumeClaim: Any
    ephemeral: Any


class PodSpec(TypedDict, total=False):
    """What is kept of the `spec` of a pod."""

    nodeName: Any
    nodeSelector: Raw
    affinity: Raw
    tolerations: Raw
    topologySpreadConstraints: Raw
    containers: list[Container] | None
    initContainers: list[Container] | None
    overhead: Any
    resources: Any
    resourceClaims: Any
    volumes: list[Volume] | None
    hostNetwork: Any
    priority: Any
    priorityClassName: Any
    schedulerName: Any
    schedulingGates: Any
    schedulingGroup: Any
    workloadRef: Any


class ConditionFields(TypedDict, total=False):
    """What is kept of a condition of a pod or node."""

    type: Any
    status: Any
    reason: Any
    message: Any
    lastTransitionTime: Any


class ContainerStatus(TypedDict, total=False):
    """What is kept of the status of a container: what it holds while the pod is resized in place."""

    name: Raw
    allocatedResources: Raw
    resources: Raw


class PodStatus(TypedDict, total=False):
    """What is kept of the `status` of a pod."""

    phase: Any
    conditions: list[ConditionFields] | None
    nominatedNodeName: Any
    containerStatuses: list[ContainerStatus] | None
    initContainerStatuses: list[ContainerStatus] | None
    resources: Any
    allocatedResources: Any
    resize: Any
    resourceClaimStatuses: Any


class Pod(TypedDict, total=False):
    """What is kept of a pod."""

    apiVersion: Any
    kind: Any
    metadata: PodMetadata
    spec: PodSpec | None
    status: PodStatus | None


class NodeMetadata(Identity, total=False):
    """What is kept of the `metadata` of a node."""

    labels: Any
    annotations: Any


class NodeSpec(TypedDict, total=False):
    """What is kept of the `spec` of a node."""

    taints: Any
    unschedulable: Any


class NodeStatus(TypedDict, total=False):
    """What is kept of the `status` of a node."""

    allocatable: Any
    capacity: Any
    conditions: list[ConditionFields] | None


class Node(TypedDict, total=False):
    """What is kept of a node."""

    apiVersion: Any
    kind: Any
    metadata: NodeMetadata
    spec: NodeSpec | None
    status: NodeStatus | None


class _Pods(TypedDict, total=False):
    metadata: Any
    items: list[Pod] | None


class _Nodes(TypedDict, total=False):
    metadata: Any
    items: list[Node] | None


class Decoder:
    """Reads objects of one kind. What does not look like one is kept as it is, for whoever reads it to complain.

    Raises msgspec.DecodeError for what is not JSON.
    """

    def __init__(self, page: Any, body: Any, tidy: Callable[[Any], None]) -> None:
        """Types of a page and of an object, and what is done with each object."""
        self._page, self._body = msgspec.json.Decoder(page), msgspec.json.Decoder(body)
        self._tidy = tidy

    def page(self, data: bytes) -> Page:
        """A page of a list."""
        try:
            page: Page = self._page.decode(data)
        except msgspec.ValidationError:
            return msgspec.json.decode(data)  # type: ignore[no-any-return]
        for body in page.get("items") or ():
            self._tidy(body)
        return page

    def body(self, data: bytes | Raw) -> Body:
        """One object."""
        try:
            body: Body = self._body.decode(data)
        except msgspec.ValidationError:
            return msgspec.json.decode(data)  # type: ignore[no-any-return]
        self._tidy(body)
        return body


def decoder(resource: Resource) -> Decoder:
    """The decoder of a kind."""
    return _DECODERS.get(resource, _WHOLE)


def _tidy_pod(pod: Any) -> None:
    """Replace what many pods have in common by the one copy of it."""
    metadata, spec, status = pod.get("metadata"), pod.get("spec"), pod.get("status")
    for part, fields in ((metadata, _ALIKE_METADATA), (spec, _ALIKE), (status, _ALIKE_STATUS)):
        if part:
            for field in fields:
                value = part.get(field)
                if value is not None:
                    part[field] = _one_copy(value)


def _tidy_whole(body: Any) -> None:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)


def _one_copy(value: Any) -> Any:
    """The value of JSON that is raw, or of which parts are; the same as before for the same JSON."""
    raw = _encode(value)
    known = _shared.get(raw, _shared)  # nothing is that but itself
    if known is not _shared:
        return known
    if len(_shared) >= _MOST_SHARED:
        _shared.clear()  # what is in use stays in use
    return _shared.setdefault(raw, msgspec.json.decode(raw))


_ALIKE = ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "containers", "initContainers")
_ALIKE_METADATA = ("labels", "annotations", "ownerReferences")
_ALIKE_STATUS = ("containerStatuses", "initContainerStatuses")
_encode = msgspec.json.Encoder().encode
_DECODERS = {PODS: Decoder(_Pods, Pod, _tidy_pod), NODES: Decoder(_Nodes, Node, lambda _: None)}
_WHOLE = Decoder(Any, Any, _tidy_whole)
