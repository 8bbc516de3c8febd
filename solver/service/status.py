"""Exceptions → gRPC status with `google.rpc` details; the only place that knows which is which."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from solver.domain.budget import OutOfTime
from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.service import request_ids
from solver.service.errors import (
    Conflict,
    Denied,
    Full,
    InvalidField,
    NotFound,
    NotReady,
    Unauthenticated,
    Unavailable,
)

#: `domain` of every ErrorInfo.
DOMAIN = "huddle.scheduler"
DETAILS_KEY = "grpc-status-details-bin"

#: Most bytes of a message and of a path: clients take 8 KiB of trailing metadata, which holds the message twice more.
_MOST_MESSAGE_BYTES = 800
_MOST_PATH_BYTES = 200

#: Exception → code and reason, the first that fits; whatever is not here is a defect of ours.
_CODES: tuple[tuple[type[Exception], grpc.StatusCode, str], ...] = (
    (InvalidField, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (DecodeError, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
    (NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    (NotReady, grpc.StatusCode.FAILED_PRECONDITION, "NOT_READY"),
    (Conflict, grpc.StatusCode.ABORTED, "CONFLICT"),
    (Full, grpc.StatusCode.RESOURCE_EXHAUSTED, "FULL"),
    (Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    (SourceUnavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (Denied, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (OutOfTime, grpc.StatusCode.DEADLINE_EXCEEDED, "OUT_OF_TIME"),
)

_log = structlog.get_logger("huddle.service")


class Answered(Exception):
    """The call has been answered with a status; nothing is left to say. Never seen outside the service."""


@contextmanager
def answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Answers the call with a status when the body raises; may be nested, the innermost answers.

    A body that fails because the call is over (cancelled, or past its deadline) is left alone.
    """
    try:
        yield
    except Answered:
        raise
    except grpc.RpcError:
        # Only the iterator of requests raises it, when the client is gone.
        raise
    except Exception as error:
        if _answered(context):
            raise
        _answer(context, error)


def refuse(context: grpc.ServicerContext, status: status_pb2.Status) -> None:
    """Ends the call with a status and its details. Raises Answered."""
    kept = tuple(item for item in context.trailing_metadata() or () if item[0] != DETAILS_KEY)
    context.set_trailing_metadata((*kept, (DETAILS_KEY, status.SerializeToString())))
    try:
        context.abort(_BY_NUMBER[status.code], status.message)
    except Exception:
        raise Answered from None


def status_of(error: Exception) -> status_pb2.Status:
    """The status an exception is answered with. An unknown one tells the request id and nothing else."""
    code, reason = _code_of(error)
    if code is grpc.StatusCode.INTERNAL:
        message = f"internal error; the log has it under request id {request_ids.current.get()}"
    elif isinstance(error, DecodeError):
        message = "the message is not a valid one of its kind"
    else:
        message = _cut(str(error), _MOST_MESSAGE_BYTES) or reason
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    if isinstance(error, InvalidField):
        path, problem = _cut(error.field, _MOST_PATH_BYTES), _cut(error.problem, _MOST_MESSAGE_BYTES)
        violation = error_details_pb2.BadRequest.FieldViolation(field=path, description=problem)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Full):
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(max(0, round(error.retry_s * 1000)))
        status.details.add().Pack(info)
    return status


def _answer(context: grpc.ServicerContext, error: Exception) -> None:
    status = status_of(error)
    if status.code == code_pb2.INTERNAL:
        _log.error("internal_error", request_id=request_ids.current.get(), exc_info=error)
    refuse(context, status)


def _code_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    for kind, code, reason in _CODES:
        if isinstance(error, kind):
            return code, reason
    return grpc.StatusCode.INTERNAL, "INTERNAL"


def _answered(context: grpc.ServicerContext) -> bool:
    """Whether somebody has called `abort` on it; the method is public in grpcio and missing in its stubs."""
    return context.code() is not None  # type: ignore[attr-defined]


def _cut(text: str, most_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"


_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
