"""What every call gets, whatever it asks for: request ids, limits, refusals by the book, a log line."""

import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from solver.api.v1 import cluster_service_pb2, ledger_service_pb2, placement_service_pb2, plan_pb2
from solver.service.codec.gang import encode_gang
from solver.service.codec.snapshot import encode_whole
from solver.service.config import Auth, Connections, Limits
from tests.service.conftest import CONFIG, TOKENS, Running, Serve, bearer, until
from tests.service.test_placement_service import hard

STATE = cluster_service_pb2.GetStateRequest()
PUT = "/huddle.v1.ClusterService/PutSnapshot"


def trailing(call: grpc.Call, key: str) -> list[str | bytes]:
    """Values of a key of the trailing metadata."""
    return [value for name, value in call.trailing_metadata() if name == key]


def details(error: grpc.RpcError, kind: type) -> list[object]:
    """Details of one kind in the status of a failed call."""
    found = []
    for item in rpc_status.from_call(error).details:
        detail = kind()
        if item.Unpack(detail):
            found.append(detail)
    return found


def test_the_callers_request_id_comes_back(server: Running) -> None:
    """It is in the trailing metadata and in the log."""
    _, call = server.cluster.GetState.with_call(STATE, timeout=20, metadata=(("x-request-id", "mine-1"),))
    assert trailing(call, "x-request-id") == ["mine-1"]
    (line,) = server.logged("call")
    assert (line["request_id"], line["code"], line["method"]) == ("mine-1", "OK", "/huddle.v1.ClusterService/GetState")
    assert line["caller"] == "anonymous"


@pytest.mark.parametrize("shown", [None, "", "x" * 129, 'two words "quoted"', "a;b"])
def test_other_calls_get_a_request_id(server: Running, shown: str | None) -> None:
    """One of ours when there is none, or one that is no plain word; each call another."""
    metadata = () if shown is None else (("x-request-id", shown),)
    ids = [
        trailing(server.cluster.GetState.with_call(STATE, timeout=20, metadata=metadata)[1], "x-request-id")
        for _ in range(2)
    ]
    assert all(len(found) == 1 and len(found[0]) == 16 for found in ids)
    assert ids[0] != ids[1]


