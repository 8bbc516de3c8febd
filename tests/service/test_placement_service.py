"""Questions over the wire: the same answers as in the process, within the deadline, stopped when nobody waits."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from hypothesis import HealthCheck, given, settings

from solver.api.v1 import placement_service_pb2 as pb
from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Plan, Stats, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, plan
from solver.service import placement_servicer
from solver.service.access import Access
from solver.service.client import Client
from solver.service.codec.gang import encode_gang
from solver.service.codec.snapshot import encode_whole
from solver.service.config import Limits
from solver.service.errors import Full, InvalidField, NotFound, NotReady
from solver.service.replies import TimedOut, error_of
from solver.service.requests import Ask, Improved, Planned
from solver.service.solves import Solves
from solver.service.state import Clusters
from support.builders import cluster, flow, gang, node, role
from support.strategies import random_instance, seeds
from tests.service.conftest import Running, Serve, until

FEW = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A client of the server."""
    with Client(Access(server.target)) as found:
        yield found


def site(nodes: int = 4) -> Snapshot:
    """Nodes in racks of two."""
    return cluster(*(node(f"n{at}", zone="z", rack=f"r{at // 2}") for at in range(nodes)))


def pair(name: str = "default/llama", gpus: float = 4) -> Gang:
    """A prefill and a decode pod that talk."""
    roles = role("prefill", gpus=gpus), role("decode", gpus=gpus)
    return gang(*roles, name=name, flows=[flow("prefill", "decode", 1)])


def hard() -> tuple[Snapshot, Gang]:
    """A question that CP-SAT alone does not finish in minutes."""
    rng = random.Random(3)
    nodes = [
        node(f"n{at}", gpus=rng.randint(1, 8), zone=f"z{at // 128}", rack=f"r{at // rng.choice([7, 9])}")
        for at in range(512)
    ]
    roles = [role("prefill", 24, gpus=2), role("decode", 40, gpus=1)]
    return cluster(*nodes), gang(*roles, flows=[flow("prefill", "decode", 1)])


def without_times(answer: Plan) -> Plan:
    """The answer without what differs from run to run."""
    return replace(answer, gangs=tuple(replace(one, stats=Stats()) for one in answer.gangs))


@FEW
@given(seeds())
def test_the_same_answer_as_in_the_process(server: Running, seed: int) -> None:
    """Random questions with the state sent along: status, values, bounds, assignments, reasons."""
    snapshot, asked = random_instance(random.Random(seed))
    expected = plan(snapshot, [asked])
    with Client(Access(server.target)) as client:
        found = client.plan(snapshot, [asked])
    assert found.state_version == 0
    assert without_times(found.plan) == without_times(expected)


def test_a_batch_over_the_wire(client: Client) -> None:
    """Racks of 5 and 3 nodes, gangs of 2, 3 and 3 in one rack each: jointly all three fit."""
    racks = [("a", 5), ("b", 3)]
    snapshot = cluster(*(node(f"{rack}{at}", zone="z", rack=rack) for rack, size in racks for at in range(size)))
    gangs = [
        gang(role("worker", size, gpus=8), name=f"default/g{at}", required="rack") for at, size in enumerate([2, 3, 3])
    ]
    found = client.plan(snapshot, gangs, Ask(batch=True)).plan
    assert without_times(found) == without_times(plan_batch(snapshot, gangs))
    assert [one.status for one in found.gangs] == [Status.OPTIMAL] * 3


def test_a_held_cluster(client: Client) -> None:
    """Asked by name, the answer is that of the state, and tells its version."""
    held = client.put_snapshot("prod", "base-1", site())
    found = client.plan("prod", [pair()])
    assert (found.state_version, found.plan.status) == (held.version, Status.OPTIMAL)
    assert without_times(found.plan) == without_times(plan(site(), [pair()]))
    with pytest.raises(NotFound, match="nowhere"):
        client.plan("nowhere", [pair()])
    with pytest.raises(NotReady, match="not yet"):
        client.plan("prod", [pair()], Ask(min_version=held.version + 1))


def test_promises_of_others_are_taken_and_own_ones_are_not(client: Client) -> None:
    """A gang may be planned anew on its own promised room; another gang may not use it."""
    client.put_snapshot("prod", "base-1", site(2))
    first = client.plan("prod", [pair(gpus=8)])
    client.reserve("prod", pair(gpus=8), first.plan.gangs[0].assignments, first.state_version)
    other = pair("default/other", gpus=1)
    assert client.plan("prod", [pair(gpus=8)]).plan.status is Status.OPTIMAL
    assert client.plan("prod", [other]).plan.status is Status.INFEASIBLE
    both = client.plan("prod", [pair(gpus=7), other]).plan
    assert [one.status for one in both.gangs] == [Status.OPTIMAL] * 2


