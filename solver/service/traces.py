"""OpenTelemetry traces: a span for each call and each stage of planning; nothing at all without an endpoint."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from solver.domain.errors import InvalidRequest
from solver.domain.plan import Plan
from solver.service.config import Tracing
from solver.service.recorder import Recorder

if TYPE_CHECKING:
    from opentelemetry.trace import Span

#: Told the status code a call ended with.
Ended = Callable[[grpc.StatusCode], None]
#: Seconds after which a collector that does not answer loses the spans, so that it cannot hold up the end either.
_EXPORT_S = 2
_STAGES = ("compile", "bound", "search", "verify")
#: Codes that are the service's fault, by the conventions for spans of servers.
_OWN_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Traces(Recorder):
    """Traces nothing."""

    @contextmanager
    def call(self, method: str, metadata: Iterable[tuple[str, str | bytes]], request_id: str) -> Iterator[Ended]:
        """Traces a call of `/package.Service/Method` while the body runs; to be told how it ended."""
        yield lambda code: None

    def close(self) -> None:
        """Send what is left."""


def traces_for(tracing: Tracing) -> Traces:
    """What the settings ask for. Raises InvalidRequest when the libraries are not installed."""
    if tracing.endpoint is None:
        return Traces()
    try:
        return _Otlp(tracing.endpoint, tracing.sample)
    except ImportError as error:
        extra = "pip install 'huddle-scheduler[tracing]'"
        raise InvalidRequest(f"tracing.endpoint: traces need the extra `tracing`: {extra}") from error


class _Otlp(Traces):
    """Sends spans to a collector in the background; when it is away they are dropped."""

    def __init__(self, endpoint: str, sample: float) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "huddle"})
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sample), resource=resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http:"), timeout=_EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("huddle.service")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def call(self, method: str, metadata: Iterable[tuple[str, str | bytes]], request_id: str) -> Iterator[Ended]:
        """See Traces."""
        from opentelemetry.trace import SpanKind

        service, _, name = method.removeprefix("/").partition("/")
        parent = self._propagator.extract({key: value for key, value in metadata if isinstance(value, str)})
        with self._tracer.start_as_current_span(
            f"{service}/{name}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
                "huddle.request_id": request_id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield lambda code: _end(span, code)

    def solved(self, plan: Plan, seconds: float) -> None:
        """Spans of the stages, one after another up to now: planning tells how long they took when it is done."""
        lengths = [
            (gang.name, stage, round(getattr(gang.stats, f"{stage}_ms") * 1e6))
            for gang in plan.gangs
            for stage in _STAGES
        ]
        at = time.time_ns() - sum(length for _, _, length in lengths)
        for gang, stage, length in lengths:
            span = self._tracer.start_span(stage, start_time=at, attributes={"huddle.gang": gang})
            at += length
            span.end(at)

    def close(self) -> None:
        """See Traces."""
        self._provider.shutdown()


def _end(span: "Span", code: grpc.StatusCode) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code in _OWN_FAULTS:
        span.set_status(StatusCode.ERROR)
