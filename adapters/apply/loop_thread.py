"""An event loop in a thread of its own, for what must not wait for anything else: Lease, pages, extender."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class LoopThread:
    """Runs coroutines in its own loop for a caller in another one. Use it as an asynchronous context manager, once."""

    def __init__(self, name: str) -> None:
        """name: of the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def __aenter__(self) -> "LoopThread":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what still runs there, and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    async def call(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run it there, to its end: who is cancelled here has it cancelled there, and waits until it has ended."""
        answer: Future[Answer] = Future()
        begun: list[asyncio.Task[Answer]] = []

        def begin() -> None:
            begun.append(self._loop.create_task(work))
            begun[0].add_done_callback(lambda task: _passed_on(task, answer))

        waiting = asyncio.wrap_future(answer)
        self._loop.call_soon_threadsafe(begin)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not waiting.done():
                self._loop.call_soon_threadsafe(lambda: begun[0].cancel())
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    waiting.exception()  # retrieved: the cancellation is raised instead
            raise

    @asynccontextmanager
    async def entered(self, made: AbstractAsyncContextManager[Answer]) -> AsyncIterator[Answer]:
        """A context that is entered and left there."""
        found = await self.call(_entering(made))
        try:
            yield found
        finally:
            await self.call(_leaving(made))

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


async def _entering(made: AbstractAsyncContextManager[Answer]) -> Answer:
    return await made.__aenter__()


async def _leaving(made: AbstractAsyncContextManager[Any]) -> None:
    await made.__aexit__(None, None, None)


def _passed_on(task: "asyncio.Task[Answer]", answer: "Future[Answer]") -> None:
    """Tell what came of a task."""
    if task.cancelled():
        answer.cancel()
        return
    error = task.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())
