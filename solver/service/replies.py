"""What a client makes of a failed call: the error of the package that says the same.

HuddleError
├── InvalidRequest      INVALID_ARGUMENT, OUT_OF_RANGE, UNIMPLEMENTED, and a message too large to be sent; with a field
│                       path: InvalidField
├── SourceUnavailable   UNAVAILABLE
├── InternalError       INTERNAL, UNKNOWN, DATA_LOSS
└── ServiceError
    ├── NotFound, NotReady, Conflict, Full, Unauthenticated, Denied     as in solver.service.errors
    ├── TimedOut        DEADLINE_EXCEEDED
    └── Cancelled       CANCELLED
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import grpc
from google.rpc import error_details_pb2, status_pb2

from solver.domain.errors import HuddleError, InternalError, InvalidRequest, SourceUnavailable
from solver.service.errors import (
    Conflict,
    Denied,
    Full,
    InvalidField,
    NotFound,
    NotReady,
    ServiceError,
    Unauthenticated,
)

_DETAILS = "grpc-status-details-bin"
#: How gRPC, on either side, refuses a message: its size and the limit.
_TOO_LARGE = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")


class TimedOut(ServiceError):
    """The call's deadline passed."""


class Cancelled(ServiceError):
    """The call was cancelled."""


class Failed(Protocol):
    """What a failed call tells, with or without asyncio."""

    def code(self) -> grpc.StatusCode:
        """Its status."""

    def details(self) -> str | None:
        """What went wrong."""

    def trailing_metadata(self) -> Iterable[Any] | None:
        """What came with the status."""


_PLAIN: Mapping[grpc.StatusCode, Callable[[str], HuddleError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
    grpc.StatusCode.UNAVAILABLE: SourceUnavailable,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: NotReady,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Full,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def error_of(failed: Failed) -> HuddleError:
    """The error a failed call stands for."""
    text = failed.details() or "the service gave no reason"
    bad, retry = _details(failed)
    for violation in bad.field_violations:
        return InvalidField(violation.field, violation.description)
    if failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if sizes := _TOO_LARGE.search(text):
            size, most = map(int, sizes.groups())
            return InvalidRequest(
                f"a message of {size:,} bytes is more than the {most:,} that max_message_bytes allows"
            )
        return Full(text, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    return _PLAIN.get(failed.code(), InternalError)(text)


def _details(failed: Failed) -> tuple[error_details_pb2.BadRequest, error_details_pb2.RetryInfo]:
    """What the trailing metadata says beyond code and text."""
    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for key, value in failed.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(bad)
                detail.Unpack(retry)
    return bad, retry
