"""The client of the service for asyncio; see `solver.service.client` for what the calls mean."""

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1 import placement_service_pb2_grpc as placement_rpc
from solver.domain.gang import Gang
from solver.domain.snapshot import Snapshot
from solver.service.access import Access
from solver.service.client import translated
from solver.service.requests import Ask, Explained, Improved, Planned, explained, news, planned, question

_Answer = TypeVar("_Answer")


class AioClient:
    """A connection, for one event loop. Calls raise what `solver.service.replies` lists."""

    def __init__(self, access: Access) -> None:
        credentials = access.credentials
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(access.target, access.options)
        else:
            self._channel = grpc.aio.secure_channel(access.target, credentials, access.options)
        self._access = access
        # The generated stubs serve both kinds of channel; their types know one.
        self._placement = cast(Any, placement_rpc.PlacementServiceStub(cast(grpc.Channel, self._channel)))

    async def __aenter__(self) -> "AioClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and every call on it."""
        await self._channel.close()

    async def plan(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> Planned:
        """Plan gangs on a held cluster, by name, or on a state sent along."""
        ask = ask or Ask()
        request = question(pb.PlanRequest, cluster, gangs, ask)
        return planned(await self._call(self._placement.Plan, request, ask.timeout_s))

    async def plan_stream(
        self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None
    ) -> AsyncIterator[Improved | Planned]:
        """The same, with better and better placements before the answer. Closing the iterator stops the search."""
        ask = ask or Ask()
        request = question(pb.PlanStreamRequest, cluster, gangs, ask)
        async for found in self._stream(self._placement.PlanStream, request, news, ask.timeout_s):
            yield found

    async def explain(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> list[Explained]:
        """Why gangs cannot be placed."""
        ask = ask or Ask()
        request = question(pb.ExplainRequest, cluster, gangs, ask)
        return explained(await self._call(self._placement.Explain, request, ask.timeout_s))

    async def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        with translated():
            return await method(request, timeout=timeout_s, metadata=self._access.metadata)

    async def _stream(
        self, method: Any, request: Any, read: Callable[[Any], _Answer], timeout_s: float | None
    ) -> AsyncIterator[_Answer]:
        call = method(request, timeout=timeout_s, metadata=self._access.metadata)
        try:
            with translated():
                async for response in call:
                    yield read(response)
        finally:
            call.cancel()
