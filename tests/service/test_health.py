"""Health is told to watchers that leave at the worst moment."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from solver.service.health_servicer import HealthServicer
from tests.service.conftest import Running, until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Call:
    """A watch as grpcio keeps it: a message is sent when the thread that also sees ends has seen to it."""

    def __init__(self, ended: bool = False) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.sent: list[int] = []
        self.ended = ended
        self.leaves = False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """As a servicer's context does it."""
        if not self.ended:
            self.callbacks.append(callback)
        return not self.ended

    def send(self, response: health_pb2.HealthCheckResponse | None) -> None:
        """Returns when the other thread has come by, which first sees the watch end if it leaves now."""
        if response is None:
            self.ended = True
            return
        serving = threading.Thread(target=self._see, daemon=True)
        serving.start()
        serving.join(20)
        assert not serving.is_alive(), "the thread that serves everybody waits for one who waits for it"
        self.sent.append(response.status)

    def _see(self) -> None:
        if self.leaves:
            for callback in self.callbacks:
                callback()


@pytest.fixture
def health() -> Iterator[HealthServicer]:
    """A servicer with threads."""
    with ThreadPoolExecutor(1) as threads:
        yield HealthServicer(threads)


def watch(health: HealthServicer, call: Call) -> None:
    """What grpcio does for a call of Watch."""
    health.Watch(health_pb2.HealthCheckRequest(), call, call.send)


def test_a_watch_ends_while_it_is_told(health: HealthServicer) -> None:
    """Nobody waits for anybody, and the others are told."""
    leaving, staying = Call(), Call()
    watch(health, leaving)
    watch(health, staying)
    leaving.leaves = True
    health.set("", NOT_SERVING)
    assert leaving.sent == staying.sent == [SERVING, NOT_SERVING]
    until(lambda: leaving.ended)
    health.set("", SERVING)
    assert leaving.sent == [SERVING, NOT_SERVING]
    assert staying.sent == [SERVING, NOT_SERVING, SERVING]


def test_a_watch_that_ended_before_it_began_is_forgotten(health: HealthServicer) -> None:
    """Nobody will say later that it ended."""
    call = Call(ended=True)
    watch(health, call)
    until(lambda: not health._send_response_callbacks[""])


def test_watches_end_while_the_server_drains(server: Running) -> None:
    """It ends all the same."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(50)]
    assert {next(watch).status for watch in watches} == {SERVING}
    for each in watches:
        each.cancel()
    draining = threading.Thread(target=server.server.stop, args=(0,), daemon=True)
    draining.start()
    draining.join(20)
    assert not draining.is_alive()
