"""What people are told of gangs: events, and the status of the Gang. Nothing depends on it: what fails is left out."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from adapters.apply.noticing import told
from adapters.apply.outcome import PLACED, sentence, word
from adapters.apply.overcommits import Overcommit
from adapters.apply.writes import Calls
from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound
from adapters.kubernetes.placement_objects import API_VERSION
from adapters.kubernetes.placements import Phase, PlacementRecord
from adapters.kubernetes.resources import GANGS
from solver.domain.plan import Notice
from solver.domain.printable import printable

_CONTROLLER = "huddle.scheduler/controller"
_LONGEST_NOTE = 1024
_MOST_WARNINGS = 16
_WARNINGS = (Phase.REPAIRING, Phase.EVICTING)
#: Reasons to wait with which nothing is wrong: pods are still on their way.
_IN_ORDER = frozenset({"pods_missing", "gathering"})
_LONGEST_REASON = 4096

_log = structlog.get_logger("huddle.apply")


class Telling:
    """Tells of Placements. instance: who tells, such as the name of the pod."""

    def __init__(self, calls: Calls, instance: str) -> None:
        self._calls, self._instance = calls, instance

    async def tell(
        self, record: PlacementRecord, now: datetime, gang: Mapping[str, Any] | None, bound: str = ""
    ) -> None:
        """Tell what a Placement says now.

        gang: the object of Huddle's own kind that stands for it, if there is one. bound: how many are, of how many.
        """
        try:
            path = f"/apis/events.k8s.io/v1/namespaces/{record.namespace}/events"
            await self._create_once(path, event(record, now, self._instance))
            status = gang_status(record, bound)
            if gang is not None and not _says(gang, status):
                metadata = gang["metadata"]
                path = GANGS.path(record.namespace, metadata["name"], "status")
                patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
                with suppress(NotFound, Conflict):  # it is gone, or what has its name now is another one
                    await self._calls.patch(path, patch)
        except ApiError as error:
            _log.warning("could_not_tell", gang=record.gang, problem=str(error))

    async def warn(self, record: PlacementRecord, notices: Sequence[Notice], now: datetime) -> None:
        """Tell what is doubtful about a gang that was planned."""
        path = f"/apis/events.k8s.io/v1/namespaces/{record.namespace}/events"
        try:
            for notice in notices[:_MOST_WARNINGS]:
                await self._create_once(path, warning(record, notice, now, self._instance))
        except ApiError as error:
            _log.warning("could_not_tell", gang=record.gang, problem=str(error))

    async def overcommitted(self, found: Overcommit, now: datetime) -> None:
        """Tell the pod that came last to a node of which more is bound than it has, whatever scheduled it."""
        namespace, _, name = found.pod.partition("/")
        regarding = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": found.uid}
        body = event_about(regarding, now, self._instance, "NodeOvercommitted", found.message, "Warning")
        try:
            await self._create_once(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body)
        except ApiError as error:
            _log.warning("could_not_tell", pod=found.pod, problem=str(error))

    async def _create_once(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object of a name that nobody else would give; the answer to an earlier try may have got lost."""
        try:
            await self._calls.create(path, body)
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise


def event(record: PlacementRecord, now: datetime, instance: str) -> dict[str, Any]:
    """The event about what a Placement says now."""
    kind = "Warning" if is_wrong(record) else "Normal"
    return _event(record, now, instance, word(record), sentence(record), kind)


def is_wrong(record: PlacementRecord) -> bool:
    """Whether a person should look at it: not while it goes on, nor while pods are still on their way."""
    return record.phase in _WARNINGS or any(why.code not in _IN_ORDER for why in record.reasons)


def warning(record: PlacementRecord, notice: Notice, now: datetime, instance: str) -> dict[str, Any]:
    """The event about what its reader, or the solver besides its plan, has to say of the gang."""
    reason = "".join(part.capitalize() for part in notice.code.split("_"))
    return _event(record, now, instance, reason, told(notice), "Warning")


def _event(record: PlacementRecord, now: datetime, instance: str, reason: str, note: str, kind: str) -> dict[str, Any]:
    regarding = {"apiVersion": API_VERSION, "kind": "Placement", "name": record.name, "uid": record.uid}
    if record.owner:
        owner = record.owner
        regarding = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return event_about({**regarding, "namespace": record.namespace}, now, instance, reason, note, kind)


def event_about(
    regarding: Mapping[str, str], now: datetime, instance: str, reason: str, note: str, kind: str
) -> dict[str, Any]:
    """An event. regarding: apiVersion, kind, namespace, name and uid of what it is about. kind: Normal or Warning."""
    note, moment = printable(note), now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    name = f"{regarding['name'][:200]}.{uuid.uuid4().hex[:16]}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": regarding["namespace"]},
        "eventTime": moment,
        "reportingController": _CONTROLLER,
        "reportingInstance": instance[:128],
        "action": "Placing",
        "reason": reason,
        "regarding": dict(regarding),
        "note": note if len(note) <= _LONGEST_NOTE else f"{note[: _LONGEST_NOTE - 1]}…",
        "type": kind,
    }


def gang_status(record: PlacementRecord, bound: str) -> dict[str, Any]:
    """What the Gang says of its Placement."""
    condition = placed_condition(record)
    return {
        **({"conditions": [condition]} if condition else {}),
        "phase": record.phase.value,
        "bound": bound or None,
        "reason": sentence(record)[:_LONGEST_REASON] if record.reasons else None,
    }


def placed_condition(record: PlacementRecord) -> dict[str, Any] | None:
    """The Placement's condition `Placed`, as the Gang carries it too, in the words of the phase it is in now."""
    found = next((condition for condition in record.conditions if condition.type == PLACED), None)
    if found is None:
        return None
    return {
        "type": PLACED,
        "status": "True" if found.holds else "False",
        "reason": word(record),
        "message": sentence(record)[:_LONGEST_REASON],
        "lastTransitionTime": found.since.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _says(gang: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    said = gang.get("status") or {}
    return all(said.get(name) == value for name, value in status.items())
