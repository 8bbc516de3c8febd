"""What the service tells about itself: metrics, traces, logs; and what it never tells."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from solver.api.v1 import cluster_service_pb2
from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.domain.snapshot import Snapshot
from solver.service.access import Access
from solver.service.client import Client
from solver.service.config import Level, Limits, Metrics, Tracing
from support.builders import cluster, gang, node, role
from tests.service.conftest import CONFIG, TOKENS, Running, Serve, bearer, until

STATE = cluster_service_pb2.GetStateRequest()
PLAN = "huddle.v1.PlacementService/Plan"


@pytest.fixture
def site() -> Snapshot:
    """Four nodes in two racks."""
    return cluster(*(node(f"n{at}", zone="z", rack=f"r{at // 2}") for at in range(4)))


def scraped(server: Running) -> dict[str, list[Sample]]:
    """Samples of the metrics page by name."""
    port = server.logged("ready")[-1]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
        text = page.read().decode()
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(samples: list[Sample], **labels: str) -> float:
    """The value of the one sample with these labels."""
    (found,) = (sample.value for sample in samples if sample.labels == labels)
    return found


def test_metrics_of_a_plan(serve: Serve, site: Snapshot) -> None:
    """Calls, searches, stages, proofs and gaps are counted; nothing runs or waits afterwards."""
    server = serve(metrics=Metrics("127.0.0.1:0"))
    with Client(Access(server.target)) as client:
        client.plan(site, [gang(role("w", 2, gpus=8))])
        client.plan(site, [gang(role("w", 9, gpus=8))])
    found = scraped(server)
    assert value(found["huddle_rpc_seconds_count"], method=PLAN, code="OK") == 2
    assert value(found["huddle_solve_seconds_count"]) == 2
    assert value(found["huddle_gang_plans_total"], status="optimal") == 1
    assert value(found["huddle_gang_plans_total"], status="infeasible") == 1
    assert value(found["huddle_gang_proofs_total"], proof="none") == 0
    assert sum(sample.value for sample in found["huddle_gang_proofs_total"]) == 2
    assert value(found["huddle_gang_gap_ratio_bucket"], le="0.0") == 1
    for stage in ("compile", "bound", "search", "verify"):
        assert value(found["huddle_solve_stage_seconds_count"], stage=stage) == 2
    assert value(found["huddle_solves_running"]) == value(found["huddle_solves_waiting"]) == 0
    assert value(found["process_open_fds"]) > 0


def test_metrics_of_calls_that_fail(serve: Serve) -> None:
    """By method and code; those turned away also by reason."""
    server = serve(metrics=Metrics("127.0.0.1:0"))
    for _ in range(3):
        with pytest.raises(grpc.RpcError):
            server.channel.unary_unary(f"/{PLAN}")(b"", timeout=20)
    server.server.gate.close()
    with pytest.raises(grpc.RpcError):
        server.cluster.GetState(STATE, timeout=20)
    found = scraped(server)
    assert value(found["huddle_rpc_seconds_count"], method=PLAN, code="INVALID_ARGUMENT") == 3
    assert value(found["huddle_rejected_total"], reason="draining") == 1


def test_every_metric_is_documented() -> None:
    """The README names each of them."""
    from solver.service.metrics import Metrics as Recorded

    names = {family.name for family in Recorded().registry.collect() if family.name.startswith("huddle_")}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert {name for name in names if name not in readme} == set()


def test_no_metrics_unless_asked(server: Running) -> None:
    """Without `metrics.listen` there is no page."""
    assert server.logged("ready")[0]["metrics_port"] is None


def test_a_metrics_port_that_is_taken(serve: Serve) -> None:
    """One sentence; and the first page ends with its server."""
    server = serve(metrics=Metrics("127.0.0.1:0"))
    port = server.logged("ready")[0]["metrics_port"]
    with pytest.raises(SourceUnavailable, match=rf"metrics.listen: 127.0.0.1:{port}: "):
        serve(metrics=Metrics(f"127.0.0.1:{port}"))
    server.server.stop(0)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans it gets."""

    def __init__(self) -> None:
        self.spans: list[trace_pb2.Span] = []

    def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@dataclass
