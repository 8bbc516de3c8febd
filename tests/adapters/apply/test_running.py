"""The pieces that a controller runs on: works side by side, calls that are finished, scope, metrics, pages."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import aiohttp
import pytest

from adapters.apply.finishing import Finishing
from adapters.apply.first_of import first_of
from adapters.apply.metrics import Metrics
from adapters.apply.pages import pages
from adapters.apply.scope import ScopedSubscription
from adapters.kubernetes.api_errors import ApiError, Conflict
from adapters.kubernetes.mirror import News, Subscription
from adapters.kubernetes.placements import Phase
from adapters.kubernetes.resources import PLACEMENTS
from solver.domain.errors import SourceUnavailable


class Slow:
    """Calls that end when they are told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.fails = False

    async def call(self, name: str) -> dict[str, Any]:
        """Any call."""
        self.begun.append(name)
        await self.go.wait()
        self.ended.append(name)
        if self.fails:
            raise Conflict(409, "Conflict", name)
        return {"name": name}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Coroutine[Any, Any, dict[str, Any]]:
        """GET."""
        return self.call(path)

    def create(self, path: str, *_: Any) -> Coroutine[Any, Any, dict[str, Any]]:
        """POST."""
        return self.call(path)

    patch = delete = create

    async def bind(self, namespace: str, pod: str, node: str, uid: str, resource_version: str | None = None) -> None:
        """Bind."""
        await self.call(pod)

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict."""
        await self.call(pod)


def test_what_was_begun_is_finished() -> None:
    """Who asked is cancelled, the call is not; at the end it is waited for, and nothing new begins."""

    async def story() -> None:
        slow = Slow()
        calls = Finishing(slow)
        asked = [asyncio.create_task(work) for work in (calls.create("c", {}), calls.bind("ns", "b", "n", "u"))]
        question = asyncio.create_task(calls.get("g"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in (*asked, question):
            task.cancel()
        await asyncio.gather(*asked, question, return_exceptions=True)
        ends = asyncio.create_task(calls.finish(30))
        await asyncio.sleep(0)
        assert slow.ended == []
        with pytest.raises(ApiError, match="the controller is ending"):
            await calls.patch("p", {})
        slow.go.set()
        assert await ends
        assert sorted(slow.begun) == ["b", "c", "g"]
        assert sorted(slow.ended) == ["b", "c"]

    asyncio.run(story())


def test_answers_and_failures_come_back() -> None:
    """As from the calls themselves."""

    async def story() -> None:
        slow = Slow()
        slow.go.set()
        calls = Finishing(slow)
        assert await calls.create("c", {}) == {"name": "c"}
        assert await calls.delete("d") == {"name": "d"}
        slow.fails = True
        with pytest.raises(Conflict):
            await calls.evict("ns", "e", "u")
        assert await calls.finish(1)

    asyncio.run(story())


def test_calls_that_never_end_are_given_up() -> None:
    """After the limit, and it is told."""

    async def story() -> None:
        calls = Finishing(Slow())
        asked = asyncio.create_task(calls.create("c", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not await calls.finish(0.01)
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(story())


def test_the_first_ends_all() -> None:
    """The others are cancelled and waited for; a failure is raised."""
    told: list[str] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append(name)

    async def fails() -> None:
        raise SourceUnavailable("no more")

    asyncio.run(first_of(forever("a"), asyncio.sleep(0), forever("b")))
    assert sorted(told) == ["a", "b"]
    with pytest.raises(SourceUnavailable, match="no more"):
        asyncio.run(first_of(forever("c"), fails()))
    assert told[2:] == ["c"]


def test_news_of_other_namespaces() -> None:
    """Gangs of others are left out; that there is room matters all the same."""

    async def story() -> list[News]:
        whole = Subscription()
        scoped = ScopedSubscription(whole, lambda keys: frozenset(key for key in keys if key.startswith("a/")))
        heard = []
        for gangs, room in (({"a/g", "b/g"}, False), ({"b/g"}, True)):
            whole.tell(News(frozenset(gangs), room))
            heard.append(await scoped.next())
        whole.tell(News(frozenset({"b/h"}), False))
        asked = asyncio.create_task(scoped.next())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not asked.done()
        whole.tell(News(frozenset({"a/h"}), False))
        heard.append(await asked)
        return heard

    heard = asyncio.run(story())
    assert heard == [News(frozenset(gangs), room) for gangs, room in (({"a/g"}, False), ((), True), ({"a/h"}, False))]


def test_metrics() -> None:
    """Everything that is reported is counted, and Placements are counted when somebody asks."""
    metrics = Metrics()
    metrics.everything = lambda resource: {
        (resource.plural, name): {"status": {"phase": phase}} for name, phase in {"a": "Bound", "b": None}.items()
    }
    metrics.leads = lambda: True
    metrics.phase("ns/g", None, Phase.RESERVED)
    metrics.phase("ns/g", Phase.RESERVED, Phase.RESERVED)
    metrics.phase("ns/g", Phase.RESERVED, None)
    metrics.solved(3, 2, 0.01)
    metrics.bound("ns/g", 4, 1.5)
    metrics.bound("ns/h", 4, None)
    metrics.given_back("ns/g", 2)
    metrics.failed("ns/g", "no")
    page = metrics.page().decode()
    for line in (
        'placement_phases_total{phase="Reserved"} 1.0',
        'gangs_planned_total{outcome="placed"} 2.0',
        'gangs_planned_total{outcome="not_placed"} 1.0',
        "gangs_bound_total 2.0",
        "gang_wait_seconds_count 1.0",
        "pods_given_back_total 2.0",
        "failures_total 1.0",
        "leads 1.0",
        'placements{phase="Bound"} 1.0',
        'placements{phase="Pending"} 1.0',
        'placements{phase="Evicting"} 0.0',
    ):
        assert f"huddle_controller_{line}" in page
    assert str(PLACEMENTS) == "placements.huddle.scheduler"


def test_pages() -> None:
    """Health, readiness with its obstacles, metrics; an address that is taken is told in one sentence."""
    obstacles = ["not yet"]

    async def story() -> list[tuple[int, str]]:
        answers = []
        async with (
            pages("127.0.0.1", 0, Metrics(), lambda: obstacles) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            for path in ("/healthz", "/readyz", "/metrics", "/nothing"):
                async with session.get(path) as answer:
                    answers.append((answer.status, await answer.text()))
            obstacles.clear()
            async with session.get("/readyz") as answer:
                answers.append((answer.status, await answer.text()))
            with pytest.raises(SourceUnavailable, match=f"--listen 127.0.0.1:{port}: "):
                async with pages("127.0.0.1", port, Metrics(), list):
                    pass
        return answers

    health, unready, metrics, nothing, ready = asyncio.run(story())
    assert (health, unready, ready) == ((200, "ok\n"), (503, "not yet\n"), (200, "ok\n"))
    assert metrics[0] == 200
    assert "huddle_controller_leads 0.0" in metrics[1]
    assert nothing[0] == 404
