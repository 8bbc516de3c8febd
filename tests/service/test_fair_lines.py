"""Callers with long questions, and what becomes of the others, who are answered meanwhile; nothing stays behind."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1.placement_service_pb2_grpc import PlacementServiceStub
from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.service.access import Access
from solver.service.client import Client
from solver.service.codec.gang import encode_gang
from solver.service.codec.snapshot import encode_whole
from solver.service.requests import Ask
from support.builders import cluster, flow, gang, node, role
from support.controlplane.waiting import eventually
from support.serving import served
from tests.service.conftest import TOKENS, bearer
from tests.service.test_faults import cpu_ticks
from tests.service.test_placement_service import hard, pair, site
from tests.unit.search.processes import alive, children_of

#: Longer than a test waits for anything.
ENDLESS_S = 600


def endless() -> pb.PlanRequest:
    """A question that takes all the time it gets."""
    snapshot, asked = hard()
    options = pb.PlanOptions(engine=2, time_limit_ms=ENDLESS_S * 1000)
    return pb.PlanRequest(
        cluster=pb.ClusterRef(inline=encode_whole(snapshot)), gangs=[encode_gang(asked)], options=options
    )


def large() -> Gang:
    """A gang that is not small, and easily placed."""
    return gang(role("prefill", 30, gpus=2), role("decode", 64, gpus=1), flows=[flow("prefill", "decode")])


@contextmanager
def asking(address: str, token: str, calls: int) -> Iterator[list[grpc.Future]]:
    """So many endless questions of one caller, until the block ends."""
    with grpc.insecure_channel(address) as channel:
        plan = PlacementServiceStub(channel).Plan
        request = endless()
        yield [plan.future(request, metadata=bearer(token), timeout=ENDLESS_S) for _ in range(calls)]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two callers who may plan, and one who may do all."""
    path = tmp_path / "tokens"
    lines = [f"bad{at} plan bad{at}-0123456789abcdef-secret\n" for at in range(2)]
    path.write_text("".join(lines) + f"good write {TOKENS['write']}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def test_others_are_answered_while_all_places_are_taken(tmp_path: Path, tokens: Path) -> None:
    """Short questions and long ones; a caller above its limit is refused, the others are not."""
    limits = {"HUDDLE_SERVE_LIMITS_MAX_BUDGET_S": str(ENDLESS_S)}
    with ExitStack() as running:
        service = running.enter_context(served(tmp_path, "--tokens", str(tokens), environment=limits))
        bad = [
            call
            for at in range(2)
            for call in running.enter_context(asking(service.address, f"bad{at}-0123456789abcdef-secret", 10))
        ]
        eventually(lambda: sum(call.done() for call in bad) == 2, "what is over each caller's limit is refused", 60)
        refused = [call.exception().code() for call in bad if call.done()]
        assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        eventually(lambda: len(searching(service.daemon.pid)) >= 2, "two processes search", 60)
        client = running.enter_context(Client(Access(service.address, token=TOKENS["write"])))
        nodes = cluster(*(node(f"n{at}", 8, zone="z", rack=f"r{at // 4}") for at in range(24)))
        assert client.plan(site(), [pair()], Ask(time_limit_s=300)).plan.status is Status.OPTIMAL
        assert client.plan(nodes, [large()], Ask(time_limit_s=300)).plan.status is Status.OPTIMAL
        assert sum(call.done() for call in bad) == 2, "all others still wait"


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_cancelled_and_expired_calls_leave_nothing(tmp_path: Path, end: str) -> None:
    """Their processes end or wait for the next question, and the places are free."""
    with served(tmp_path) as service, grpc.insecure_channel(service.address) as channel:
        plan = PlacementServiceStub(channel).Plan
        request = endless()
        calls = [plan.future(request, timeout=4 if end == "deadline" else ENDLESS_S) for _ in range(4)]
        if end == "cancel":
            eventually(lambda: searching(service.daemon.pid), "a process searches", 60)
            for call in calls:
                call.cancel()
        eventually(lambda: all(call.done() for call in calls), "the calls end", 60)
        eventually(lambda: not busy(service.daemon.pid), "no process computes any more", 60)
        with Client(Access(service.address)) as client:
            assert client.plan(site(), [pair()], Ask(time_limit_s=60)).plan.status is Status.OPTIMAL


def busy(service: int, pause_s: float = 0.3) -> bool:
    """Whether any process below the service computes."""

    def ticks() -> int:
        return sum(map(cpu_ticks, children_of(service) | searching(service)))

    before = ticks()
    time.sleep(pause_s)
    return ticks() > before


def test_sigterm_ends_the_processes_of_the_service(tmp_path: Path) -> None:
    """After the grace for running calls, however long they still want to run; the signal comes to the whole group."""
    with served(tmp_path, "--grace", "500ms") as service, grpc.insecure_channel(service.address) as channel:
        plan = PlacementServiceStub(channel).Plan
        call = plan.future(endless(), timeout=ENDLESS_S)
        pid = service.daemon.pid
        below = eventually(lambda: searching(pid), "a process searches", 60) | children_of(pid)
        service.daemon.send(signal.SIGTERM)
        eventually(lambda: not service.daemon.runs, "the service ends", 60)
        eventually(lambda: not any(map(alive, below)), "its processes end", 60)
        assert call.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def searching(service: int) -> set[int]:
    """Solvers of the processes below the service."""
    return {solver for worker in children_of(service) for solver in children_of(worker)}
