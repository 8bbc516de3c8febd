"""The hand that says in a pod where it may be bound, for the extender to keep its scheduler to it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.apply.gate import gates, pinned_node
from adapters.kubernetes.gang_keys import NODE_ANNOTATION
from adapters.kubernetes.placements import Phase, PlacementRecord

Body = Mapping[str, Any]
Operation = dict[str, Any]

#: Resources that make a scheduler ask the extender about a pod, unless told otherwise (its `managedResources`).
MANAGED = ("nvidia.com/gpu",)
#: Members of a gang without gates of its own that the extender keeps together; larger gangs have to be gated.
MOST_UNGATED = 32
_AT = "/metadata/annotations"


@dataclass(frozen=True, slots=True)
class Extended:
    """Which pods the extender is asked about: of these schedulers (none = no extender is served) and resources."""

    schedulers: Collection[str] = ()
    resources: Collection[str] = MANAGED

    def holds(self, pod: Body) -> bool:
        """Whether a scheduler asks before it binds this pod."""
        return pod["spec"].get("schedulerName") in self.schedulers and asks_for(pod, self.resources)

    def are_too_many(self, pods: Iterable[Body]) -> bool:
        """Whether the pods of a gang are more than the extender keeps together without gates."""
        return sum(self.holds(pod) and _came_ungated(pod) for pod in pods) > MOST_UNGATED


#: Nobody asks.
NO_EXTENDER = Extended()


def asks_for(pod: Body, wanted: Collection[str]) -> bool:
    """Whether a container asks for one of these resources."""
    spec = pod["spec"]
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        asked = {*(resources.get("requests") or {}), *(resources.get("limits") or {})}
        if not asked.isdisjoint(wanted):
            return True
    return False


def released_to(pod: Body, record: PlacementRecord | None) -> str:
    """The node that its annotation lets the pod go to, or empty: it has to be its seat, whoever wrote it."""
    node = str((pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION) or "")
    if not node or record is None or record.phase in (Phase.PENDING, Phase.EVICTING):
        return ""
    seat = record.seat_of(pod["metadata"]["uid"])
    return node if seat is not None and seat.node == node else ""


def _came_ungated(pod: Body) -> bool:
    """Whether nothing but the extender keeps, or kept, the pod back: it has no gate and none was taken off."""
    return not gates(pod) and not pinned_node(pod)


def node_patch(pod: Body, node: str) -> list[Operation]:
    """The JSON patch that names the node in exactly this pod as it was seen here."""
    metadata = pod["metadata"]
    key = NODE_ANNOTATION.replace("/", "~1")
    told: Sequence[Operation] = (
        [{"op": "add", "path": f"{_AT}/{key}", "value": node}]
        if metadata.get("annotations")
        else [{"op": "add", "path": _AT, "value": {NODE_ANNOTATION: node}}]
    )
    return [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        *told,
    ]
