"""The client of the service for asyncio; see `solver.service.client` for what the calls mean."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from solver.domain.changes import Change
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise
from solver.service import requests
from solver.service.access import Access
from solver.service.client import stubs_of, translated
from solver.service.codec.snapshot import put_requests
from solver.service.codec.state import decode_outcome
from solver.service.feed import Synced
from solver.service.held import Applied, ClusterDescription, Held, Needed
from solver.service.requests import Ask, DeltaNumbers, Explained, Improved, Planned, Prepared, Reserved

_Heard = TypeVar("_Heard")


class AioClient:
    """A connection, for one event loop. Calls raise what `solver.service.replies` lists."""

    def __init__(self, access: Access) -> None:
        credentials = access.credentials
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(access.target, access.options)
        else:
            self._channel = grpc.aio.secure_channel(access.target, credentials, access.options)
        self._access = access
        self._stubs = stubs_of(self._channel)

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
        return await self._call(requests.plan(cluster, gangs, ask))

    def plan_stream(
        self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None
    ) -> AsyncIterator[Improved | Planned]:
        """The same, with better and better placements before the answer. Closing the iterator stops the search."""
        return self._stream(requests.plan_stream(cluster, gangs, ask))

    async def explain(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> list[Explained]:
        """Why gangs cannot be placed."""
        return await self._call(requests.explain(cluster, gangs, ask))

    async def put_snapshot(
        self, cluster: str, base: str, snapshot: Snapshot, timeout_s: float = 30.0, idle_limit_s: float = 0.0
    ) -> Held:
        """Hold a snapshot under a cluster's name; later deltas name it by `base`.

        idle_limit_s: the state may be forgotten after so many seconds in which nobody changes it or plans on it; 0: it
        is kept.
        """
        pieces = put_requests(cluster, base, snapshot, self._access.piece_bytes, idle_limit_s)
        return await self._call(requests.put_snapshot(pieces, timeout_s))

    def deltas(self, cluster: str, base: str, last: int = 0) -> "AioDeltaStream":
        """A stream of changes to a held cluster. last: number of the last group that is in its state already."""
        return AioDeltaStream(self._stubs["ClusterService"], self._access, DeltaNumbers(cluster, base, last))

    async def drop_cluster(self, cluster: str, timeout_s: float = 10.0) -> None:
        """Have the service forget the state of a cluster; promises stay. Unknown clusters are no error."""
        await self._call(requests.drop_cluster(cluster, timeout_s))

    async def get_state(self, cluster: str = "") -> list[ClusterDescription]:
        """What is held, of one cluster or of all."""
        return await self._call(requests.get_state(cluster))

    async def reserve(
        self,
        cluster: str,
        gang: Gang,
        assignments: Sequence[Assignment],
        state_version: int = 0,
        lease_s: float | None = None,
        request_id: str | None = None,
    ) -> Reserved:
        """Promise the capacity of a plan. Raises Conflict when it does not fit any more."""
        return await self._call(requests.reserve(cluster, gang, assignments, state_version, lease_s, request_id))

    async def confirm(self, promise_id: str, request_id: str | None = None) -> Promise:
        """Make a promise last until its pods are seen. Raises Conflict when it has ended."""
        return await self._call(requests.confirm(promise_id, request_id))

    async def release(self, promise_id: str, request_id: str | None = None) -> Promise:
        """Give back what is left of a promise."""
        return await self._call(requests.release(promise_id, request_id))

    async def promises(self, cluster: str, gang: str = "", page_size: int = 0) -> AsyncIterator[Promise]:
        """Promises that hold capacity, fetched page by page."""
        token = ""
        while True:
            page, token = await self._call(requests.promises(cluster, gang, page_size, token))
            for promise in page:
                yield promise
            if not token:
                return

    def watch(self, cluster: str) -> AsyncIterator[Promise | Synced]:
        """Promises of a cluster, Synced, then every change, until the iterator is closed."""
        return self._stream(requests.watch(cluster))

    async def _call(self, prepared: Prepared[_Heard]) -> _Heard:
        method = getattr(self._stubs[prepared.service], prepared.method)
        with translated():
            call = method(prepared.request, timeout=prepared.timeout_s, metadata=self._access.metadata)
            return prepared.read(await call)

    async def _stream(self, prepared: Prepared[_Heard]) -> AsyncIterator[_Heard]:
        method = getattr(self._stubs[prepared.service], prepared.method)
        call = method(prepared.request, timeout=prepared.timeout_s, metadata=self._access.metadata)
        try:
            with translated():
                async for response in call:
                    yield prepared.read(response)
        finally:
            call.cancel()


class AioDeltaStream:
    """Changes of one cluster, sent group by group, one after the other."""

    def __init__(self, stub: Any, access: Access, numbers: DeltaNumbers) -> None:
        self._numbers = numbers
        self._call = stub.ApplyDeltas(metadata=access.metadata)

    async def __aenter__(self) -> "AioDeltaStream":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()

    async def send(self, changes: Sequence[Change]) -> Applied | Needed:
        """Send one group, seen wholly or not at all, and wait for what became of it."""
        with translated():
            await self._call.write(self._numbers.next(changes))
            return decode_outcome(await self._call.read())
