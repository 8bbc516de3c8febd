"""What is written into the cluster for people to read is printable, and the same each time it is written."""

import io
import json
from datetime import UTC, datetime

from adapters.apply.telling import event, warning
from adapters.kubernetes.placement_objects import new_placement, read_placement, status_patch
from adapters.kubernetes.placements import Condition, Phase, PlacementRecord, Why
from solver.domain.plan import Notice
from solver.service import logs
from solver.service.config import Logs
from support.unprintable import unprintable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "rack\x1b[31m\u202e\n\x9b\u200b"
SHOWN = "rack\\x1b[31m\\u202e\\n\\x9b\\u200b"
RECORD = PlacementRecord(
    "ns",
    "g",
    "ns/g",
    phase=Phase.REPAIRING,
    reasons=(Why("capacity", f"no room in {HOSTILE}", (HOSTILE,), {"free": 1}),),
    conditions=(Condition("Placed", False, "Waiting", f"no room in {HOSTILE}", NOW),),
)


def test_reasons_and_conditions_of_a_placement() -> None:
    """Escaped as they are made, so that what is read back equals what was written."""
    status = status_patch(RECORD)["status"]
    assert status["reasons"][0]["message"] == f"no room in {SHOWN}"
    assert status["reasons"][0]["objects"] == [SHOWN]
    assert status["conditions"][0]["message"] == f"no room in {SHOWN}"
    body = new_placement(RECORD)
    body["status"] = status
    body["metadata"]["resourceVersion"] = "1"
    back = read_placement(body)
    assert back.reasons == RECORD.reasons
    assert back.conditions == RECORD.conditions


def test_events() -> None:
    """Of what a Placement says, and of what the solver warns about."""
    assert event(RECORD, NOW, "me")["note"] == f"no room in {SHOWN}"
    notice = Notice("queue_unknown", "ns/g", "queue", f"queue {HOSTILE} is not in the input")
    assert warning(RECORD, notice, NOW, "me")["note"].endswith(f"queue {SHOWN} is not in the input")


def test_the_log() -> None:
    """JSON escapes by itself; a reader gets back what was said."""
    stream = io.StringIO()
    logs.configure(Logs(), stream)
    try:
        logs.always("told", gang=HOSTILE)
    finally:
        logs.reset()
    assert not unprintable(stream.getvalue())
    assert json.loads(stream.getvalue())["gang"] == HOSTILE
