"""What goes wrong around a service: its solvers die, its disk is full, those who asked do not read, or are gone."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from solver.api.v1 import placement_service_pb2 as pb
from solver.api.v1.placement_service_pb2_grpc import PlacementServiceStub
from solver.domain.errors import SourceUnavailable
from solver.domain.plan import Assignment, Status
from solver.planner import Engine
from solver.service.access import Access
from solver.service.client import Client
from solver.service.codec.gang import encode_gang
from solver.service.config import Limits
from solver.service.requests import Ask
from support.builders import cluster, gang, node, role
from support.controlplane.waiting import eventually
from support.serving import Served, served
from tests.service.conftest import Serve, until
from tests.service.test_placement_service import hard, pair, site
from tests.unit.search.processes import children_of

#: Hundredths of a second: a solver's start takes less, the question of these tests more.
START_TICKS = 200
#: What a thousand calls may add, since allocators keep some of what they were given back: nothing that grows with them.
MOST_GROWTH_MIB, MOST_CHILDREN = 64, 2
#: Its pools have so many, and gRPC and the rest some more.
MOST_THREADS = Limits().workers + 40
CANCELLED, AT_ONCE = 1000, 10


def status_of(pid: int, key: str) -> int:
    """A number of /proc/<pid>/status: `Threads`, or `VmRSS` in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that a process has computed; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@contextmanager
def deadly(service: int, victim: str) -> Iterator[list[int]]:
    """Processes of a service are killed as soon as one has searched for longer than it takes to start; their ids.

    victim: the `solver` that searches, or the `worker` that it searches for.
    """
    killed: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while not over.wait(0.02):
            pairs = [(worker, solver) for worker in children_of(service) for solver in children_of(worker)]
            for worker, solver in pairs:
                doomed = worker if victim == "worker" else solver
                if doomed not in killed and cpu_ticks(solver) > START_TICKS:
                    os.kill(doomed, signal.SIGKILL)
                    killed.append(doomed)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield killed
    finally:
        over.set()
        hunter.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    """A process of its own."""
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    """Of that process."""
    with Client(Access(service.address)) as found:
        yield found


def defects(service: Served) -> list[str]:
    """Lines of its log that tell one."""
    lines = service.daemon.log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "internal_error" in line or "Traceback" in line]


@pytest.mark.parametrize("victim", ["solver", "worker"])
def test_a_solver_that_is_killed_in_mid_solve(service: Served, client: Client, victim: str) -> None:
    """However often: unknown or feasible, never infeasible; and the next questions are answered as ever."""
    snapshot, asked = hard()
    client.put_snapshot("prod", "1", snapshot)
    with deadly(service.daemon.pid, victim) as killed:
        found = client.plan("prod", [asked], Ask(Engine.CPSAT, time_limit_s=30)).plan
    assert killed
    assert found.status in (Status.UNKNOWN, Status.FEASIBLE)
    assert found.gangs[0].reasons == ()
    assert client.plan("prod", [asked], Ask(time_limit_s=30)).plan.status is Status.OPTIMAL
    assert client.plan(site(), [pair(gpus=9)], Ask(time_limit_s=30)).plan.status is Status.INFEASIBLE
    assert defects(service) == []