def test_no_is_an_answer(client: Client) -> None:
    """Infeasible comes with its reasons, not with an error."""
    found = client.plan(site(), [pair(gpus=9)]).plan
    assert found.status is Status.INFEASIBLE
    (explained,) = client.explain(site(), [pair(gpus=9)])
    assert explained.reasons == found.gangs[0].reasons
    assert explained.reasons
    assert client.explain(site(), [pair()])[0].reasons == ()


def test_better_answers_on_the_way(client: Client) -> None:
    """The stream ends with the answer; what came before is no better."""
    *before, answer = client.plan_stream(site(), [pair()])
    assert isinstance(answer, Planned)
    assert all(isinstance(one, Improved) and one.gang == "default/llama" for one in before)
    assert before, "an incumbent precedes the answer"
    final = [term.value for term in answer.plan.gangs[0].objective[1:]]
    assert all([term.value for term in one.objective[1:]] >= final for one in before if isinstance(one, Improved))


def test_the_limit_is_kept(client: Client) -> None:
    """A search that cannot end in time is feasible or unknown, with what is proven; never infeasible."""

    class Patient(Ask):
        @property
        def timeout_s(self) -> float:
            return 60.0

    snapshot, asked = hard()
    found = client.plan(snapshot, [asked], Patient(Engine.CPSAT, time_limit_s=0.5)).plan
    assert found.status in (Status.FEASIBLE, Status.UNKNOWN)


