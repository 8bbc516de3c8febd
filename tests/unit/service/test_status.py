"""What exceptions become: code, reason, details; and that defects and long texts stay inside."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from solver.domain.budget import OutOfTime
from solver.domain.errors import InternalError, InvalidRequest, SourceUnavailable
from solver.service import request_ids
from solver.service.errors import (
    Conflict,
    Denied,
    Full,
    InvalidField,
    NotFound,
    NotReady,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from solver.service.status import DETAILS_KEY, Answered, answering, status_of

Code = grpc.StatusCode


class Context:
    """As much of a call's context as answering needs."""

    def __init__(self) -> None:
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self.trailing: tuple[tuple[str, str | bytes], ...] = (("x-request-id", "r"),)

    def code(self) -> grpc.StatusCode | None:
        return self.ended[0] if self.ended else None

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self.trailing

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.trailing = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = code, details
        raise Exception


@pytest.fixture
def request_id() -> Iterator[str]:
    """The id of the call that is answered."""
    token = request_ids.current.set("r-17")
    yield "r-17"
    request_ids.current.reset(token)


def detail(status: status_pb2.Status, kind: type) -> object:
    """The one detail of a kind."""
    found = []
    for item in status.details:
        read = kind()
        if item.Unpack(read):
            found.append(read)
    (only,) = found
    return only


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidField("a.b", "wrong"), Code.INVALID_ARGUMENT, "INVALID_FIELD"),
        (InvalidRequest("wrong"), Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (DecodeError("bytes"), Code.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
        (NotFound("x"), Code.NOT_FOUND, "NOT_FOUND"),
        (NotReady("x"), Code.FAILED_PRECONDITION, "NOT_READY"),
        (Conflict("x"), Code.ABORTED, "CONFLICT"),
        (Full("x"), Code.RESOURCE_EXHAUSTED, "FULL"),
        (Unavailable("x"), Code.UNAVAILABLE, "UNAVAILABLE"),
        (SourceUnavailable("x"), Code.UNAVAILABLE, "UNAVAILABLE"),
        (Unauthenticated("x"), Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (Denied("x"), Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (OutOfTime(), Code.DEADLINE_EXCEEDED, "OUT_OF_TIME"),
        (InternalError("x"), Code.INTERNAL, "INTERNAL"),
        (RuntimeError("x"), Code.INTERNAL, "INTERNAL"),
        (ServiceError("x"), Code.INTERNAL, "INTERNAL"),
    ],
)
def test_each_exception_has_its_code(error: Exception, code: grpc.StatusCode, reason: str) -> None:
    """And a reason that clients can rely on."""
    status = status_of(error)
    assert status.code == code.value[0]
    assert detail(status, error_details_pb2.ErrorInfo).reason == reason
    assert status.message


def test_every_error_of_the_service_is_mapped() -> None:
    """A new one without a code would be taken for a defect."""
    ours = [kind for kind in ServiceError.__subclasses__() if kind.__module__ == "solver.service.errors"]
    assert len(ours) >= 7
    assert [kind for kind in ours if status_of(kind("x")).code == Code.INTERNAL.value[0]] == []


def test_a_wrong_field_is_named() -> None:
    """Its path and what is wrong, apart from the sentence."""
    status = status_of(InvalidField("gangs[0].name", "it is empty"))
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("gangs[0].name", "it is empty")
    assert status.message == "gangs[0].name: it is empty"


def test_full_says_when_to_come_back() -> None:
    """Seconds and their parts."""
    delay = detail(status_of(Full("x", retry_s=1.25)), error_details_pb2.RetryInfo).retry_delay
    assert (delay.seconds, delay.nanos) == (1, 250_000_000)


def test_defects_tell_the_request_id_alone(request_id: str) -> None:
    """Nothing of the exception."""
    status = status_of(RuntimeError("password hunter2"))
    assert status.message == f"internal error; the log has it under request id {request_id}"
    assert b"hunter2" not in status.SerializeToString()


@pytest.mark.parametrize("letter", ["a", "é", "\udcff", "\U0001f600"])
def test_long_and_odd_texts_fit_the_metadata(letter: str) -> None:
    """Clients take 8 KiB: message, percent-encoded, and details, in base64, stay below."""
    status = status_of(InvalidField(letter * 10_000, letter * 10_000))
    text = status.message.encode()
    assert 3 * len(text) + 4 * len(status.SerializeToString()) / 3 < 8000


def test_the_call_ends_with_status_and_details() -> None:
    """Beside what stood in the trailing metadata before."""
    context = Context()
    with pytest.raises(Answered), answering(context):
        raise NotFound("no such cluster")
    assert context.ended == (Code.NOT_FOUND, "no such cluster")
    assert dict(context.trailing)["x-request-id"] == "r"
    assert status_pb2.Status.FromString(dict(context.trailing)[DETAILS_KEY]).message == "no such cluster"


def test_the_innermost_answers() -> None:
    """Nested, the outer one lets pass what is answered."""
    context = Context()
    with pytest.raises(Answered), answering(context), answering(context):
        raise Conflict("first")
    assert context.ended == (Code.ABORTED, "first")


def test_what_others_answered_stays() -> None:
    """A servicer that calls `abort` itself has its own code."""
    context = Context()
    with pytest.raises(Exception, match=r"^$"), answering(context):
        context.abort(Code.DATA_LOSS, "own")
    assert context.ended == (Code.DATA_LOSS, "own")


def test_a_client_that_is_gone_is_not_answered() -> None:
    """Reading its requests raises RpcError, which passes."""
    context = Context()
    with pytest.raises(grpc.RpcError), answering(context):
        raise grpc.RpcError
    assert context.ended is None
