"""Placements as the API server keeps them: objects ↔ `PlacementRecord`.

Pods and the gang are named without their namespace, which is the object's own. Numbers of terms are text, so that they
stay exact. Lists and fields that a patch writes are whole: what is not in them is gone.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

from adapters.kubernetes.objects import Document, Fields, shown
from adapters.kubernetes.placements import Condition, Hand, Owner, Phase, PlacementRecord, Seat, Why
from adapters.kubernetes.resources import PLACEMENTS
from solver.domain.plan import Sense, TermValue

Json = dict[str, Any]
Word = TypeVar("Word", bound=StrEnum)

API_VERSION = f"{PLACEMENTS.group}/{PLACEMENTS.versions[0]}"

_SOURCE = "cluster"
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")
_LONGEST = 253
_EXACT = re.compile(r"-?[0-9]{1,256}(\.[0-9]{1,256}|/[0-9]{1,256})?")
_MOST_MESSAGE, _MOST_OBJECTS, _MOST_REASONS = 4096, 1000, 64


def placement_name(gang: str) -> str:
    """The name of the object for a gang `namespace/name`: its own, or what comes close if that is no object's name."""
    name = gang.partition("/")[2]
    if _OBJECT_NAME.fullmatch(name) and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    close = _NOT_IN_NAMES.sub("-", name.lower()).strip("-")[: _LONGEST - 9].rstrip("-")
    return f"{close or 'gang'}-{digest}"


def new_placement(record: PlacementRecord) -> Json:
    """The object to create. Its status has to be written afterwards: the API server does not take it along."""
    metadata: Json = {"namespace": record.namespace, "name": record.name}
    if record.owner:
        metadata["ownerReferences"] = [_owner(record.owner)]
    return {"apiVersion": API_VERSION, "kind": "Placement", "metadata": metadata, "spec": _filled(_spec(record))}


def plan_patch(record: PlacementRecord) -> Json:
    """The merge patch that writes the plan, over exactly the object that was read."""
    return {"metadata": _exactly(record), "spec": _spec(record)}


def status_patch(record: PlacementRecord, bound: int | None = None, wanted: int = 0) -> Json:
    """The merge patch of the status subresource, over exactly the object that was read.

    bound: members seen bound, for people to read; None: all that have a seat if the phase says so, else nobody counted.
    wanted: pods that the gang asks for, which count as long as none has a node.
    """
    return {"metadata": _exactly(record), "status": _status(record, bound, wanted)}


def bound_text(record: PlacementRecord, bound: int, wanted: int) -> str:
    """Members seen bound, of those that have a node; as long as none has, of those that the gang asks for."""
    return f"{bound}/{len(record.seats) or wanted}"


def read_placement(body: Mapping[str, Any]) -> PlacementRecord:
    """The record of an object. Raises InvalidRequest, in one line, for anything malformed.

    A plan whose attempt the status does not know yet is reserved, since when nobody knows; the reasons in the status
    are those of the step before.
    """
    doc = Document(body, _SOURCE)
    spec, status = doc.part("spec"), doc.part("status")
    attempt = spec.whole("attempt", 0, maximum=2**63 - 1)
    fresh = attempt > status.whole("attempt", 0, maximum=2**63 - 1)
    return PlacementRecord(
        namespace=doc.namespace,
        name=doc.name,
        gang=f"{doc.namespace}/{spec.text('gang')}",
        uid=doc.uid,
        resource_version=doc.text("metadata.resourceVersion", ""),
        owner=_read_owner(doc),
        seats=tuple(_read_seat(doc, entry) for entry in spec.parts("assignments")),
        left_out=spec.words("leftOut"),
        hand=_word(spec, "hand", Hand, Hand.GATE),
        attempt=attempt,
        planned_from=spec.whole("plannedFrom", 0, maximum=2**63 - 1),
        avoid=spec.words("avoid"),
        objective=tuple(_read_term(entry) for entry in spec.parts("objective")),
        phase=Phase.RESERVED if fresh else _word(status, "phase", Phase, Phase.PENDING),
        since=None if fresh else _read_time(status, "since"),
        released=_read_time(status, "released"),
        partial_since=_read_time(status, "partialSince"),
        failures=status.whole("failures", 0),
        not_before=_read_time(status, "notBefore"),
        reasons=() if fresh else tuple(_read_why(entry) for entry in status.parts("reasons")),
        conditions=tuple(_read_condition(entry) for entry in status.parts("conditions")),
    )


