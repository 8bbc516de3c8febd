"""Calls that a cancelled caller does not cut short: what was begun is waited for at the end, nothing new begins."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Literal, TypeVar

from adapters.apply.writes import Calls, Json
from adapters.kubernetes.api_errors import ApiError

Answer = TypeVar("Answer")


class Finishing:
    """The calls of another, each finished once it has begun, until `finish`. In one event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._running: set[asyncio.Task[Any]] = set()
        self._is_over = False

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """An object; a question may be cut short."""
        return await self._calls.get(path, query)

    async def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> Json:
        """POST."""
        return await self._finished(self._calls.create(path, body, query))

    async def patch(
        self,
        path: str,
        body: Any,
        kind: Literal["merge", "json", "strategic", "apply"] = "merge",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """PATCH."""
        return await self._finished(self._calls.patch(path, body, kind, query))

    async def delete(
        self, path: str, uid: str | None = None, resource_version: str | None = None, grace_s: int | None = None
    ) -> Json:
        """DELETE."""
        return await self._finished(self._calls.delete(path, uid, resource_version, grace_s))

    async def bind(self, namespace: str, pod: str, node: str, uid: str, resource_version: str | None = None) -> None:
        """Bind a pod to a node."""
        await self._finished(self._calls.bind(namespace, pod, node, uid, resource_version))

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict a pod."""
        await self._finished(self._calls.evict(namespace, pod, uid, grace_s))

    async def finish(self, limit_s: float) -> bool:
        """Begin nothing more and wait for what is under way; whether all of it ended in time."""
        self._is_over = True
        if not self._running:
            return True
        _, late = await asyncio.wait(self._running, timeout=limit_s)
        for task in late:
            task.cancel()
        return not late

    async def _finished(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if self._is_over:
            work.close()
            raise ApiError(0, "Ending", "the controller is ending")
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; what it was is told to who still waits
