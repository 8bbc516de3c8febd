"""Objects without what nobody here reads, and with equal parts in one copy: 50,000 pods come from a few templates."""

from typing import Any

import orjson

Body = dict[str, Any]

_STATUS_BULK = frozenset(
    {
        "containerStatuses",
        "initContainerStatuses",
        "images",
        "nodeInfo",
        "addresses",
        "volumesInUse",
        "volumesAttached",
    }
)
_CONTAINER_BULK = frozenset(
    {
        "volumeMounts",
        "volumeDevices",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "securityContext",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "imagePullPolicy",
    }
)
_CONTAINERS = ("containers", "initContainers")
_ALIKE = (*_CONTAINERS, "affinity", "tolerations", "topologySpreadConstraints")
_ALIKE_METADATA = ("labels", "annotations", "ownerReferences")
#: Volumes of which something is said to the user.
_TOLD_VOLUMES = ("persistentVolumeClaim", "ephemeral")
_MOST_SHARED = 20_000

_shared: dict[bytes, Any] = {}


def slim(body: Body) -> Body:
    """The object itself without managed fields and what else would only fill the memory.

    Parts of pods that are equal become the same: whoever changed one would change them all.
    """
    metadata, status = body["metadata"], body.get("status")
    metadata.pop("managedFields", None)
    if status:
        for field in _STATUS_BULK & status.keys():
            del status[field]
    if body.get("kind") == "Pod":
        _slim_pod(metadata, body.get("spec") or {})
    return body


def _slim_pod(metadata: Body, spec: Body) -> None:
    for field in _CONTAINERS:
        for container in spec.get(field) or ():
            for bulk in _CONTAINER_BULK & container.keys():
                del container[bulk]
    volumes = spec.get("volumes")
    if volumes:
        spec["volumes"] = [_slim_volume(volume) for volume in volumes]
    for part, fields in ((spec, _ALIKE), (metadata, _ALIKE_METADATA)):
        for field in fields:
            value = part.get(field)
            if value:
                part[field] = _one_copy(value)


def _slim_volume(volume: Body) -> Body:
    """A volume of which something is said, or its name; the name keeps the others where they are."""
    return volume if any(field in volume for field in _TOLD_VOLUMES) else {"name": volume.get("name")}


def _one_copy(value: Any) -> Any:
    """The value, or one seen before that is equal to it."""
    if len(_shared) >= _MOST_SHARED:
        _shared.clear()  # what is in use stays in use
    return _shared.setdefault(orjson.dumps(value), value)
