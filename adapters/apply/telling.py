"""What people are told: events, and the condition on the Gang. Nothing depends on them: what fails is left out."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from adapters.apply.noticing import told
from adapters.apply.outcome import PLACED, sentence, word
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

_log = structlog.get_logger("huddle.apply")


class Telling:
    """Tells of Placements. instance: who tells, such as the name of the pod."""

    def __init__(self, calls: Calls, instance: str) -> None:
        self._calls, self._instance = calls, instance

    async def tell(self, record: PlacementRecord, now: datetime, gang: Mapping[str, Any] | None) -> None:
        """Tell what a Placement says now. gang: the object of Huddle's own kind that stands for it, if there is one."""
        try:
            path = f"/apis/events.k8s.io/v1/namespaces/{record.namespace}/events"
            await self._create_once(path, event(record, now, self._instance))
            condition = placed_condition(record)
            if gang is not None and condition is not None and not _says(gang, condition):
                metadata = gang["metadata"]
                path = GANGS.path(record.namespace, metadata["name"], "status")
                patch = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}}
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

    async def _create_once(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object of a name that nobody else would give; the answer to an earlier try may have got lost."""
        try:
            await self._calls.create(path, body)
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise


def event(record: PlacementRecord, now: datetime, instance: str) -> dict[str, Any]:
    """The event about what a Placement says now."""
    kind = "Warning" if record.phase in _WARNINGS else "Normal"
    return _event(record, now, instance, word(record), sentence(record), kind)


def warning(record: PlacementRecord, notice: Notice, now: datetime, instance: str) -> dict[str, Any]:
    """The event about what its reader, or the solver besides its plan, has to say of the gang."""
    reason = "".join(part.capitalize() for part in notice.code.split("_"))
    return _event(record, now, instance, reason, told(notice), "Warning")


def _event(record: PlacementRecord, now: datetime, instance: str, reason: str, note: str, kind: str) -> dict[str, Any]:
    note, moment = printable(note), now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    regarding = {"apiVersion": API_VERSION, "kind": "Placement", "name": record.name, "uid": record.uid}
    if record.owner:
        owner = record.owner
        regarding = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{record.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": record.namespace},
        "eventTime": moment,
        "reportingController": _CONTROLLER,
        "reportingInstance": instance[:128],
        "action": "Placing",
        "reason": reason,
        "regarding": {**regarding, "namespace": record.namespace},
        "note": note if len(note) <= _LONGEST_NOTE else f"{note[: _LONGEST_NOTE - 1]}…",
        "type": kind,
    }


def placed_condition(record: PlacementRecord) -> dict[str, Any] | None:
    """The Placement's condition `Placed`, as the Gang carries it too."""
    found = next((condition for condition in record.conditions if condition.type == PLACED), None)
    if found is None:
        return None
    return {
        "type": PLACED,
        "status": "True" if found.holds else "False",
        "reason": found.reason,
        "message": found.message,
        "lastTransitionTime": found.since.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _says(gang: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    return condition in ((gang.get("status") or {}).get("conditions") or ())
