"""Nodes on which more is bound than they have, and whose pod came there last.

Two schedulers that bind at the same time can give one node away twice, and nobody refuses: neither the API server nor
either of them looks again. A kubelet would fail the pod that came second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np

from adapters.apply.own_writes import uid_of
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.resources import NODES, Resource
from adapters.kubernetes.running import read_bound_pod
from solver.domain.errors import InvalidRequest
from solver.domain.resources import CPU, GPU, MEMORY, PODS
from solver.explain.wording import amount_text
from solver.service.state import HeldCluster

Body = Mapping[str, Any]

#: A node has to look like that for so long, in seconds, before anything is done about it.
HOLD_S = 1.0
#: After something was done about a node, it is left alone for so long, in seconds.
AGAIN_S = 10.0
_SOURCE = "cluster"
_ENDED = ("Succeeded", "Failed")
_NEVER = datetime.min.replace(tzinfo=UTC)


class Source(Protocol):
    """What is read of a mirror."""

    held: HeldCluster

    def get(self, resource: Resource, namespace: str, name: str) -> Any:
        """One object, or None."""

    def pods_on(self, node: str) -> Sequence[Any]:
        """Pods bound to a node."""

    def gang_of(self, pod: Body) -> str:
        """The gang of a pod, or empty."""


@dataclass(frozen=True, slots=True)
class Overcommit:
    """One node. resource: of which more is bound than it has; taken, room: in the units of snapshots.

    pod: `namespace/name` of the one that came last and takes of it; uid, gang: its own, the gang's key or empty.
    controlled: its controller makes another one when that pod goes.
    """

    node: str
    resource: str
    taken: int
    room: int
    pod: str
    uid: str
    gang: str
    controlled: bool

    @property
    def message(self) -> str:
        """What is wrong, in one sentence."""
        taken, room = amount_text(self.resource, self.taken), amount_text(self.resource, self.room, short=True)
        text = f"pods bound to node {self.node} take {taken} of {room}: it was given away twice"
        return f"{text}; pod {self.pod} came last"


class Overcommits:
    """Looks for them in one cluster. In one event loop."""

    def __init__(self, source: Source, now: Callable[[], datetime]) -> None:
        self._source, self._now = source, now
        self._since: dict[str, tuple[str, datetime]] = {}  # by node: uid of the pod that came last, and since when
        self._acted: dict[str, datetime] = {}  # by node
        self._known: dict[str, tuple[bytes, Overcommit | None]] = {}
        self.now: tuple[Overcommit, ...] = ()

    def look(self) -> tuple[Overcommit, ...]:
        """All there are now, by name of the node. `now` has them until the next look."""
        snapshot = self._source.held.view().snapshot
        rows = np.flatnonzero((snapshot.free < 0).any(axis=1)).tolist() if len(snapshot.nodes) else []
        found, known = [], {}
        for row in rows:
            name = snapshot.nodes[row]
            pods = " ".join(sorted(map(uid_of, self._source.pods_on(name)))).encode()
            state = snapshot.free[row].tobytes() + snapshot.allocatable[row].tobytes() + pods
            before = self._known.get(name)
            known[name] = before if before and before[0] == state else (state, self._of(name))
            if (overcommit := known[name][1]) is not None:
                found.append(overcommit)
        self._known = known
        self.now = tuple(sorted(found, key=lambda each: each.node))
        self._since = {each.node: self._seen(each) for each in self.now}
        return self.now

    def is_due(self, overcommit: Overcommit) -> bool:
        """Whether it has been so for long enough, and nothing was done about the node lately."""
        since, now = self._since.get(overcommit.node), self._now()
        acted = self._acted.get(overcommit.node)
        has_rested = acted is None or now >= acted + timedelta(seconds=AGAIN_S)
        return since is not None and now >= since[1] + timedelta(seconds=HOLD_S) and has_rested

    def acted(self, overcommit: Overcommit) -> None:
        """Something is being done about it."""
        now = self._now()
        self._acted = {node: at for node, at in self._acted.items() if now < at + timedelta(seconds=AGAIN_S)} | {
            overcommit.node: now
        }

    def _seen(self, overcommit: Overcommit) -> tuple[str, datetime]:
        before = self._since.get(overcommit.node)
        return before if before and before[0] == overcommit.uid else (overcommit.uid, self._now())

    def _of(self, name: str) -> Overcommit | None:
        """What is really bound there against what the node has; None where that cannot be read, or suffices."""
        body = self._source.get(NODES, "", name)
        if body is None:
            return None
        try:
            room = _room(body)
            pods = [(pod, _taken(pod)) for pod in self._source.pods_on(name) if _counts(pod, name)]
        except InvalidRequest:
            return None
        for resource, most in sorted(room.items(), key=lambda item: (item[0] != GPU, item[0])):
            taken = sum(amounts.get(resource, 0) for _, amounts in pods)
            # Where there is nothing of a resource any more, such as while its driver starts anew, nothing was given
            # away twice: pods came when there was some.
            if most and taken > most:
                last = max((pod for pod, amounts in pods if amounts.get(resource)), key=_arrival)
                return _overcommit(name, resource, taken, most, last, self._source.gang_of(last))
        return None


def _overcommit(node: str, resource: str, taken: int, room: int, last: Body, gang: str) -> Overcommit:
    metadata = last["metadata"]
    controlled = any(owner.get("controller") for owner in metadata.get("ownerReferences") or ())
    name = f"{metadata['namespace']}/{metadata['name']}"
    return Overcommit(node, resource, taken, room, name, uid_of(last), gang, controlled)


def _room(node: Body) -> dict[str, int]:
    """What the node has. Of devices what it was made with: one that fails takes no pod's place away."""
    room = {PODS: 0, **dict(read_node(Document(node, _SOURCE)).allocatable)}
    status = node.get("status") or {}
    whole = {**node, "status": {**status, "allocatable": status.get("capacity") or status.get("allocatable")}}
    made = dict(read_node(Document(whole, _SOURCE)).allocatable)
    mine = (CPU, MEMORY, PODS, "ephemeral-storage")
    return {name: amount if name in mine else max(amount, made.get(name, 0)) for name, amount in room.items()}


def _taken(pod: Body) -> dict[str, int]:
    return {**dict(read_bound_pod(Document(pod, _SOURCE), "").requests), PODS: 1}


def _counts(pod: Body, node: str) -> bool:
    """Whether it is bound there, has not ended, and is not about to go."""
    phase = (pod.get("status") or {}).get("phase")
    return pod["spec"].get("nodeName") == node and phase not in _ENDED and not pod["metadata"].get("deletionTimestamp")


def _arrival(pod: Body) -> tuple[datetime, datetime, str, str]:
    """When it was bound, when it was made, and its name."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    bound = (each for each in conditions if each.get("type") == "PodScheduled" and each.get("status") == "True")
    made = _moment(pod["metadata"].get("creationTimestamp"))
    at = next((_moment(each.get("lastTransitionTime")) for each in bound), made)
    return max(at, made), made, pod["metadata"]["namespace"], pod["metadata"]["name"]


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else _NEVER
    except ValueError:
        return _NEVER
    return moment if moment.tzinfo is not None else _NEVER
