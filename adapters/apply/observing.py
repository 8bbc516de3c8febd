"""From what the mirror shows to what a decision rests on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from adapters.apply.fits import Fits
from adapters.apply.gate import GATE, gates, pinned_node
from adapters.apply.naming_node import NO_EXTENDER, Extended, released_to
from adapters.apply.observed import LiveGang, Member, Observed, Tried
from adapters.apply.own_writes import OwnWrites, uid_of
from adapters.apply.settings import Settings
from adapters.kubernetes.gang_keys import ROLE_LABEL, SCHEDULER
from adapters.kubernetes.objects import Document
from adapters.kubernetes.placement_objects import placement_name, read_placement
from adapters.kubernetes.placements import Hand, Phase, PlacementRecord
from adapters.kubernetes.resources import NODES, PLACEMENTS, Resource
from adapters.kubernetes.running import read_bound_pod
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.pods import BoundPod

Body = Mapping[str, Any]

_SOURCE = "cluster"
_ENDED = ("Succeeded", "Failed")


class Source(Protocol):
    """What is read of a mirror."""

    def get(self, resource: Resource, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One object, or None."""

    def pods_of(self, gang_key: str) -> Sequence[Mapping[str, Any]]:
        """Pods of a gang, those that have ended or are leaving too."""


class GangReader(Protocol):
    """Makes the gang of a key."""

    def __call__(self, key: str, pods: Sequence[Body], fixed: Mapping[str, str], done: Sequence[Body]) -> LiveGang:
        """The gang made of exactly `pods`. fixed: `namespace/pod` → node of those that stay where they are.

        done: pods that succeeded. They have done their part, so what their roles need at least is so much less, and
        they are not missing.
        """


@dataclass(frozen=True)
class Sight:
    """What is seen of a gang, and the objects behind it.

    bodies: members as they are now, by uid. waiting: those that are not bound, as what they will take, by uid.
    problem: why the seats of pods that have not been let go cannot be taken any more; empty when they can.
    """

    seen: Observed
    bodies: Mapping[str, Body]
    waiting: Mapping[str, BoundPod]
    problem: str = ""

    @property
    def bound(self) -> int:
        """Members seen bound."""
        return sum(bool(member.node) and not member.leaving for member in self.seen.members)

    @property
    def wanted(self) -> int:
        """Pods that the gang asks for, whether they exist or not."""
        there = sum(not member.leaving for member in self.seen.members)
        return there + sum(self.seen.live.missing.values())