class Collecting:
    """A collector and where it is."""

    collector: Collector
    endpoint: str


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    """A collector on a free port."""
    collector = Collector()
    with ThreadPoolExecutor(2) as threads:
        receiver = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, receiver)
        port = receiver.add_insecure_port("127.0.0.1:0")
        receiver.start()
        yield Collecting(collector, f"http://127.0.0.1:{port}")
        receiver.stop(0).wait()


def test_spans_of_a_plan(serve: Serve, collecting: Collecting, site: Snapshot) -> None:
    """One for the call, within the caller's trace, and one for each stage, within the call's."""
    server = serve(tracing=Tracing(collecting.endpoint))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    metadata = (("traceparent", f"00-{trace}-{parent}-01"), ("x-request-id", "mine-3"))
    server.cluster.GetState(STATE, timeout=20, metadata=metadata)
    with Client(Access(server.target)) as client:
        client.plan(site, [gang(role("w", 2, gpus=8))])
    server.server.stop(0)
    spans = {span.name: span for span in collecting.collector.spans}
    state, plan = spans["huddle.v1.ClusterService/GetState"], spans[PLAN]
    assert (state.trace_id.hex(), state.parent_span_id.hex()) == (trace, parent)
    attributes = {item.key: item.value for item in state.attributes}
    assert attributes["huddle.request_id"].string_value == "mine-3"
    assert attributes["rpc.grpc.status_code"].int_value == 0
    assert plan.trace_id != state.trace_id
    for stage in ("compile", "bound", "search", "verify"):
        assert spans[stage].parent_span_id == plan.span_id
        assert spans[stage].end_time_unix_nano <= plan.end_time_unix_nano


def test_a_collector_that_is_away_harms_nobody(serve: Serve) -> None:
    """Calls are answered and the service ends."""
    server = serve(tracing=Tracing("http://127.0.0.1:1"))
    server.cluster.GetState(STATE, timeout=20)
    server.server.stop(0)
    assert server.logged("stopped")


def test_traces_without_their_libraries(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidRequest, match=r"tracing.endpoint: traces need the extra `tracing`: pip install"):
        serve(tracing=Tracing("http://127.0.0.1:1"))


def test_no_secret_is_ever_told(serve: Serve, token_file: Path, site: Snapshot) -> None:
    """Tokens, right or wrong, are in no line of the most talkative log and in no error; nor is what is asked."""
    limits = Limits(max_gangs=1)
    auth, logs = replace(CONFIG.auth, token_file=token_file), replace(CONFIG.logs, level=Level.DEBUG)
    server = serve(auth=auth, logs=logs, limits=limits)
    shown = [*TOKENS.values(), "wrong-0123456789abcdef-secret", TOKENS["plan"].upper()]
    told = []
    for token in shown:
        for method in (PLAN, "huddle.v1.LedgerService/Reserve", "huddle.v1.ClusterService/GetState"):
            try:
                server.channel.unary_unary(f"/{method}")(b"", timeout=20, metadata=bearer(token))
            except grpc.RpcError as error:
                told += [error.details(), str(error.trailing_metadata())]
    with Client(Access(server.target, token=TOKENS["plan"])) as client:
        client.plan(site, [gang(role("w", 2, gpus=8), name="payload-name")])
    token_file.write_text(f"{TOKENS['write']} {TOKENS['read']}\n")
    with pytest.raises(grpc.RpcError) as refused:
        server.cluster.GetState(STATE, timeout=20)
    told.append(refused.value.details())
    until(lambda: len(server.logged("call")) == 3 * len(shown) + 2)
    everything = "\n".join([server.log_text.getvalue(), *told])
    assert "draining" not in everything
    assert [token for token in shown if token in everything] == []
    assert "payload-name" not in server.log_text.getvalue()


def test_defects_tell_a_request_id_and_nothing_else(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL to the caller, the traceback to the log, under the same id."""
    server = serve()

    def broken(*_: object) -> None:
        raise RuntimeError("inner detail")

    monkeypatch.setattr("solver.service.gate.Gate.enter", broken)
    with pytest.raises(grpc.RpcError) as refused:
        server.cluster.GetState(STATE, timeout=20, metadata=(("x-request-id", "mine-4"),))
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert "mine-4" in refused.value.details()
    assert "inner detail" not in refused.value.details() + str(refused.value.trailing_metadata())
    (line,) = server.logged("internal_error")
    assert line["request_id"] == "mine-4"
    assert "inner detail" in line["exception"]