def test_a_failed_call_has_its_request_id_too(server: Running) -> None:
    """Beside the details of the error: a stable reason and the field that is wrong."""
    with pytest.raises(grpc.RpcError) as refused:
        server.ledger.List(ledger_service_pb2.ListRequest(), timeout=20, metadata=(("x-request-id", "mine-2"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailing(refused.value, "x-request-id") == ["mine-2"]
    (info,) = details(refused.value, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_FIELD", "huddle.scheduler")
    (request,) = details(refused.value, error_details_pb2.BadRequest)
    assert [violation.field for violation in request.field_violations] == ["cluster"]


def test_messages_that_are_no_protobuf_are_the_callers_fault(server: Running) -> None:
    """INVALID_ARGUMENT, in calls of one message and of many; nothing INTERNAL, nothing of them in the log."""
    rubbish = b"\xff\xffsecret-payload\xff"
    for method in ("PlacementService/Plan", "PlacementService/PlanStream", "ClusterService/PutSnapshot"):
        call = server.channel.stream_stream(f"/huddle.v1.{method}")(iter([rubbish]), timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            list(call)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details(refused.value, error_details_pb2.ErrorInfo)[0].reason == "MALFORMED_MESSAGE"
    assert "secret-payload" not in server.log_text.getvalue()


def test_a_call_without_a_message(server: Running) -> None:
    """A method that takes one message refuses none."""
    call = server.channel.stream_unary("/huddle.v1.PlacementService/Plan")
    with pytest.raises(grpc.RpcError) as refused:
        call(iter(()), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_oversize_messages(serve: Serve) -> None:
    """RESOURCE_EXHAUSTED for one message as for a stream, and the connection goes on."""
    server = serve(limits=Limits(max_message_bytes=2**16))
    huge = b"\x0a" + b"\xff\xff\x7f" + b"x" * (2**21 - 1)
    for method in ("PlacementService/Plan", "ClusterService/PutSnapshot"):
        call = server.channel.stream_stream(f"/huddle.v1.{method}")(iter([huge]), timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            list(call)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.cluster.GetState(STATE, timeout=20)


def test_messages_that_unpack_to_more_than_is_allowed(serve: Serve) -> None:
    """A small compressed message counts as what it unpacks to."""
    server = serve(limits=Limits(max_message_bytes=2**16))
    request = placement_service_pb2.PlanRequest()
    request.cluster.name = "x" * 2**23
    with pytest.raises(grpc.RpcError) as refused:
        server.placement.Plan(request, timeout=20, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.cluster.GetState(STATE, timeout=20)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 4096,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") + b"\x00\x40\x00\x01" * 500,
    ],
    ids=["zeros", "http1", "ones", "preface and garbage", "settings and garbage"],
)
def test_garbage_on_the_port(server: Running, garbage: bytes) -> None:
    """The server lives on, and nothing of it is a call."""
    for _ in range(5):
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as connection:
            connection.settimeout(20)
            try:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except OSError:
                continue  # the server has ended it already
    server.cluster.GetState(STATE, timeout=20)
    assert [line["method"] for line in server.logged("call")] == ["/huddle.v1.ClusterService/GetState"]


def test_too_many_streams(serve: Serve) -> None:
    """The next one is told when to come back; short calls and health get through; an ended one makes room."""
    server = serve(limits=Limits(max_streams=2))
    ends = [threading.Event() for _ in range(2)]
    streams = [server.channel.stream_unary(PUT).future(_held(end), timeout=60) for end in ends]
    until(lambda: server.server.gate.streams == 2)
    with pytest.raises(grpc.RpcError) as refused:
        server.channel.stream_unary(PUT)(iter([b""]), timeout=20)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (retry,) = details(refused.value, error_details_pb2.RetryInfo)
    assert retry.retry_delay.seconds == 5
    server.cluster.GetState(STATE, timeout=20)
    health = health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    ends[0].set()
    assert streams[0].code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as admitted:
        server.channel.stream_unary(PUT)(iter([b""]), timeout=20)
    assert admitted.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    ends[1].set()


def test_readers_keep_no_writer_out(serve: Serve) -> None:
    """With as many watches open as there may be, a snapshot is taken; the next watch is told when to come back."""
    server = serve(limits=Limits(max_streams=3))
    watches = [server.ledger.Watch(ledger_service_pb2.WatchRequest(cluster="prod")) for _ in range(3)]
    assert all(next(watch).HasField("synced") for watch in watches)
    with pytest.raises(grpc.RpcError) as refused:
        next(server.ledger.Watch(ledger_service_pb2.WatchRequest(cluster="prod")))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    put = cluster_service_pb2.PutSnapshotRequest(cluster="prod", base="b", last=True)
    assert server.cluster.PutSnapshot(iter([put]), timeout=20).version


def test_one_caller_leaves_streams_to_others(serve: Serve, token_file: Path) -> None:
    """A caller at its own limit is refused, and another one watches all the same."""
    server = serve(limits=Limits(max_streams=4, max_streams_per_caller=2), auth=Auth(token_file=token_file))

    def watch(role: str) -> Any:
        asked = ledger_service_pb2.WatchRequest(cluster="prod")
        found = server.ledger.Watch(asked, metadata=bearer(TOKENS[role]))
        assert next(found).HasField("synced")
        return found

    kept = [watch("read") for _ in range(2)]
    with pytest.raises(grpc.RpcError) as refused:
        watch("read")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    kept.append(watch("plan"))
    kept[0].cancel()
    until(lambda: server.server.gate.streams == 2)
    watch("read")


def test_silent_callers_keep_nobody_out(serve: Serve) -> None:
    """Calls that never send their message hold threads until they are given up; health has threads of its own."""
    server = serve(limits=Limits(max_workers=4), connections=Connections(request_s=1))
    health = health_pb2_grpc.HealthStub(server.channel)
    ends = [threading.Event() for _ in range(16)]
    methods = ["/huddle.v1.PlacementService/Plan"] * 8 + ["/grpc.health.v1.Health/Check"] * 8
    calls = [
        server.channel.stream_unary(method).future(_held(end), timeout=60)
        for method, end in zip(methods, ends, strict=True)
    ]
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
    server.cluster.GetState(STATE, timeout=20)
    assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
    for end in ends:
        end.set()


def test_health_watches_hold_no_thread(server: Running) -> None:
    """Many more watches than threads, and each of them has its answer."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(50)]
    assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
    for watch in watches:
        watch.cancel()


def test_connections_that_come_and_go_leave_nothing(server: Running) -> None:
    """100 connections, some in the middle of a call: as many threads as before, and nobody inside."""

    def visit(number: int) -> None:
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            if number % 2:
                channel.stream_unary(PUT).future(_held(threading.Event(), 0.05), timeout=60)
            else:
                channel.unary_unary("/huddle.v1.ClusterService/GetState")(b"", timeout=20)

    visit(0)
    visit(1)
    before = _others()
    for number in range(100):
        visit(number)
    gc.collect()
    until(lambda: not server.server.gate.running)
    until(lambda: _others() <= before)
    assert sum(thread.name.startswith("call") for thread in threading.enumerate()) <= CONFIG.limits.workers


def test_calls_that_clients_give_up_are_told_as_such(server: Running) -> None:
    """CANCELLED in the log, or DEADLINE_EXCEEDED if the server saw the deadline before the client's word; no defect."""

    def watched() -> list[dict[str, Any]]:
        return [line for line in server.logged("call") if line["method"].endswith("Watch")]

    request = ledger_service_pb2.WatchRequest(cluster="prod")
    server.cluster.GetState(STATE, timeout=60)  # connected by now, so that the deadline is that of a call on its way
    late = server.ledger.Watch(request, timeout=2.0)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    ended = server.ledger.Watch(request, timeout=60)
    assert next(ended).HasField("synced")
    ended.cancel()
    until(lambda: len(watched()) == 2)
    assert {line["code"] for line in watched()} <= {"DEADLINE_EXCEEDED", "CANCELLED"}
    assert server.logged("internal_error") == []


def test_a_call_without_a_deadline_has_the_default_budget(serve: Serve) -> None:
    """It is answered, although the longest budget is an hour."""
    server = serve(limits=Limits(default_budget_s=0.3, max_budget_s=3600))
    snapshot, asked = hard()
    cluster = placement_service_pb2.ClusterRef(inline=encode_whole(snapshot))
    options = placement_service_pb2.PlanOptions(engine=plan_pb2.ENGINE_CPSAT)
    request = placement_service_pb2.PlanRequest(cluster=cluster, gangs=[encode_gang(asked)], options=options)
    answer = server.placement.Plan.future(request).result(120)
    assert answer.plan.status != plan_pb2.STATUS_OPTIMAL


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_clients_can_ask_for_the_contract(server: Running, version: str) -> None:
    """Reflection, in the version grpcio knows and in the one clients ask for first, lists and describes services."""
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="huddle.v1.LedgerService"),
    ]
    call = server.channel.stream_stream(method)(iter([request.SerializeToString() for request in asked]), timeout=20)
    names, files = map(reflection_pb2.ServerReflectionResponse.FromString, call)
    assert {service.name for service in names.list_services_response.service} >= {
        "grpc.health.v1.Health",
        "huddle.v1.ClusterService",
        "huddle.v1.LedgerService",
        "huddle.v1.PlacementService",
    }
    assert len(files.file_descriptor_response.file_descriptor_proto) > 0


def test_reflection_can_be_off(serve: Serve) -> None:
    """Then there is no such method."""
    server = serve(reflection=False)
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with pytest.raises(grpc.RpcError) as refused:
        list(server.channel.stream_stream(method)(iter([b""]), timeout=20))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_quiet_logs(serve: Serve) -> None:
    """With `calls` off only calls that went wrong are told."""
    server = serve(logs=replace(CONFIG.logs, calls=False))
    server.cluster.GetState(STATE, timeout=20)
    with pytest.raises(grpc.RpcError):
        server.placement.Plan(placement_service_pb2.PlanRequest(), timeout=20)
    assert [line["code"] for line in server.logged("call")] == ["INVALID_ARGUMENT"]


def _held(end: threading.Event, most_s: float = 60) -> Iterator[bytes]:
    """Requests of a client that waits before it sends one that is wrong."""
    end.wait(most_s)
    yield b""


def _others() -> int:
    """Threads that are not in the server's pool of bounded size."""
    return sum(not thread.name.startswith("call") for thread in threading.enumerate())