def test_the_deadline_of_the_call_is_the_budget(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit of its own the search ends before the call does, and leaves what is reserved for the answer."""
    monkeypatch.setattr(placement_servicer, "RESERVE_SHARE", 0.95)
    monkeypatch.setattr(placement_servicer, "RESERVE_MOST_S", 57.0)  # for the way back, on a loaded machine too
    server = serve(limits=Limits(default_budget_s=3600, max_budget_s=3600))
    snapshot, asked = hard()
    request = pb.PlanRequest(
        cluster=pb.ClusterRef(inline=encode_whole(snapshot)),
        gangs=[encode_gang(asked)],
        options=pb.PlanOptions(engine=2),
    )
    response = server.placement.Plan(request, timeout=60)
    assert response.plan.status in (2, 4)


@pytest.mark.parametrize(
    ("wish_s", "left_s", "budget_s"),
    [(None, 3.0, 2.9), (None, 0.001, 0.00095), (1.0, 3.0, 1.0), (5.0, 3.0, 2.9), (None, None, 4.0), (None, 1e12, 4.0)],
)
def test_what_is_kept_of_a_deadline(wish_s: float | None, left_s: float | None, budget_s: float) -> None:
    """A twentieth, at most a tenth of a second; what is wished for counts when it is less; without both the default."""
    limits = Limits(default_budget_s=4.0)
    servicer = placement_servicer.PlacementServicer(Clusters(limits), Solves(limits), limits)
    assert servicer._budget_s(wish_s, left_s) == pytest.approx(budget_s)


def test_a_deadline_of_a_millisecond(client: Client, server: Running) -> None:
    """Each call ends with its deadline, or with an answer that knows nothing; the service goes on."""
    snapshot, asked = hard()
    request = pb.PlanRequest(
        cluster=pb.ClusterRef(inline=encode_whole(snapshot)),
        gangs=[encode_gang(asked)],
        options=pb.PlanOptions(engine=2),  # which knows nothing after a millisecond, however quick the machine
    )
    for call in [server.placement.Plan.future(request, timeout=0.001) for _ in range(20)]:
        failed = call.exception()
        if failed is None:
            assert call.result().plan.status == 4
        else:
            assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.plan(site(), [pair()]).plan.status is Status.OPTIMAL


def test_a_client_that_gives_up_in_time() -> None:
    """The client's own deadline comes back as an error of the package."""

    class Hasty(Ask):
        @property
        def timeout_s(self) -> float:
            return 0.2

    with silent() as target, Client(Access(target)) as client, pytest.raises(TimedOut):
        client.plan(site(), [pair()], Hasty())


@contextmanager
def silent() -> Iterator[str]:
    """The address of a socket that listens and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_cancelled_calls_leave_nothing(serve: Serve) -> None:
    """A thousand calls given up, in line or while solved: no thread stays, and the service answers."""
    running = serve(limits=Limits(max_waiting=100))
    snapshot, asked = hard()
    request = pb.PlanRequest(
        cluster=pb.ClusterRef(inline=encode_whole(snapshot)),
        gangs=[encode_gang(asked)],
        options=pb.PlanOptions(engine=2, time_limit_ms=60_000),
    )
    with Client(Access(running.target)) as client:
        client.plan(site(), [pair()])
        before = unpooled()
        for _ in range(20):
            calls = [running.placement.Plan.future(request) for _ in range(50)]
            time.sleep(0.05)
            for call in calls:
                call.cancel()
        assert client.plan(site(), [pair()], Ask(time_limit_s=30)).plan.status is Status.OPTIMAL
        until(lambda: unpooled() <= before)


def unpooled() -> int:
    """Threads that belong to none of the service's bounded pools."""
    return sum(not thread.name.startswith(("call", "health", "solve")) for thread in threading.enumerate())


def test_too_many_at_once(serve: Serve) -> None:
    """Beyond the line a call is told to come back later."""
    running = serve(limits=Limits(max_solves=1, max_waiting=0))
    snapshot, asked = hard()
    request = pb.PlanRequest(
        cluster=pb.ClusterRef(inline=encode_whole(snapshot)),
        gangs=[encode_gang(asked)],
        options=pb.PlanOptions(engine=2, time_limit_ms=60_000),
    )
    call = running.placement.Plan.future(request)
    until(lambda: running.server.metrics.registry.get_sample_value("huddle_solves_running") == 1)
    with Client(Access(running.target)) as client, pytest.raises(Full) as refused:
        client.plan(site(), [pair()])
    call.cancel()
    assert refused.value.retry_s > 0


WRONG = {
    "no cluster": (pb.PlanRequest(gangs=[encode_gang(pair())]), "cluster"),
    "no gangs": (pb.PlanRequest(cluster=pb.ClusterRef(name="prod")), "gangs"),
    "a gang twice": (
        pb.PlanRequest(cluster=pb.ClusterRef(name="prod"), gangs=[encode_gang(pair()), encode_gang(pair())]),
        "gangs[1].name",
    ),
    "an engine that is none": (
        pb.PlanRequest(
            cluster=pb.ClusterRef(name="prod"), gangs=[encode_gang(pair())], options=pb.PlanOptions(engine=9)
        ),
        "options.engine",
    ),
    "a batch by the tree": (
        pb.PlanRequest(
            cluster=pb.ClusterRef(name="prod"),
            gangs=[encode_gang(pair())],
            options=pb.PlanOptions(engine=3, batch=True),
        ),
        "options.engine",
    ),
    "fair without batch": (
        pb.PlanRequest(
            cluster=pb.ClusterRef(name="prod"),
            gangs=[encode_gang(pair())],
            options=pb.PlanOptions(fair_before_unix_ms=1),
        ),
        "options.fair_before_unix_ms",
    ),
    "a version of an inline state": (
        pb.PlanRequest(cluster=pb.ClusterRef(inline=encode_whole(site()), min_version=3), gangs=[encode_gang(pair())]),
        "cluster.min_version",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_questions_are_refused(server: Running, case: str) -> None:
    """INVALID_ARGUMENT with the path of the field."""
    request, path = WRONG[case]
    with pytest.raises(grpc.RpcError) as refused:
        server.placement.Plan(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = error_of(refused.value)
    assert isinstance(error, InvalidField)
    assert error.field == path


def test_what_only_the_planner_sees(client: Client) -> None:
    """A level that the cluster does not know is the question's fault."""
    with pytest.raises(InvalidRequest, match="row"):
        client.plan(site(), [gang(role("worker"), required="row")])


LIMITS = {
    "gangs": (Limits(max_gangs=1), [pair(), pair("default/b")], "gangs"),
    "roles": (Limits(max_roles=1), [pair()], "gangs[0]"),
    "pods": (Limits(max_pods=3), [pair(), pair("default/b")], "gangs[1]"),
    "nodes": (Limits(max_nodes=3), [pair()], "cluster.inline"),
}


@pytest.mark.parametrize("case", sorted(LIMITS))
def test_limits(serve: Serve, case: str) -> None:
    """What is too large is refused before it costs anything."""
    limits, gangs, path = LIMITS[case]
    with Client(Access(serve(limits=limits).target)) as client, pytest.raises(InvalidField) as refused:
        client.plan(site(), gangs)
    assert refused.value.field.startswith(path)


def test_a_stream_carries_the_answer_so_far_on_request(client: Client) -> None:
    """Plans on the way are of the whole question, better ones come later; without the wish there are none."""
    gangs = [replace(pair(), name=f"prod/g{at}") for at in range(2)]
    quiet = list(client.plan_stream(site(), gangs))
    assert all(one.so_far is None for one in quiet if isinstance(one, Improved))
    *before, answer = client.plan_stream(site(), gangs, Ask(plans=True))
    assert isinstance(answer, Planned)
    told = [one.so_far for one in before if isinstance(one, Improved) and one.so_far is not None]
    for so_far in told:
        assert [found.name for found in so_far.gangs] == ["prod/g0", "prod/g1"]
        for found, final in zip(so_far.gangs, answer.plan.gangs, strict=True):
            assert found.status is Status.UNKNOWN or found.assignments == final.assignments
