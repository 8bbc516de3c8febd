"""Gangs that are written to be expensive, asked of a service: answers in time, memory within limits, others served."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1.placement_service_pb2_grpc import PlacementServiceStub
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.service.access import Access
from solver.service.client import Client
from solver.service.codec.gang import encode_gang
from solver.service.codec.snapshot import encode_whole
from solver.service.requests import Ask
from support.hostile import KINDS, hostile, world
from support.serving import Served, served
from tests.service.test_placement_service import pair, site
from tests.unit.search.processes import children_of

#: Budget of a question in seconds; how many times over a loaded machine may take it, and a quiet one.
LIMIT_S, LOADED, QUIET = 0.5, 6.0, 1.2
#: What an answer may take beyond that, and the way of the question and the answer, in seconds.
SLACK_S, TRAVEL_S = 0.2, 0.3
#: Memory of each process; the limit of one question, and what Python and the libraries take.
MEMORY_KIB = (1024 + 512) << 10
#: Questions of both callers that are under way at a time.
AT_ONCE = 2


def hostile_gangs(seeds: Sequence[int]) -> Iterator[Gang]:
    """Those that can be read and sent."""
    for seed in seeds:
        with suppress(InvalidRequest):
            gang = hostile(seed)
            encode_gang(gang)
            yield gang


def ask_all(service: Served, gangs: Sequence[Gang], most_s: float) -> None:
    """Every gang is answered, or refused, in time; small questions of others are answered meanwhile, and afterwards."""
    state, options = pb.ClusterRef(inline=encode_whole(world())), pb.PlanOptions(time_limit_ms=int(1000 * LIMIT_S))
    with grpc.insecure_channel(service.address) as channel, Client(Access(service.address)) as client:
        plan = PlacementServiceStub(channel).Plan
        for at in range(0, len(gangs), AT_ONCE):
            some = gangs[at : at + AT_ONCE]
            began = time.monotonic()
            calls = [
                plan.future(pb.PlanRequest(cluster=state, gangs=[encode_gang(gang)], options=options)) for gang in some
            ]
            assert client.plan(site(), [pair()], Ask(time_limit_s=60)).plan.status is Status.OPTIMAL
            for gang, call in zip(some, calls, strict=True):
                error = call.exception(timeout=60)
                assert error is None or error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"{gang.name}: {error}"
                took_s = time.monotonic() - began
                assert took_s <= AT_ONCE * most_s, f"{gang.name}: {took_s:.2f} s of {LIMIT_S} s"
            assert most_memory_kib(service.daemon.pid) <= MEMORY_KIB, [gang.name for gang in some]
    assert "internal_error" not in service.daemon.log.read_text(encoding="utf-8")


def most_memory_kib(service: int) -> int:
    """The most that the service, or one of its processes, has held so far."""
    workers = children_of(service)
    pids = {service, *workers, *(solver for worker in workers for solver in children_of(worker))}
    return max(map(_high_water_kib, pids))


def _high_water_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def test_every_kind_of_hostile_gang(tmp_path: Path) -> None:
    """One of each, with room for a loaded machine."""
    with served(tmp_path) as service:
        ask_all(service, list(hostile_gangs(range(len(KINDS)))), LOADED * (QUIET * LIMIT_S + SLACK_S) + TRAVEL_S)


@pytest.mark.soak
def test_three_hundred_hostile_gangs(tmp_path: Path) -> None:
    """By the strict limit: for a quiet machine."""
    with served(tmp_path) as service:
        gangs = list(hostile_gangs(range(25 * len(KINDS))))
        assert len(gangs) > 200
        ask_all(service, gangs, QUIET * LIMIT_S + SLACK_S + TRAVEL_S)
