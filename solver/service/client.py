"""A client of the service: domain values in, domain values out, without OR-Tools.

with Client(Access("127.0.0.1:50551")) as client:
answer = client.plan("prod", [gang])
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1 import placement_service_pb2_grpc as placement_rpc
from solver.domain.gang import Gang
from solver.domain.snapshot import Snapshot
from solver.service.access import Access
from solver.service.replies import Failed, error_of
from solver.service.requests import Ask, Explained, Improved, Planned, explained, news, planned, question

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


@contextmanager
def translated() -> Iterator[None]:
    """Failed calls inside become errors of the package."""
    try:
        yield
    except grpc.RpcError as failed:
        raise error_of(cast(Failed, failed)) from failed