def test_cancelled_calls_leave_no_memory_threads_or_processes(service: Served, client: Client) -> None:
    """A thousand searches given up, in line or under way; after the first hundred nothing grows."""
    snapshot, asked = hard()
    client.put_snapshot("prod", "1", snapshot)
    options = pb.PlanOptions(engine=2, time_limit_ms=60_000)
    request = pb.PlanRequest(cluster=pb.ClusterRef(name="prod"), gangs=[encode_gang(asked)], options=options)
    pid = service.daemon.pid
    with grpc.insecure_channel(service.address) as channel:
        plan = PlacementServiceStub(channel).Plan

        def give_up(calls: int) -> tuple[int, int]:
            """Kilobytes and threads the process has afterwards, when it has answered somebody else."""
            for at in range(calls // AT_ONCE):
                begun = [plan.future(request) for _ in range(AT_ONCE)]
                time.sleep(0.05)
                if at == 0:
                    eventually(lambda: children_of(pid), "a question is given to a process")
                for call in begun:
                    call.cancel()
            until(lambda: client.plan(site(), [pair()], Ask(time_limit_s=30)).plan.status is Status.OPTIMAL)
            return status_of(pid, "VmRSS"), status_of(pid, "Threads")

        before = give_up(CANCELLED // 10)
        after = give_up(CANCELLED)
    assert after[0] - before[0] < MOST_GROWTH_MIB * 1024
    assert after[1] < MOST_THREADS
    eventually(lambda: len(children_of(pid)) <= MOST_CHILDREN, "processes of cancelled questions end")
    assert defects(service) == []


def test_a_full_disk_refuses_promises_and_nothing_else(tmp_path: Path) -> None:
    """While files cannot grow nothing is promised and all else is answered; then all is well, after a crash too."""
    ledger = ("--ledger", str(tmp_path / "ledger.db"))
    with served(tmp_path, *ledger) as service, Client(Access(service.address)) as client:
        client.put_snapshot("prod", "1", site())
        (planned,) = client.plan("prod", [pair()]).plan.gangs
        kept = client.reserve("prod", pair(), planned.assignments, request_id="kept").promise
        with no_room(service.daemon.pid, tmp_path / "ledger.db-wal"):
            for refused in (
                lambda: client.reserve("prod", pair("default/b"), _moved(planned.assignments), request_id="later"),
                lambda: client.confirm(kept.id),
                lambda: client.release(kept.id),
            ):
                with pytest.raises(SourceUnavailable, match="the ledger cannot be used now"):
                    refused()
            assert list(client.promises("prod")) == [kept]
            assert client.plan("prod", [pair("default/b")]).plan.status is Status.OPTIMAL
            assert client.get_state("prod")[0].promised_pods == 2
        later = client.reserve("prod", pair("default/b"), _moved(planned.assignments), request_id="later").promise
        confirmed = client.confirm(kept.id)
        assert defects(service) == []
        service.daemon.kill()
    (tmp_path / "again").mkdir()
    with served(tmp_path / "again", *ledger) as service, Client(Access(service.address)) as client:
        client.put_snapshot("prod", "1", site())
        assert {promise.id: promise.phase for promise in client.promises("prod")} == {
            confirmed.id: confirmed.phase,
            later.id: later.phase,
        }


@contextmanager
def no_room(pid: int, log: Path) -> Iterator[None]:
    """Files of a process cannot grow beyond what the log of its ledger has now."""
    soft, hard_limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 100, hard_limit))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard_limit))


def _moved(assignments: tuple[Assignment, ...]) -> tuple[Assignment, ...]:
    """The same pods two nodes further."""
    return tuple(replace(item, node=f"n{(int(item.node[1:]) + 2) % 4}") for item in assignments)


def test_answers_that_nobody_reads_hold_up_nobody(serve: Serve) -> None:
    """Large answers wait in their streams, the only search slot is free, and callers who go leave nothing."""
    running = serve(limits=Limits(max_solves=1))
    nodes = cluster(*(node(f"n{at}", gpus=8, pods=10_000) for at in range(2)))
    many = gang(role("worker", 5000, gpus=0.001))
    request = pb.PlanStreamRequest(cluster=pb.ClusterRef(name="prod"), gangs=[encode_gang(many)])
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    with Client(Access(running.target)) as client, grpc.insecure_channel(running.target, window) as channel:
        stub = PlacementServiceStub(channel)
        client.put_snapshot("prod", "1", nodes)
        unread = [stub.PlanStream(request, timeout=120) for _ in range(4)]
        until(lambda: running.server.gate.running == len(unread))
        small = gang(role("worker", 2, gpus=1), name="default/small")
        for _ in range(3):
            assert client.plan("prod", [small], Ask(time_limit_s=60)).plan.status is Status.OPTIMAL
        assert running.server.gate.running == len(unread)
        *_, last = unread.pop()
        assert len(last.answer.plan.gangs[0].assignments) == 5000
        for call in unread:
            call.cancel()
        until(lambda: running.server.gate.running == 0)


def test_a_slow_reader_of_placements_on_the_way_only_misses_older_ones(serve: Serve) -> None:
    """Whoever comes back after the end hears the answer, and what came before is no better."""
    running = serve()
    snapshot, asked = hard()
    options = pb.PlanOptions(engine=1, time_limit_ms=20_000)
    request = pb.PlanStreamRequest(cluster=pb.ClusterRef(name="prod"), gangs=[encode_gang(asked)], options=options)
    with Client(Access(running.target)) as client:
        client.put_snapshot("prod", "1", snapshot)
        call = running.placement.PlanStream(request, timeout=60)
        until(lambda: running.logged("call")[1:])
        *before, last = call
    assert last.WhichOneof("event") == "answer"
    assert len(before) <= 2
    assert {one.WhichOneof("event") for one in before} <= {"incumbent"}
