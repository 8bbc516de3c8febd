"""What every call passes before and after its servicer: identity, roles, limits, request id, log, metrics, traces."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import structlog

from solver.domain.errors import InvalidRequest
from solver.service import callers, request_ids
from solver.service.auth import Authority
from solver.service.errors import Full, Unavailable
from solver.service.gate import Gate, Stream
from solver.service.patience import Patience
from solver.service.recorder import Recorder
from solver.service.roles import HEALTH, REFLECTION
from solver.service.status import answering
from solver.service.traces import Traces

#: Calls that last until the client has enough: a drain does not wait for them.
STANDING = frozenset(
    {
        "/huddle.v1.ClusterService/ApplyDeltas",
        "/huddle.v1.LedgerService/Watch",
        *(f"/{service}/ServerReflectionInfo" for service in REFLECTION),
    }
)

#: Streaming calls that write, and those that plan; all others read.
_WRITES = frozenset({"/huddle.v1.ClusterService/PutSnapshot", "/huddle.v1.ClusterService/ApplyDeltas"})
_PLANS = frozenset({"/huddle.v1.PlacementService/PlanStream"})

Request = TypeVar("Request")
Response = TypeVar("Response")
# A string, because these classes are generic in the stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context = grpc.ServicerContext

_log = structlog.get_logger("huddle.service")


@dataclass(frozen=True)
class Passage:
    """What calls pass. log_calls: whether calls that went well are logged."""

    authority: Authority
    gate: Gate
    patience: Patience
    recorder: Recorder
    traces: Traces
    log_calls: bool = True


class Calls(grpc.ServerInterceptor):
    """Puts every method behind a passage.

    Requests are taken as bytes and decoded only after the caller was let in, and a message that cannot be decoded is
    the caller's fault, not INTERNAL as grpcio would have it. health_threads: answer health, so that it gets through
    whatever the others are doing.
    """

    def __init__(self, passage: Passage, health_threads: ThreadPoolExecutor) -> None:
        self._passage, self._health_threads = passage, health_threads
        self._wrapped: dict[str, _Handler] = {}

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Request, Response] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Request, Response] | None":
        """The method behind the passage; None when there is none of this name."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._behind(method, handler)
        return cast("grpc.RpcMethodHandler[Request, Response]", self._wrapped[method])

    def _behind(self, method: str, handler: _Handler) -> _Handler:
        answer = _answer(self._passage, method, handler)
        if method.startswith(f"/{HEALTH}/"):
            answer.experimental_thread_pool = self._health_threads  # type: ignore[attr-defined]
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _answer(passage: Passage, method: str, handler: _Handler) -> Callable[..., Any]:
    """The method as grpcio calls it, with a stream of undecoded requests whatever it takes itself.

    A method of one request gets the first of the stream; so nobody waits for the request of a caller who is not let in.
    """
    decode = handler.request_deserializer or bytes
    behaviour: Callable[..., Any] = next(
        found
        for found in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
        if found is not None
    )
    calls = _Entrance(
        passage, method, _kind(method) if handler.request_streaming or handler.response_streaming else None
    )

    def argument(requests: Iterator[bytes], context: _Context) -> Any:
        if handler.request_streaming:
            return map(decode, requests)
        with passage.patience.waiting(context):
            request = _only(requests)
        return decode(request)

    def one(requests: Iterator[bytes], context: _Context) -> Any:
        with calls.entered(context):
            return behaviour(argument(requests, context), context)

    def several(requests: Iterator[bytes], context: _Context) -> Iterator[Any]:
        with calls.entered(context):
            yield from behaviour(argument(requests, context), context)

    def sent(requests: Iterator[bytes], context: _Context, send: Callable[[Any], None]) -> None:
        with calls.entered(context):
            behaviour(argument(requests, context), context, send)

    if getattr(behaviour, "experimental_non_blocking", False):
        sent.experimental_non_blocking = True  # type: ignore[attr-defined]
        return sent
    return several if handler.response_streaming else one


@dataclass(frozen=True)
class _Entrance:
    """The passage of one method. stream: what it does while it holds a thread for as long as a client likes."""

    passage: Passage
    method: str
    stream: Stream | None

    @property
    def standing(self) -> bool:
        """Whether a call lasts until the client has enough."""
        return self.method in STANDING

    @property
    def is_health(self) -> bool:
        """Whether it is answered whatever else goes on, during a drain too."""
        return self.method.startswith(f"/{HEALTH}/")

    @contextmanager
    def entered(self, context: _Context) -> Iterator[None]:
        """A call while the body runs; what it raises is answered, and what became of it is told."""
        began = time.perf_counter()
        metadata = tuple(context.invocation_metadata())
        identity = request_ids.request_id(metadata)
        request_ids.current.set(identity)
        structlog.contextvars.bind_contextvars(request_id=identity)
        context.set_trailing_metadata(((request_ids.KEY, identity),))
        passage = self.passage
        with passage.traces.call(self.method, metadata, identity) as ended:
            try:
                with answering(context):
                    caller = passage.authority.caller(self.method, context)
                    structlog.contextvars.bind_contextvars(caller=caller.name)
                    passage.authority.check(caller, self.method)
                    told_apart = callers.told_apart(caller, context)
                    callers.current.set(told_apart)
                    with nullcontext() if self.is_health else self._inside(told_apart):
                        yield
            finally:
                code = _code(context)
                seconds = time.perf_counter() - began
                passage.recorder.called(self.method.removeprefix("/"), code.name, seconds)
                ended(code)
                self._tell(code, seconds, context)

    @contextmanager
    def _inside(self, caller: str) -> Iterator[None]:
        """Counted among the calls while the body runs."""
        gate = self.passage.gate
        try:
            gate.enter(self.stream, self.standing, caller)
        except (Full, Unavailable) as error:
            self.passage.recorder.rejected("streams" if isinstance(error, Full) else "draining")
            raise
        try:
            yield
        finally:
            gate.leave(self.stream, self.standing, caller)

    def _tell(self, code: grpc.StatusCode, seconds: float, context: _Context) -> None:
        """One line of the log."""
        well = code in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
        if well and not self.passage.log_calls:
            return
        tell = _log.info if well else _log.warning
        tell("call", method=self.method, code=code.name, ms=round(seconds * 1000, 3), peer=context.peer())


def _kind(method: str) -> Stream:
    """What a streaming method does."""
    if method in _WRITES:
        return Stream.WRITE
    return Stream.PLAN if method in _PLANS else Stream.READ


def _only(requests: Iterator[bytes]) -> bytes:
    """The request of a call that takes one."""
    for request in requests:
        return request
    raise InvalidRequest("the call came without a request message")


def _code(context: _Context) -> grpc.StatusCode:
    """How the call ended, or is about to end."""
    if context.time_remaining() == 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    if not context.is_active():
        return grpc.StatusCode.CANCELLED
    code = context.code()  # type: ignore[attr-defined]  # public in grpcio, missing in its stubs
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK
