"""A client of the service: domain values in, domain values out, without OR-Tools.

with Client(Access("127.0.0.1:50551")) as client:
answer = client.plan("prod", [gang])
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc

from solver.api.v1 import cluster_service_pb2 as cluster_pb
from solver.api.v1 import cluster_service_pb2_grpc as cluster_rpc
from solver.api.v1 import ledger_service_pb2 as ledger_pb
from solver.api.v1 import ledger_service_pb2_grpc as ledger_rpc
from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1 import placement_service_pb2_grpc as placement_rpc
from solver.domain.changes import Change
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise
from solver.service.access import Access
from solver.service.codec.ledger import decode_event, decode_promise
from solver.service.codec.snapshot import put_requests
from solver.service.codec.state import decode_description, decode_held, decode_outcome
from solver.service.feed import Synced
from solver.service.replies import Failed, error_of
from solver.service.requests import (
    Ask,
    DeltaNumbers,
    Explained,
    Improved,
    Planned,
    Reserved,
    explained,
    fresh_id,
    news,
    planned,
    question,
    reserve_request,
    reserved,
)
from solver.service.state import Applied, ClusterDescription, Held, Needed

_Answer = TypeVar("_Answer")


class Client:
    """A connection; any thread may call. Calls raise what `solver.service.replies` lists."""

    def __init__(self, access: Access) -> None:
        credentials = access.credentials
        if credentials is None:
            self._channel = grpc.insecure_channel(access.target, access.options)
        else:
            self._channel = grpc.secure_channel(access.target, credentials, access.options)
        self._access = access
        self._placement = placement_rpc.PlacementServiceStub(self._channel)
        self._cluster = cluster_rpc.ClusterServiceStub(self._channel)
        self._ledger = ledger_rpc.LedgerServiceStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def plan(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> Planned:
        """Plan gangs on a held cluster, by name, or on a state sent along."""
        ask = ask or Ask()
        return planned(self._call(self._placement.Plan, question(pb.PlanRequest, cluster, gangs, ask), ask.timeout_s))

    def plan_stream(
        self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None
    ) -> Iterator[Improved | Planned]:
        """The same, with better and better placements before the answer. Closing the iterator stops the search."""
        ask = ask or Ask()
        request = question(pb.PlanStreamRequest, cluster, gangs, ask)
        yield from self._stream(self._placement.PlanStream, request, news, ask.timeout_s)

    def explain(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> list[Explained]:
        """Why gangs cannot be placed."""
        ask = ask or Ask()
        request = question(pb.ExplainRequest, cluster, gangs, ask)
        return explained(self._call(self._placement.Explain, request, ask.timeout_s))

    def put_snapshot(self, cluster: str, base: str, snapshot: Snapshot, timeout_s: float = 30.0) -> Held:
        """Hold a snapshot under a cluster's name; later deltas name it by `base`."""
        pieces = put_requests(cluster, base, snapshot, self._access.piece_bytes)
        return decode_held(self._call(self._cluster.PutSnapshot, pieces, timeout_s))

    def deltas(self, cluster: str, base: str, last: int = 0) -> "DeltaStream":
        """A stream of changes to a held cluster. last: number of the last group that is in its state already."""
        return DeltaStream(self._cluster, self._access, DeltaNumbers(cluster, base, last))

    def get_state(self, cluster: str = "", timeout_s: float = 10.0) -> list[ClusterDescription]:
        """What is held, of one cluster or of all."""
        found = self._call(self._cluster.GetState, cluster_pb.GetStateRequest(cluster=cluster), timeout_s)
        return [decode_description(state) for state in found.clusters]

    def reserve(
        self,
        cluster: str,
        gang: Gang,
        assignments: Sequence[Assignment],
        state_version: int = 0,
        lease_s: float | None = None,
        request_id: str | None = None,
        timeout_s: float = 10.0,
    ) -> Reserved:
        """Promise the capacity of a plan. Raises Conflict when it does not fit any more."""
        request = reserve_request(cluster, gang, assignments, state_version, lease_s, request_id)
        return reserved(self._call(self._ledger.Reserve, request, timeout_s))

    def confirm(self, promise_id: str, request_id: str | None = None, timeout_s: float = 10.0) -> Promise:
        """Make a promise last until its pods are seen. Raises Conflict when it has ended."""
        request = ledger_pb.ConfirmRequest(request_id=request_id or fresh_id(), promise_id=promise_id)
        return decode_promise(self._call(self._ledger.Confirm, request, timeout_s).promise)

    def release(self, promise_id: str, request_id: str | None = None, timeout_s: float = 10.0) -> Promise:
        """Give back what is left of a promise."""
        request = ledger_pb.ReleaseRequest(request_id=request_id or fresh_id(), promise_id=promise_id)
        return decode_promise(self._call(self._ledger.Release, request, timeout_s).promise)

    def promises(self, cluster: str, gang: str = "", page_size: int = 0, timeout_s: float = 10.0) -> Iterator[Promise]:
        """Promises that hold capacity, page by page."""
        request = ledger_pb.ListRequest(cluster=cluster, gang=gang, page_size=page_size)
        while True:
            page = self._call(self._ledger.List, request, timeout_s)
            yield from map(decode_promise, page.promises)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, cluster: str) -> Iterator[Promise | Synced]:
        """Promises of a cluster, Synced, then every change, until the iterator is closed."""
        request = ledger_pb.WatchRequest(cluster=cluster)
        yield from self._stream(self._ledger.Watch, request, decode_event, None)

    def _call(self, method: Callable[..., _Answer], request: Any, timeout_s: float) -> _Answer:
        with translated():
            return method(request, timeout=timeout_s, metadata=self._access.metadata)

    def _stream(
        self, method: Callable[..., Any], request: Any, read: Callable[[Any], _Answer], timeout_s: float | None
    ) -> Iterator[_Answer]:
        call = method(request, timeout=timeout_s, metadata=self._access.metadata)
        try:
            with translated():
                for response in call:
                    yield read(response)
        finally:
            call.cancel()


class DeltaStream:
    """Changes of one cluster, sent group by group. Not for two threads at a time."""

    def __init__(self, stub: cluster_rpc.ClusterServiceStub, access: Access, numbers: DeltaNumbers) -> None:
        self._numbers = numbers
        self._outgoing: SimpleQueue[cluster_pb.ApplyDeltasRequest | None] = SimpleQueue()
        self._call = stub.ApplyDeltas(iter(self._outgoing.get, None), metadata=access.metadata)

    def __enter__(self) -> "DeltaStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, changes: Sequence[Change]) -> Applied | Needed:
        """Send one group, seen wholly or not at all, and wait for what became of it."""
        self._outgoing.put(self._numbers.next(changes))
        with translated():
            return decode_outcome(next(self._call))

    def close(self) -> None:
        """End the stream."""
        self._outgoing.put(None)
        self._call.cancel()


@contextmanager
def translated() -> Iterator[None]:
    """Failed calls inside become errors of the package."""
    try:
        yield
    except grpc.RpcError as failed:
        raise error_of(cast(Failed, failed)) from failed
