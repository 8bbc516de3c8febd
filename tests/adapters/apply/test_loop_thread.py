"""A loop in a thread of its own, and how late loops are."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from adapters.apply.lag import WINDOW_S, Lag
from adapters.apply.loop_thread import LoopThread
from adapters.apply.metrics import Metrics
from adapters.apply.pages import pages


def test_work_runs_in_the_other_thread() -> None:
    """Answers and failures come back."""

    async def fails() -> None:
        raise LookupError("there")

    async def whose() -> str:
        return threading.current_thread().name

    async def story() -> None:
        async with LoopThread("other") as other:
            assert await other.call(whose()) == "other"
            with pytest.raises(LookupError, match="there"):
                await other.call(fails())

    asyncio.run(story())
    assert "other" not in {thread.name for thread in threading.enumerate()}


def test_who_is_cancelled_waits_for_the_end_there() -> None:
    """Work is cancelled in its own loop, and has ended before anything goes on here."""
    told: list[str] = []

    async def work(began: threading.Event) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            told.append("ended")

    async def story() -> None:
        async with LoopThread("other") as other:
            began = threading.Event()
            task = asyncio.create_task(other.call(work(began)))
            await asyncio.to_thread(began.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert told == ["ended"]

    asyncio.run(story())


def test_what_is_cancelled_there_is_cancelled_here() -> None:
    """A task that gives itself up does not keep anybody waiting."""

    async def gives_up() -> None:
        raise asyncio.CancelledError

    async def story() -> None:
        async with LoopThread("other") as other:
            with pytest.raises(asyncio.CancelledError):
                await other.call(gives_up())

    asyncio.run(story())


def test_contexts_are_entered_and_left_there() -> None:
    """By the other thread, also when the block fails."""
    told: list[tuple[str, str]] = []

    @asynccontextmanager
    async def made() -> AsyncIterator[int]:
        told.append(("entered", threading.current_thread().name))
        yield 7
        told.append(("left", threading.current_thread().name))

    async def fails(other: LoopThread) -> None:
        async with other.entered(made()) as found:
            assert found == 7
            raise ZeroDivisionError

    async def story() -> None:
        async with LoopThread("other") as other:
            with pytest.raises(ZeroDivisionError):
                await fails(other)

    asyncio.run(story())
    assert told == [("entered", "other"), ("left", "other")]


def test_the_front_answers_while_this_loop_is_busy() -> None:
    """Pages that another loop serves come while this one is held up, and say so."""
    asked = threading.Event()
    found: list[tuple[int, str]] = []
    lag = Lag()

    def ask(port: int) -> None:
        async def story() -> None:
            url = f"http://127.0.0.1:{port}/healthz"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                found.append((answer.status, await answer.text()))

        asyncio.run(story())
        asked.set()

    async def story() -> None:
        def ailments() -> list[str]:
            return ["stuck"] if lag.now_s > 0.05 else []

        async with LoopThread("front") as front:
            served = pages("127.0.0.1", 0, Metrics(), list, ailments)
            async with front.entered(served) as port:
                watching = asyncio.create_task(lag.run())
                await asyncio.sleep(0)
                time.sleep(0.6)  # nothing in this loop can go on meanwhile
                threading.Thread(target=ask, args=(port,)).start()
                assert asked.wait(30)
                watching.cancel()

    asyncio.run(story())
    assert found == [(503, "stuck\n")]


def test_lateness_is_remembered_for_a_while() -> None:
    """The most of the last minute; what is late now counts as well."""
    now = [0.0]
    lag = Lag(lambda: now[0])

    async def story() -> None:
        task = asyncio.create_task(lag.run())
        await asyncio.sleep(0)
        now[0] += 5.25
        assert lag.now_s == 5.0
        assert lag.most_s == 5.0
        while lag.now_s:
            await asyncio.sleep(0.01)
        assert lag.most_s == 5.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        now[0] += WINDOW_S + 1
        assert (lag.now_s, lag.most_s) == (0.0, 0.0)

    asyncio.run(story())


def test_lags_are_metrics() -> None:
    """One of each loop."""
    metrics = Metrics()
    metrics.lags = {"work": lambda: 1.5, "front": lambda: 0.0}
    page = metrics.page().decode()
    assert 'huddle_controller_loop_lag_seconds{loop="work"} 1.5' in page
    assert 'huddle_controller_loop_lag_seconds{loop="front"} 0.0' in page
