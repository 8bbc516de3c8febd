"""A client of the service: domain values in, domain values out, without OR-Tools.

with Client(Access("127.0.0.1:50551")) as client:
    answer = client.plan("prod", [gang])
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc

from solver.api.v1 import cluster_service_pb2 as cluster_pb
from solver.api.v1 import cluster_service_pb2_grpc as cluster_rpc
from solver.api.v1 import ledger_service_pb2_grpc as ledger_rpc
from solver.api.v1 import placement_service_pb2_grpc as placement_rpc
from solver.domain.budget import Stop
from solver.domain.changes import Change
from solver.domain.errors import SourceUnavailable
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise
from solver.service import requests
from solver.service.access import Access
from solver.service.codec.snapshot import put_requests
from solver.service.codec.state import decode_outcome
from solver.service.feed import Synced
from solver.service.held import Applied, ClusterDescription, Held, Needed
from solver.service.replies import Cancelled, Failed, error_of
from solver.service.requests import Ask, DeltaNumbers, Explained, Improved, Planned, Prepared, Reserved

_Heard = TypeVar("_Heard")

#: So often somebody who may say stop is asked, in seconds.
_LOOK_S = 0.02


class Client:
    """A connection; any thread may call. Calls raise what `solver.service.replies` lists."""

    def __init__(self, access: Access) -> None:
        credentials = access.credentials
        if credentials is None:
            self._channel = grpc.insecure_channel(access.target, access.options)
        else:
            self._channel = grpc.secure_channel(access.target, credentials, access.options)
        self._access = access
        self._stubs = stubs_of(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def plan(
        self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None, stop: Stop | None = None
    ) -> Planned:
        """Plan gangs on a held cluster, by name, or on a state sent along. stop: cancels the call."""
        return self._call(requests.plan(cluster, gangs, ask), stop)

    def plan_stream(
        self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None, stop: Stop | None = None
    ) -> Iterator[Improved | Planned]:
        """The same, with better and better placements before the answer. Closing the iterator stops the search.

        stop: cancels the call.
        """
        return self._stream(requests.plan_stream(cluster, gangs, ask), stop)

    def explain(self, cluster: str | Snapshot, gangs: Sequence[Gang], ask: Ask | None = None) -> list[Explained]:
        """Why gangs cannot be placed."""
        return self._call(requests.explain(cluster, gangs, ask))

    def put_snapshot(
        self,
        cluster: str,
        base: str,
        snapshot: Snapshot,
        timeout_s: float = 30.0,
        stop: Stop | None = None,
        idle_limit_s: float = 0.0,
    ) -> Held:
        """Hold a snapshot under a cluster's name; later deltas name it by `base`.

        stop: cancels the call. idle_limit_s: the state may be forgotten after so many seconds in which nobody changes
        it or plans on it; 0: it is kept.
        """
        pieces = put_requests(cluster, base, snapshot, self._access.piece_bytes, idle_limit_s)
        return self._call(requests.put_snapshot(pieces, timeout_s), stop)

    def apply(
        self, group: cluster_pb.ApplyDeltasRequest, timeout_s: float, stop: Stop | None = None
    ) -> Applied | Needed:
        """Send one group of changes, as `DeltaNumbers` makes it, in a call of its own. stop: cancels the call."""
        stub = self._stubs["ClusterService"]
        call = stub.ApplyDeltas(iter([group]), timeout=timeout_s, metadata=self._access.metadata)
        with translated(), _cancelling(call, stop):
            outcome = _outcome(call)
            for _ in call:  # to its end: a call that is left alone counts as cancelled
                pass
            return outcome

    def drop_cluster(self, cluster: str, timeout_s: float = 10.0) -> None:
        """Have the service forget the state of a cluster; promises stay. Unknown clusters are no error."""
        self._call(requests.drop_cluster(cluster, timeout_s))

    def deltas(self, cluster: str, base: str, last: int = 0) -> "DeltaStream":
        """A stream of changes to a held cluster. last: number of the last group that is in its state already."""
        return DeltaStream(self._stubs["ClusterService"], self._access, DeltaNumbers(cluster, base, last))

    def get_state(self, cluster: str = "") -> list[ClusterDescription]:
        """What is held, of one cluster or of all."""
        return self._call(requests.get_state(cluster))

    def reserve(
        self,
        cluster: str,
        gang: Gang,
        assignments: Sequence[Assignment],
        state_version: int = 0,
        lease_s: float | None = None,
        request_id: str | None = None,
    ) -> Reserved:
        """Promise the capacity of a plan. Raises Conflict when it does not fit any more."""
        return self._call(requests.reserve(cluster, gang, assignments, state_version, lease_s, request_id))

    def confirm(self, promise_id: str, request_id: str | None = None) -> Promise:
        """Make a promise last until its pods are seen. Raises Conflict when it has ended."""
        return self._call(requests.confirm(promise_id, request_id))

    def release(self, promise_id: str, request_id: str | None = None) -> Promise:
        """Give back what is left of a promise."""
        return self._call(requests.release(promise_id, request_id))

    def promises(self, cluster: str, gang: str = "", page_size: int = 0) -> Iterator[Promise]:
        """Promises that hold capacity, fetched page by page."""
        token = ""
        while True:
            page, token = self._call(requests.promises(cluster, gang, page_size, token))
            yield from page
            if not token:
                return

    def watch(self, cluster: str) -> Iterator[Promise | Synced]:
        """Promises of a cluster, Synced, then every change, until the iterator is closed."""
        return self._stream(requests.watch(cluster))

    def _call(self, prepared: Prepared[_Heard], stop: Stop | None = None) -> _Heard:
        method = getattr(self._stubs[prepared.service], prepared.method)
        how = {"timeout": prepared.timeout_s, "metadata": self._access.metadata}
        with translated():
            if stop is None:
                return prepared.read(method(prepared.request, **how))
            call = method.future(prepared.request, **how)
            with _cancelling(call, stop):
                return prepared.read(call.result())

    def _stream(self, prepared: Prepared[_Heard], stop: Stop | None = None) -> Iterator[_Heard]:
        method = getattr(self._stubs[prepared.service], prepared.method)
        call = method(prepared.request, timeout=prepared.timeout_s, metadata=self._access.metadata)
        try:
            with translated(), _cancelling(call, stop):
                for response in call:
                    yield prepared.read(response)
        finally:
            call.cancel()


class DeltaStream:
    """Changes of one cluster, sent group by group. Not for two threads at a time."""

    def __init__(self, stub: Any, access: Access, numbers: DeltaNumbers) -> None:
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
            return _outcome(self._call)

    def close(self) -> None:
        """End the stream."""
        self._outgoing.put(None)
        self._call.cancel()


def _outcome(call: Iterator[cluster_pb.ApplyDeltasResponse]) -> Applied | Needed:
    """What became of a group. Raises SourceUnavailable where the service ends the call without a word."""
    answer = next(call, None)
    if answer is None:
        raise SourceUnavailable("the service ended the stream of changes")
    return decode_outcome(answer)


def stubs_of(channel: Any) -> dict[str, Any]:
    """Service → generated stub; they serve both kinds of channel, their types know one."""
    return {
        "PlacementService": placement_rpc.PlacementServiceStub(channel),
        "ClusterService": cluster_rpc.ClusterServiceStub(channel),
        "LedgerService": ledger_rpc.LedgerServiceStub(channel),
    }


@contextmanager
def translated() -> Iterator[None]:
    """Failed calls inside become errors of the package."""
    try:
        yield
    except grpc.FutureCancelledError as cancelled:
        raise Cancelled("the call was cancelled") from cancelled
    except grpc.RpcError as failed:
        raise error_of(cast(Failed, failed)) from failed


@contextmanager
def _cancelling(call: Any, stop: Stop | None) -> Iterator[None]:
    """The call is cancelled when stop is set before the end of the block."""
    if stop is None:
        yield
        return
    over = Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            if stop.is_set():
                call.cancel()
                return

    watcher = Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