def _spec(record: PlacementRecord) -> Json:
    return {
        "gang": record.gang.partition("/")[2],
        "hand": record.hand.value,
        "attempt": record.attempt,
        "plannedFrom": record.planned_from,
        "avoid": list(record.avoid),
        "assignments": [_seat(seat) for seat in record.seats],
        "leftOut": list(record.left_out),
        "objective": [_term(term) for term in record.objective],
    }


def _status(record: PlacementRecord, bound: int | None, wanted: int) -> Json:
    if bound is None and record.phase is Phase.BOUND:
        bound = len(record.seats)
    return {
        "phase": record.phase.value,
        "attempt": record.attempt,
        "since": _time(record.since),
        "bound": None if bound is None else bound_text(record, bound, wanted),
        "released": _time(record.released),
        "partialSince": _time(record.partial_since),
        "failures": record.failures,
        "notBefore": _time(record.not_before),
        "reasons": [_why(why) for why in record.reasons[:_MOST_REASONS]],
        "conditions": [_condition(condition) for condition in record.conditions],
    }


def _exactly(record: PlacementRecord) -> Json:
    """A resource version is of one object only: another of the same name does not have it."""
    return {"resourceVersion": record.resource_version}


def _filled(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if value is not None}


def _owner(owner: Owner) -> Json:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}


def _read_owner(doc: Document) -> Owner | None:
    parts = doc.parts("metadata.ownerReferences")
    return Owner(*(parts[0].text(key) for key in ("apiVersion", "kind", "name", "uid"))) if parts else None


def _seat(seat: Seat) -> Json:
    return {"pod": seat.pod.partition("/")[2], "uid": seat.uid, "role": seat.role, "node": seat.node}


def _read_seat(doc: Document, entry: Fields) -> Seat:
    return Seat(f"{doc.namespace}/{entry.text('pod')}", entry.text("uid"), entry.text("role", ""), entry.text("node"))


def _term(term: TermValue) -> Json:
    bound = {} if term.bound is None else {"bound": exact_text(term.bound)}
    return {"term": term.term, "sense": term.sense.value, "value": exact_text(term.value), **bound}


def _read_term(entry: Fields) -> TermValue:
    bound = _read_exact(entry, "bound") if entry.has("bound") else None
    return TermValue(entry.text("term"), _word(entry, "sense", Sense), _read_exact(entry, "value"), bound)


def exact_text(value: Fraction) -> str:
    """The number without loss: a decimal such as 412.5 where there is one, else a fraction such as 1/3."""
    rest, fives, twos = value.denominator, 0, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    digits = max(fives, twos)
    if rest != 1 or digits > 18:
        return str(value)
    if not digits:
        return str(value.numerator)
    whole, part = divmod(abs(value.numerator) * 10**digits // value.denominator, 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{digits}}"


def _read_exact(entry: Fields, field: str) -> Fraction:
    text = entry.text(field)
    if not _EXACT.fullmatch(text) or text.endswith("/0"):
        raise entry.refuse(field, f"must be a decimal or a fraction, not {shown(text)}")
    return Fraction(text)


def _why(why: Why) -> Json:
    """A reason, with no more words than fit."""
    return {
        "code": why.code,
        "message": why.message[:_MOST_MESSAGE],
        "objects": list(why.objects[:_MOST_OBJECTS]),
        "numbers": dict(why.numbers),
    }


def _read_why(entry: Fields) -> Why:
    found = {key: _number(entry, key, value) for key, value in entry.mapping("numbers").items()}
    return Why(entry.text("code"), entry.text("message", ""), entry.words("objects"), found)


def _number(entry: Fields, key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise entry.refuse(f"numbers[{key}]", f"must be a whole number, not {shown(value)}")
    return value


def _condition(condition: Condition) -> Json:
    return {
        "type": condition.type,
        "status": "True" if condition.holds else "False",
        "reason": condition.reason,
        "message": condition.message[:_MOST_MESSAGE],
        "lastTransitionTime": _time(condition.since),
    }


def _read_condition(entry: Fields) -> Condition:
    since = _read_time(entry, "lastTransitionTime")
    if since is None:
        raise entry.refuse("lastTransitionTime", "is missing")
    holds = entry.text("status") == "True"
    return Condition(entry.text("type"), holds, entry.text("reason"), entry.text("message", ""), since)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_time(fields: Fields, field: str) -> datetime | None:
    text = fields.text(field, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise fields.refuse(field, f"{shown(text)} is not a time such as 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC)


def _word(fields: Fields, field: str, known: type[Word], default: Word | None = None) -> Word:
    text = fields.text(field) if default is None else fields.text(field, default.value)
    words: Iterable[str] = (word.value for word in known)
    if text not in words:
        raise fields.refuse(field, f"must be one of {', '.join(word.value for word in known)}, not {shown(text)}")
    return known(text)
