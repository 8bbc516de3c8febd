"""Pods hear why their gang waits: once, slowly, in the newest words, and by the condition that fits their scheduler."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from structlog.testing import capture_logs

from adapters.apply.telling_pods import MOST_AT_A_TIME, POD_PLACED, TellingPods
from adapters.kubernetes.api_errors import ApiError, NotFound
from adapters.kubernetes.placements import Phase, PlacementRecord, Why

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHY = Why("capacity", "the gang needs 8 GPUs; 1 eligible node has 4 free")
WAITS = PlacementRecord("ns", "g", "ns/g", phase=Phase.PENDING, reasons=(WHY,))


class FakeCalls:
    """Keeps what is written; refuses every patch, if so told."""

    def __init__(self, refusal: ApiError | None = None) -> None:
        self.refusal = refusal
        self.events: list[Mapping[str, Any]] = []
        self.patches: dict[str, Any] = {}

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.events.append(body)

    async def patch(self, path: str, body: Any, kind: str) -> None:
        assert kind == "strategic"
        if self.refusal is not None:
            raise self.refusal
        self.patches[path] = body


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that waits."""
    return {"metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}"}, "spec": spec, "status": {}}


def told(calls: FakeCalls, *news: tuple[PlacementRecord, list[dict[str, Any]]], rounds: int = 1) -> TellingPods:
    """All news come before any event is written."""

    async def tell() -> TellingPods:
        telling = TellingPods(calls, "me", lambda: NOW, pause_s=0)  # type: ignore[arg-type]
        for record, pods in news:
            telling.news(record, pods)
        for _ in range(rounds):
            await telling.round()
        return telling

    return asyncio.run(tell())


def conditions(calls: FakeCalls, name: str) -> dict[str, Any]:
    """By type, as written into a pod."""
    patch = calls.patches[f"/api/v1/namespaces/ns/pods/{name}/status"]
    assert patch["metadata"] == {"uid": f"uid-{name}"}
    return {each["type"]: each for each in patch["status"]["conditions"]}


def test_a_gated_pod_gets_a_condition_of_its_own_type_and_an_event() -> None:
    """`PodScheduled` of a gated pod is the API server's."""
    calls = FakeCalls()
    told(calls, (WAITS, [pod("a")]))
    found = conditions(calls, "a")
    assert set(found) == {POD_PLACED}
    assert (found[POD_PLACED]["status"], found[POD_PLACED]["message"]) == ("False", WHY.message)
    (event,) = calls.events
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "Waiting", f"gang g: {WHY.message}")
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "a", "uid": "uid-a"}


def test_where_huddle_is_the_scheduler_it_says_so_as_schedulers_do() -> None:
    """A reader of PodScheduled finds why the pod is unschedulable."""
    calls = FakeCalls()
    told(calls, (WAITS, [pod("a", schedulerName="huddle")]))
    found = conditions(calls, "a")
    assert (found["PodScheduled"]["reason"], found["PodScheduled"]["message"]) == ("Unschedulable", WHY.message)


def test_what_a_pod_says_already_is_not_said_again() -> None:
    """Nor is a pod told that was bound without ever having waited, or that is leaving."""
    calls = FakeCalls()
    told(calls, (WAITS, [pod("a")]))
    said = {**pod("a"), "status": {"conditions": list(conditions(calls, "a").values())}}
    leaving = pod("c")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    calls = FakeCalls()
    told(calls, (WAITS, [said, pod("b", nodeName="n"), leaving]))
    assert (calls.patches, calls.events) == ({}, [])


def test_a_pod_that_waited_hears_that_it_is_bound() -> None:
    """The condition turns, without an event; while the gang is on its way nothing is said."""
    calls = FakeCalls()
    told(calls, (WAITS, [pod("a")]))
    said = {**pod("a", nodeName="n"), "status": {"conditions": list(conditions(calls, "a").values())}}
    calls = FakeCalls()
    told(calls, (replace(WAITS, phase=Phase.RELEASING, reasons=()), [said]))
    assert calls.patches == {}
    told(calls, (replace(WAITS, phase=Phase.BOUND, reasons=()), [said]))
    assert conditions(calls, "a")[POD_PLACED]["status"] == "True"
    assert calls.events == []


def test_only_the_newest_word_is_said() -> None:
    """What was to be said before is dropped, also when the gang is on its way now."""
    calls, other = FakeCalls(), replace(WAITS, reasons=(replace(WHY, message="other words"),))
    told(calls, (WAITS, [pod("a")]), (other, [pod("a")]))
    assert conditions(calls, "a")[POD_PLACED]["message"] == "other words"
    calls = FakeCalls()
    told(calls, (WAITS, [pod("a")]), (replace(WAITS, phase=Phase.RESERVED, reasons=()), [pod("a")]))
    assert calls.patches == {}


def test_a_large_gang_does_not_keep_another_waiting() -> None:
    """So many of its pods are told, then it is the turn of others; in the end all are."""
    calls = FakeCalls()
    many = [pod(f"p{at}") for at in range(MOST_AT_A_TIME + 3)]
    small = replace(WAITS, gang="ns/small")
    told(calls, (WAITS, many), (small, [pod("s")]))
    assert len(calls.patches) == MOST_AT_A_TIME + 1
    told(calls, (WAITS, many), (small, [pod("s")]), rounds=2)
    assert len(calls.patches) == len(many) + 1


def test_a_pod_that_is_gone_is_no_problem() -> None:
    """Other refusals are logged, and the next pod gets its event."""
    with capture_logs() as logs:
        told(FakeCalls(NotFound(404, "NotFound", "gone")), (WAITS, [pod("a")]))
        assert logs == []
        told(FakeCalls(ApiError(403, "Forbidden", "no rights")), (WAITS, [pod("a"), pod("b")]))
    assert [line["event"] for line in logs] == ["could_not_tell"] * 2
