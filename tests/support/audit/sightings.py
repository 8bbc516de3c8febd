"""What the auditor keeps of an object it was shown: as little as its rules need."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.audit.amounts import Amounts, node_room, pod_takes

Json = Mapping[str, Any]
#: Namespace, empty for nodes, and name.
Key = tuple[str, str]

GANG_LABEL, ROLE_LABEL = "huddle.scheduler/gang", "huddle.scheduler/role"
NODES, PODS, GANGS, PLACEMENTS = "nodes", "pods", "gangs", "placements"
PATHS = {
    NODES: "/api/v1/nodes",
    GANGS: "/apis/huddle.scheduler/v1alpha1/gangs",
    PODS: "/api/v1/pods",
    PLACEMENTS: "/apis/huddle.scheduler/v1alpha1/placements",
}


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node. room: what pods may take of it."""

    room: Amounts


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod. node: where it is bound, or empty. gang: `namespace/name`, or empty. ended: it takes nothing any more."""

    uid: str
    node: str
    gang: str
    role: str
    takes: Amounts
    leaving: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class GangSeen:
    """A gang. root: its tree, as its spec says."""

    root: Json


@dataclass(frozen=True, slots=True)
class PlacementSeen:
    """A Placement. seats: uid of a pod → node. phase: how far it says it has come."""

    gang: str
    seats: Mapping[str, str]
    phase: str


Seen = NodeSeen | PodSeen | GangSeen | PlacementSeen


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object at one moment.

    version: resource version of the change. at_s: when the auditor heard of it. seen: None = it is gone.
    """

    version: int
    at_s: float
    kind: str
    key: Key
    seen: Seen | None


def key_of(body: Json) -> Key:
    """Namespace and name."""
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def read(kind: str, body: Json) -> Seen:
    """What matters of an object."""
    match kind:
        case "nodes":
            return NodeSeen(node_room(body))
        case "pods":
            return _pod(body)
        case "gangs":
            return GangSeen(body["spec"]["root"])
        case _:
            return _placement(body)


def story(sightings: Iterable[Sighting], subject: str) -> Iterator[str]:
    """What happened to a gang, a pod or a node, `namespace/name` or name, line by line."""
    ordered = sorted(sightings, key=lambda each: each.version)
    first_s = ordered[0].at_s if ordered else 0.0
    ours = set[Key]()
    nodes = {subject}
    for each in ordered:
        name = "/".join(part for part in each.key if part)
        if isinstance(each.seen, PodSeen) and each.seen.gang == subject:
            ours.add(each.key)
            nodes.add(each.seen.node)
        if name == subject or (each.kind == PODS and each.key in ours) or (each.kind == NODES and name in nodes):
            yield f"{each.at_s - first_s:8.2f} s  {each.version}  {each.kind} {name}: {_short(each.seen)}"


def _short(seen: Seen | None) -> str:
    match seen:
        case None:
            return "gone"
        case PodSeen():
            states = [word for word, holds in (("leaving", seen.leaving), ("ended", seen.ended)) if holds]
            return " ".join([seen.uid[:8], seen.node or "unbound", *states])
        case PlacementSeen():
            return f"{seen.phase} { ({uid[:8]: node for uid, node in seen.seats.items()}) }"
        case GangSeen():
            return "there"
        case NodeSeen():
            return f"{dict(seen.room)}"


def _pod(body: Json) -> PodSeen:
    metadata, spec = body["metadata"], body["spec"]
    labels = metadata.get("labels") or {}
    gang = labels.get(GANG_LABEL, "")
    return PodSeen(
        uid=metadata["uid"],
        node=spec.get("nodeName", ""),
        gang=f"{metadata['namespace']}/{gang}" if gang else "",
        role=labels.get(ROLE_LABEL, ""),
        takes=pod_takes(body),
        leaving="deletionTimestamp" in metadata,
        ended=(body.get("status") or {}).get("phase") in ("Succeeded", "Failed"),
    )


def _placement(body: Json) -> PlacementSeen:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    gang = spec.get("gang") or body["metadata"]["name"]
    name = gang if "/" in gang else f"{body['metadata']['namespace']}/{gang}"
    seats = {seat["uid"]: seat["node"] for seat in spec.get("assignments") or ()}
    return PlacementSeen(name, seats, status.get("phase", ""))
