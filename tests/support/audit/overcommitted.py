"""Nodes to which more was bound than they have, and for how long, from what was seen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from support.audit.sightings import Key, NodeSeen, PodSeen, Sighting


@dataclass(frozen=True, slots=True)
class OvercommittedNode:
    """A node was given away twice. lasted_s: until it was not any more; None: it still is."""

    node: str
    lasted_s: float | None


def overcommitted(sightings: Iterable[Sighting]) -> list[OvercommittedNode]:
    """All there were, in order; pods that leave count until they are gone."""
    rooms: dict[str, NodeSeen] = {}
    pods: dict[Key, PodSeen] = {}
    since: dict[str, float] = {}
    found: list[OvercommittedNode] = []
    for sighting in sorted(sightings, key=lambda each: each.version):
        name = sighting.key[1]
        if sighting.kind == "nodes" and isinstance(sighting.seen, NodeSeen):
            rooms[name] = sighting.seen
        if sighting.kind != "pods":
            continue
        before = pods.pop(sighting.key, None)
        now = sighting.seen if isinstance(sighting.seen, PodSeen) else None
        if now is not None:
            pods[sighting.key] = now
        for node in {pod.node for pod in (before, now) if pod is not None and pod.node in rooms}:
            used = Counter[str]()
            for pod in pods.values():
                if pod.node == node and not pod.ended:
                    used.update(pod.takes)
            is_over = any(amount > rooms[node].room.get(resource, 0) for resource, amount in used.items())
            if is_over and node not in since:
                since[node] = sighting.at_s
            elif not is_over and node in since:
                found.append(OvercommittedNode(node, sighting.at_s - since.pop(node)))
    return found + [OvercommittedNode(node, None) for node in since]