class Observer:
    """Looks at one cluster. In one thread."""

    def __init__(
        self,
        source: Source,
        read_gang: GangReader,
        fits: Fits,
        settings: Settings,
        pods: OwnWrites,
        placements: OwnWrites,
        now: Callable[[], datetime],
        extended: Extended = NO_EXTENDER,
    ) -> None:
        self._source, self._read_gang, self._fits, self._settings = source, read_gang, fits, settings
        self._pods, self._placements, self._now = pods, placements, now
        self._extended = extended
        self._taken: dict[str, dict[str, BoundPod]] = {}
        self._records: dict[str, tuple[object, PlacementRecord]] = {}  # by gang: version and content

    def look(self, key: str, tried: Tried | None = None, room: int = 0) -> Sight:
        """The gang as it is now. Raises InvalidRequest for a Placement that makes no sense."""
        now = self._now()
        bodies = self._bodies(key)
        nodes, next_loss = self._losses(bodies.values(), now)
        record, holds = self.record(key), self._holding(bodies.values())
        members = [
            _member(
                body, *nodes.get(_node(body), (False, False)), key if holds(body) else "", released_to(body, record)
            )
            for body in bodies.values()
        ]
        live = self._live(key, members, bodies, {member.pod: member.node for member in members if member.node})
        if live.declared is not None and live.missing and (record is None or record.phase is Phase.PENDING):
            # Such a gang is not planned yet, which would tell; who wrote it is there to hear it now.
            live = replace(live, problem=live.problem or self._fits.unknown_level(live.declared))
        role_of = _roles(live.gang)
        members = [replace(member, role=role_of.get(member.pod, member.role)) for member in members]
        waiting = self._waiting(key, members, bodies, live.gang)
        seen = Observed(
            key, now, live, tuple(members), record, frozenset(), next_loss, tried, room
        )  # fmt: skip
        return self._checked(Sight(replace(seen, unfit=self._unfit(seen, waiting)), bodies, waiting))

    def record(self, key: str) -> PlacementRecord | None:
        """The Placement of a gang. Raises InvalidRequest when it makes no sense."""
        namespace, name = key.partition("/")[0], placement_name(key)
        shown = self._source.get(PLACEMENTS, namespace, name)
        body = self._placements.find(namespace, name) if shown is None else self._placements.newest(shown)
        if body is None:
            return None
        version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
        known = self._records.get(key)
        if known is None or known[0] != version:
            known = self._records[key] = version, read_placement(body)
        return known[1]

    def gang(self, sight: Sight, fixed: Mapping[str, str]) -> Gang | None:
        """The gang of what was seen, with the pods in `fixed` (pod → node) taken for running there."""
        return self._live(sight.seen.key, sight.seen.members, sight.bodies, fixed).gang

    def forget(self, key: str) -> None:
        """A gang is gone."""
        self._taken.pop(key, None)
        self._records.pop(key, None)

    def _bodies(self, key: str) -> dict[str, Body]:
        """Pods of the gang that have not ended, as they are known here, by uid."""
        found: dict[str, Body] = {}
        for shown in self._source.pods_of(key):
            body = self._pods.newest(shown)
            if body is not None and _status(body) not in _ENDED:
                found[uid_of(body)] = body
        return found

    def _holding(self, bodies: Iterable[Body]) -> Callable[[Body], bool]:
        """Tells which pods the extender holds: none of a gang that it cannot keep together."""
        return (lambda _: False) if self._extended.are_too_many(bodies) else self._extended.holds

    def _live(
        self, key: str, members: Sequence[Member], bodies: Mapping[str, Body], fixed: Mapping[str, str]
    ) -> LiveGang:
        there = [bodies[member.uid] for member in members if member.is_placeable]
        names = {member.pod for member in members if member.is_placeable}
        done = [body for body in self._source.pods_of(key) if _status(body) == "Succeeded"]
        return self._read_gang(key, there, {pod: node for pod, node in fixed.items() if pod in names}, done)

    def _losses(self, bodies: Iterable[Body], now: datetime) -> tuple[dict[str, tuple[bool, bool]], datetime | None]:
        """Node → whether it is lost, and whether it is gone; and when the next one will be lost."""
        found, ends = {}, []
        for name in {_node(body) for body in bodies} - {""}:
            node = self._source.get(NODES, "", name)
            silent_since = None if node is None else _silent_since(node)
            end = None if silent_since is None else silent_since + timedelta(seconds=self._settings.silent_node_s)
            found[name] = (node is None or (end is not None and end <= now), node is None)
            if end is not None and end > now:
                ends.append(end)
        return found, min(ends, default=None)

    def _waiting(
        self, key: str, members: Sequence[Member], bodies: Mapping[str, Body], gang: Gang | None
    ) -> Mapping[str, BoundPod]:
        """What the members that are not bound will take, by uid; read once for each pod."""
        known, found = self._taken.get(key, {}), {}
        for member in members:
            if member.node or member.leaving:
                continue
            pod = known.get(member.uid) or _taken(bodies[member.uid])
            if pod is not None:
                found[member.uid] = replace(pod, queue=gang.queue) if gang and gang.queue != pod.queue else pod
        self._taken[key] = found
        return found

    def _checked(self, sight: Sight) -> Sight:
        """With the seats that are to be let go next seen to hold, all together and against everything there is now."""
        seen = sight.seen
        record = seen.record
        if record is None or record.phase in (Phase.PENDING, Phase.EVICTING):
            return sight
        if record.phase is Phase.RELEASING and any(member.is_freed for member in seen.members):
            return sight  # it is under way
        seats = {seat.uid: seat for seat in record.seats}
        held = [member for member in seen.members if member.is_held and member.is_placeable and member.uid in seats]
        if not held or any(member.uid in seen.unfit for member in held):
            return sight
        fixed = {member.pod: member.node or member.pin for member in seen.members if member.node or member.is_freed}
        gang = self.gang(sight, fixed)
        placed = [Assignment(member.pod, member.role, seats[member.uid].node) for member in held]
        problem = self._fits.problem(gang, placed) if gang else "nothing describes the gang any more"
        unfit = frozenset(member.uid for member in held) if problem else frozenset()
        return replace(sight, seen=replace(seen, unfit=seen.unfit | unfit), problem=problem)

    def _unfit(self, seen: Observed, waiting: Mapping[str, BoundPod]) -> frozenset[str]:
        record = seen.record
        if record is None or not record.phase.holds:
            return frozenset()
        seats = {seat.uid: seat.node for seat in record.seats}
        wished = []
        for member in seen.members:
            node = member.pin if member.is_freed else seats.get(member.uid, "")
            if member.uid in waiting and node:
                wished.append(replace(waiting[member.uid], node=node))
        return self._fits.unfit(seen.key, wished, seen.live.gang)


