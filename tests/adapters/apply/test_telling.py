"""Events and the condition of a Gang: told once, and what is gone need not be told."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.apply.outcome import PLACED
from adapters.apply.telling import Telling, event, gang_status
from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound
from adapters.kubernetes.placements import Condition, Phase, PlacementRecord, Why
from solver.domain.plan import Notice

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = PlacementRecord(
    "ns", "g", "ns/g", phase=Phase.BOUND, conditions=(Condition(PLACED, True, "Bound", "every pod is bound", NOW),)
)
GANG = {"metadata": {"name": "g", "uid": "u"}}


class FakeCalls:
    """Takes events, unless told otherwise; patches are refused, if so told."""

    def __init__(self, refusal: ApiError | None = None, at_events: ApiError | None = None) -> None:
        self.refusal, self.at_events = refusal, at_events
        self.events: list[Mapping[str, Any]] = []
        self.patches: list[tuple[str, Any]] = []

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.events.append(body)
        if self.at_events is not None:
            raise self.at_events

    async def patch(self, path: str, body: Any) -> None:
        self.patches.append((path, body))
        if self.refusal is not None:
            raise self.refusal


def told(calls: FakeCalls, gang: Mapping[str, Any] | None = GANG) -> list[Any]:
    """Tell of the record; what is logged about it."""
    with capture_logs() as logs:
        asyncio.run(Telling(calls, "me").tell(RECORD, NOW, gang))  # type: ignore[arg-type]
    return logs


def test_event_and_condition() -> None:
    """Both say the same; exactly this Gang is patched."""
    calls = FakeCalls()
    assert told(calls) == []
    ((path, patch),) = calls.patches
    assert path == "/apis/huddle.scheduler/v1alpha1/namespaces/ns/gangs/g/status"
    assert patch["metadata"] == {"uid": "u"}
    (condition,) = patch["status"]["conditions"]
    assert condition["message"] == calls.events[0]["note"] == "every pod is bound"


def test_what_it_says_already_is_not_said_again() -> None:
    """A Gang that carries the condition is left alone."""
    calls = FakeCalls()
    told(calls)
    told(calls, {**GANG, "status": calls.patches[0][1]["status"]})
    assert len(calls.patches) == 1


@pytest.mark.parametrize("refusal", [NotFound(404, "NotFound", "gone"), Conflict(409, "Conflict", "another uid")])
def test_a_gang_that_is_gone_is_no_problem(refusal: ApiError) -> None:
    """It was deleted meanwhile, perhaps made anew: nobody has to hear that it could not be told."""
    assert told(FakeCalls(refusal)) == []


def test_other_refusals_are_logged() -> None:
    """Missing rights show in the log, and nothing else comes of them."""
    (line,) = told(FakeCalls(ApiError(403, "Forbidden", "no rights")))
    assert line["event"] == "could_not_tell"
    assert line["gang"] == "ns/g"


def test_an_event_that_is_there_already_was_told() -> None:
    """The answer to the first try got lost; a conflict of another kind is logged."""
    assert told(FakeCalls(at_events=Conflict(409, "AlreadyExists", "it exists"))) == []
    assert len(told(FakeCalls(at_events=Conflict(409, "Conflict", "made to fail")))) == 1


def test_doubts_about_a_gang_are_warnings() -> None:
    """One event for each notice, about what stands for the gang, in the words of the solver; only so many."""
    notice = Notice("requests_nothing", "ns/g", "role w", "asks for nothing")
    calls = FakeCalls()
    asyncio.run(Telling(calls, "me").warn(RECORD, [notice] * 20, NOW))  # type: ignore[arg-type]
    assert len(calls.events) == 16
    said = calls.events[0]
    assert (said["type"], said["reason"], said["note"]) == ("Warning", "RequestsNothing", "role w: asks for nothing")
    assert said["regarding"]["name"] == "g"


def test_doubts_that_cannot_be_told_are_logged() -> None:
    """An answer other than "it exists" is no reason to stop."""
    refused = ApiError(500, "InternalError", "no")
    with capture_logs() as logs:
        notice = Notice("no_accelerator", "ns/g", "role w", "words")
        asyncio.run(Telling(FakeCalls(at_events=refused), "me").warn(RECORD, [notice], NOW))  # type: ignore[arg-type]
    assert [entry["event"] for entry in logs] == ["could_not_tell"]


WAITS = Why("capacity", "the gang needs 8 GPUs; 1 eligible node has 4 free", ("ns/g",), {"needed": 8, "free": 4})
LACKS = Why("pods_missing", "2 pods do not exist yet: 2 of decode", (), {"missing": 2})


@pytest.mark.parametrize(
    ("phase", "reasons", "kind"),
    [
        (Phase.PENDING, (WAITS,), "Warning"),
        (Phase.PENDING, (LACKS,), "Normal"),
        (Phase.PENDING, (LACKS, WAITS), "Warning"),
        (Phase.RESERVED, (), "Normal"),
        (Phase.BOUND, (), "Normal"),
        (Phase.REPAIRING, (LACKS,), "Warning"),
        (Phase.EVICTING, (), "Warning"),
    ],
)
def test_what_is_wrong_is_a_warning(phase: Phase, reasons: tuple[Why, ...], kind: str) -> None:
    """Not while pods are on their way, nor while all goes well."""
    assert event(replace(RECORD, phase=phase, reasons=reasons), NOW, "me")["type"] == kind


def test_the_gang_says_how_it_stands() -> None:
    """Phase, pods bound and the reason, which goes with the step it belongs to; the condition is in the same words."""
    waits = (Condition(PLACED, False, "Waiting", LACKS.message, NOW),)
    pending = replace(RECORD, phase=Phase.PENDING, reasons=(LACKS,), conditions=waits)
    said = gang_status(pending, "0/3")
    assert (said["phase"], said["bound"], said["reason"]) == ("Pending", "0/3", LACKS.message)
    reserved = gang_status(replace(pending, phase=Phase.RESERVED, reasons=()), "0/3")
    assert (reserved["phase"], reserved["reason"]) == ("Reserved", None)
    (condition,) = reserved["conditions"]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "False", "Reserved", "every pod has a node",
    )  # fmt: skip
