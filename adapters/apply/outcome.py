"""What a Placement says after a step: the record to write, computed from what is seen."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from adapters.apply.minimum import is_enough
from adapters.apply.noticing import told
from adapters.apply.observed import MOST_NAMED, Member, Observed
from adapters.apply.round import Found
from adapters.apply.steps import Confirm, GiveUp, Plan, Wait, Withdraw
from adapters.kubernetes.placement_objects import placement_name
from adapters.kubernetes.placements import Condition, Hand, Phase, PlacementRecord, Seat, Why
from solver.domain.naming import natural_key
from solver.domain.plan import GangPlan, Reason, Status

#: Conditions of a Placement: whether all that the gang needs is bound, and whether a pod is in the way for good.
PLACED, NEEDS_OWNER = "Placed", "NeedsOwner"

_WORDS = {
    Phase.PENDING: ("Waiting", "the gang waits"),
    Phase.RESERVED: ("Reserved", "every pod has a node"),
    Phase.RELEASING: ("Releasing", "pods are on their way to their nodes"),
    Phase.BOUND: ("Bound", "every pod is bound"),
    Phase.REPAIRING: ("Repairing", "some pods need another node"),
    Phase.EVICTING: ("Evicting", "the gang is given back, since part of it cannot be placed"),
}


def planned(seen: Observed, step: Plan, found: GangPlan, version: int) -> PlacementRecord:
    """The plan, reserved. version: of the state it was computed on."""
    node_of = step.fixed.node_of | {item.pod: item.node for item in found.assignments}
    role_of = {item.pod: item.role for item in (*found.assignments, *found.running)}
    there = [member for member in seen.members if not member.leaving]
    seats = [
        Seat(member.pod, member.uid, role_of.get(member.pod, member.role), node_of[member.pod])
        for member in there
        if member.pod in node_of
    ]
    out = [member.uid for member in there if member.is_held and member.is_placeable and member.pod not in node_of]
    record = _record(seen)
    return replace(
        record,
        seats=_sorted(seats),
        left_out=tuple(sorted(out)),
        hand=_hand(there),
        attempt=record.attempt + 1,
        planned_from=version,
        avoid=step.avoid,
        objective=found.objective,
        phase=Phase.RESERVED,
        since=None,
    )


def releasing(seen: Observed) -> PlacementRecord:
    """Pods are let go."""
    return _entered(seen, Phase.RELEASING, (), released=seen.now)


def waiting(seen: Observed, step: Wait) -> PlacementRecord:
    """The gang waits, and why. Pending gives up all seats, with what was learnt about nodes."""
    if step.phase is not Phase.PENDING:
        return _entered(seen, step.phase, step.reasons, released=_record(seen).released)
    kept = _record(seen).not_before
    not_before = kept if kept is not None and kept > seen.now else None
    return replace(_without_plan(_entered(seen, Phase.PENDING, step.reasons)), not_before=not_before)


def confirmed(seen: Observed, step: Confirm) -> PlacementRecord:
    """Everything is as it should be."""
    record = _entered(seen, Phase.BOUND, ())
    attempt = max(1, record.attempt)
    return replace(
        record, seats=_sorted(step.seats), attempt=attempt, avoid=(), failures=0, not_before=None
    )  # fmt: skip


def giving_up(seen: Observed, step: GiveUp) -> PlacementRecord:
    """What is bound is given back from now on."""
    return _entered(seen, Phase.EVICTING, step.reasons, released=_record(seen).released)


def withdrawn(seen: Observed, step: Withdraw) -> PlacementRecord:
    """Nothing is bound any more; the gang waits its turn."""
    record = _record(seen)
    reasons = record.reasons or (seen.tried.reasons if seen.tried else ())
    later = _entered(seen, Phase.PENDING, reasons)
    return replace(_without_plan(later), failures=step.failures, not_before=step.not_before)


def says_the_same(before: PlacementRecord | None, after: PlacementRecord, numbers: bool) -> bool:
    """Whether a status would tell nobody anything new. numbers: whether changed numbers and words in it count."""
    if before is None or not before.uid:
        return False
    if numbers:
        return replace(before, resource_version="") == replace(after, resource_version="")
    kept = replace(after, reasons=before.reasons, conditions=before.conditions, resource_version="")
    return kept == replace(before, resource_version="") and _gist(before.reasons) == _gist(after.reasons)


def is_same_news(before: PlacementRecord, after: PlacementRecord) -> bool:
    """Whether people need not be told: the same phase for the same kind of reason."""
    return before.phase is after.phase and _gist(before.reasons) == _gist(after.reasons)


def whys(reasons: Iterable[Reason]) -> tuple[Why, ...]:
    """Reasons of the solver."""
    return tuple(
        Why(reason.code.value, reason.message, reason.objects[:MOST_NAMED], dict(reason.numbers)) for reason in reasons
    )


def sentence(record: PlacementRecord) -> str:
    """How the gang is, in one sentence."""
    return "; ".join(why.message for why in record.reasons) or _WORDS[record.phase][1]


def word(record: PlacementRecord) -> str:
    """The same in one word, for machines."""
    return _WORDS[record.phase][0]


def _record(seen: Observed) -> PlacementRecord:
    """The Placement there is, or a new one."""
    record = seen.record
    if record is None:
        namespace, _, _ = seen.key.partition("/")
        return PlacementRecord(namespace, placement_name(seen.key), seen.key, owner=seen.live.owner)
    return record


def _without_plan(record: PlacementRecord) -> PlacementRecord:
    return replace(record, seats=(), left_out=(), avoid=(), objective=())


def _entered(
    seen: Observed, phase: Phase, reasons: tuple[Why, ...], released: datetime | None = None
) -> PlacementRecord:
    """The Placement in this phase, in which it may have been already."""
    record = _record(seen)
    since = record.since if record.phase is phase and record.since else seen.now
    later = replace(
        record,
        phase=phase,
        since=since,
        released=released,
        partial_since=_partial_since(seen, phase),
        reasons=reasons,
    )
    return replace(later, conditions=_conditions(later, seen.now))


def _partial_since(seen: Observed, phase: Phase) -> datetime | None:
    if phase in (Phase.PENDING, Phase.BOUND):
        return None
    gang = seen.live.gang
    bound = [member.pod for member in seen.members if member.node and member.is_placeable]
    if gang is not None and is_enough(gang, bound):
        return None
    return (seen.record.partial_since if seen.record else None) or seen.now


def _conditions(record: PlacementRecord, now: datetime) -> tuple[Condition, ...]:
    before = {condition.type: condition for condition in record.conditions}
    bare = next((why for why in record.reasons if why.code == "needs_owner"), None)
    wanted = [(PLACED, record.phase is Phase.BOUND, word(record), sentence(record))]
    if bare is not None or NEEDS_OWNER in before:
        text = bare.message if bare else "no pod without an owner is in the way"
        wanted.append((NEEDS_OWNER, bare is not None, "BarePods" if bare else "NoBarePods", text))
    found = []
    for kind, holds, reason, message in wanted:
        known = before.get(kind)
        since = known.since if known and known.holds is holds else now
        found.append(Condition(kind, holds, reason, message, since))
    return tuple(found)


def _hand(members: Sequence[Member]) -> Hand:
    """Who binds most of them."""
    for hand in (Hand.BIND, Hand.EXTENDER):
        if 2 * sum(member.hand is hand for member in members) > len(members):
            return hand
    return Hand.GATE


def _gist(reasons: Iterable[Why]) -> list[tuple[str, tuple[str, ...]]]:
    return [(why.code, why.objects) for why in reasons]


def _sorted(seats: Iterable[Seat]) -> tuple[Seat, ...]:
    return tuple(sorted(seats, key=lambda seat: natural_key(seat.pod)))


def not_placed(found: Found) -> tuple[Why, ...]:
    """Why no pod got a node."""
    if found.plan is None:
        return (Why("unavailable" if found.is_away else "invalid", found.problem),)
    if found.plan.status is Status.UNKNOWN:
        out_of_time = Why("unknown", "time ran out before a placement was found or ruled out")
        return whys(found.plan.reasons) or (out_of_time,)
    if found.plan.status.placed:
        pods = sum(len(role.pods) for role in found.wanted.gang.roles)
        text = f"there is no room for members that the gang of {pods} pods can do without"
        return (Why("no_room", text, (), {"pods": pods}),)
    reasons = whys(found.plan.reasons) or (Why("capacity", "there is no room"),)
    return (*reasons, *(Why(notice.code, told(notice)) for notice in found.plan.warnings))


def backing_off(pause_s: float, overruns: int) -> Why:
    """That a gang on which planning ran out of time or room for it is not planned again before its time."""
    often = "" if overruns == 1 else f" {overruns} times in a row"
    text = f"planning it took more than it may{often}; it is tried again after {pause_s:.0f} s, whatever changes"
    return Why("backing_off", text, (), {"overruns": overruns, "retry_s": round(pause_s)})