def _member(body: Body, lost: bool, stranded: bool, extended: str, named: str) -> Member:
    """extended: its gang, if the extender holds it while no gate does; else empty. named: where that lets it go to."""
    metadata, spec = body["metadata"], body["spec"]
    held_by, refusal = gates(body), _refusal(body)
    is_own = spec.get("schedulerName") == SCHEDULER  # conditions of such a pod are written by Huddle
    hand = Hand.EXTENDER if extended and GATE not in held_by else Hand.GATE
    return Member(
        pod=f"{metadata['namespace']}/{metadata['name']}",
        uid=uid_of(body),
        role=str((metadata.get("labels") or {}).get(ROLE_LABEL, "")),
        node=_node(body),
        gated=GATE in held_by,
        other_gates=tuple(name for name in held_by if name != GATE),
        pin=pinned_node(body) or named,
        hand=Hand.BIND if is_own else hand,
        leaving=bool(metadata.get("deletionTimestamp")),
        controlled=any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()),
        lost=lost,
        stranded=stranded,
        refused="" if is_own or (hand is Hand.EXTENDER and f"gang {extended}:" in refusal) else refusal,
        created=_moment(metadata.get("creationTimestamp")),
    )


def _status(body: Body) -> str:
    return str((body.get("status") or {}).get("phase") or "")


def _node(body: Body) -> str:
    return str(body["spec"].get("nodeName") or "")


def _condition(body: Body, kind: str) -> Body:
    found = (body.get("status") or {}).get("conditions") or ()
    return next((condition for condition in found if condition.get("type") == kind), {})


def _refusal(body: Body) -> str:
    """What the scheduler says why it cannot bind the pod."""
    condition = _condition(body, "PodScheduled")
    is_refused = condition.get("status") == "False" and condition.get("reason") == "Unschedulable"
    return str(condition.get("message") or "no reason given") if is_refused else ""


def _silent_since(node: Body) -> datetime | None:
    """Since when a node is not ready; None if it is, or never said anything."""
    condition = _condition(node, "Ready")
    return None if condition.get("status", "True") == "True" else _moment(condition.get("lastTransitionTime"))


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _taken(body: Body) -> BoundPod | None:
    """What a pod will take; None when nobody can tell, which the reader of the gang says."""
    try:
        return read_bound_pod(Document(body, _SOURCE), "")
    except InvalidRequest:
        return None


def _roles(gang: Gang | None) -> dict[str, str]:
    return {pod: role.name for role in gang.roles for pod in role.pods} if gang else {}
