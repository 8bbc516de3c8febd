"""How the service ends: health first, nobody new, time for those inside, then no more."""

import threading
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from solver.api.v1 import cluster_service_pb2, ledger_service_pb2
from tests.service.conftest import Running, until

STATE = cluster_service_pb2.GetStateRequest()
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Drain:
    """A call in progress, and a server that was told to end."""

    def __init__(self, server: Running, grace_s: float) -> None:
        self.server, self.end = server, threading.Event()
        self.call = server.channel.stream_unary("/huddle.v1.ClusterService/PutSnapshot").future(self._requests())
        until(lambda: server.server.gate.running == 1)
        self.stopper = threading.Thread(target=server.server.stop, args=(grace_s,))

    def begin(self) -> None:
        """Tell the server, and wait until it has heard."""
        self.stopper.start()
        until(lambda: self.server.logged("draining"))

    def _requests(self) -> Iterator[bytes]:
        self.end.wait(60)
        yield b""


def test_a_running_call_may_end(server: Running) -> None:
    """While it goes on health says NOT_SERVING and everybody else is told to go elsewhere."""
    health = health_pb2_grpc.HealthStub(server.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="huddle.v1.PlacementService"))
    assert next(watch).status == SERVING
    drain = Drain(server, 60)
    drain.begin()
    assert next(watch).status == NOT_SERVING
    for name in ("", "huddle.v1.ClusterService", "huddle.v1.LedgerService", "huddle.v1.PlacementService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as refused:
        server.cluster.GetState(STATE, timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not drain.call.done()
    drain.end.set()
    assert drain.call.code() is grpc.StatusCode.INVALID_ARGUMENT
    drain.stopper.join(20)
    assert server.logged("stopped")[0]["all_calls_ended"] is True


def test_a_call_that_does_not_end_is_cancelled(server: Running) -> None:
    """When the grace is over the client hears UNAVAILABLE or CANCELLED and the server ends."""
    drain = Drain(server, 0.1)
    drain.begin()
    assert drain.call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    drain.stopper.join(20)
    assert not drain.stopper.is_alive()
    assert server.logged("stopped")[0]["all_calls_ended"] is False
    drain.end.set()


def test_a_drain_can_be_hurried(server: Running) -> None:
    """Whoever says so does not wait for the grace."""
    drain = Drain(server, 3600)
    drain.begin()
    server.server.hurry()
    drain.stopper.join(20)
    assert not drain.stopper.is_alive()
    until(drain.call.done)
    drain.end.set()


def test_standing_calls_are_not_waited_for(server: Running) -> None:
    """A watch lasts as long as its client wants; a drain ends it and does not wait for it."""
    watch = server.ledger.Watch(ledger_service_pb2.WatchRequest(cluster="prod"))
    assert next(watch).HasField("synced")
    server.server.stop(3600)
    assert server.logged("stopped")[0]["all_calls_ended"] is True
    with pytest.raises(grpc.RpcError) as ended:
        next(watch)
    assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_stopping_twice_is_stopping(server: Running) -> None:
    """The second time nothing happens."""
    server.server.stop(0)
    server.server.stop(0)
    assert len(server.logged("stopped")) == 1


def test_a_server_leaves_no_thread(server: Running) -> None:
    """All of its threads end with it."""
    server.cluster.GetState(STATE, timeout=20)
    server.channel.close()
    server.server.stop(0)
    until(lambda: not [thread.name for thread in threading.enumerate() if thread.name.startswith(PREFIXES)])


PREFIXES = ("call", "health", "solve", "ledger")
