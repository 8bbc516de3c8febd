"""The controller's solver by way of a service: it answers what the engine here would, whatever changes in between."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest

from adapters.apply.round import without_nodes
from adapters.cli.live_solver import LiveSolver
from adapters.cli.remote_solver import RemoteSolver, identified
from adapters.cli.solving import ServerAddress
from solver.domain.difference import difference
from solver.domain.editing import Editing, PodNames
from solver.domain.errors import SourceUnavailable
from solver.domain.holding import as_bound
from solver.domain.node_changes import with_nodes
from solver.domain.plan import Status
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.service.config import Limits
from solver.service.state import Clusters
from support.builders import bound, cluster, gang, node, role
from tests.service.conftest import Running, Serve

GANG = gang(role("decode", 3, gpus=2), name="default/g")
NEVER = threading.Event()


def watched(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> Clusters:
    """What the next server will hold."""
    clusters = Clusters(limits)
    monkeypatch.setattr("solver.service.server.Clusters", lambda *_: clusters)
    return clusters


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    """What the server holds; asked for before the server."""
    return watched(monkeypatch, Limits())


@contextmanager
def asking(server: Running, instance: str = "one") -> Iterator[RemoteSolver]:
    """A solver that asks the server."""
    solver = RemoteSolver(ServerAddress(server.target), 20.0, instance)
    try:
        yield solver
    finally:
        solver.close()


def site(nodes: int = 6) -> Snapshot:
    """Nodes of eight GPUs in racks of two."""
    records = [node(f"n{at}", gpus=8, rack=f"r{at // 2}") for at in range(nodes)]
    return cluster(*records)


def edited(snapshot: Snapshot, rng: random.Random, at: int) -> Snapshot:
    """The snapshot after one random edit of what a live cluster changes."""
    kind = rng.randrange(6)
    pods = list(snapshot.pods)
    if kind == 0 and pods:
        return snapshot.with_changes((), [rng.choice(pods)])
    if kind == 1:
        name = rng.choice([*snapshot.nodes, f"m{at}"])
        record = node(name, gpus=rng.choice((4, 8)), rack=f"r{rng.randrange(4)}")
        return with_nodes(snapshot, [replace(record, ready=rng.random() < 0.8)])
    if kind == 2 and len(snapshot.nodes) > 3:
        name = rng.choice(snapshot.nodes)
        return with_nodes(snapshot.with_changes((), [pod for pod in pods if pod.node == name]), [], [name])
    if kind == 3:
        return without_nodes(snapshot, [rng.choice(snapshot.nodes)])
    if kind == 4 and pods:
        pod = rng.choice(pods)
        return snapshot.with_changes([replace(pod, node=rng.choice(snapshot.nodes))], [pod])
    uid = rng.choice((f"u{at}", "", f"promise/{at}"))
    pod = bound(f"default/p{at % 5 if uid else at}", rng.choice(snapshot.nodes), gpus=rng.randrange(1, 4))
    return snapshot.with_pods([replace(pod, uid=uid)])


def nodes_of(snapshot: Snapshot) -> list[object]:
    """What every node says, whatever numbers the columns give to it."""
    return [
        (
            name,
            {what: n for what, n in zip(snapshot.resources, snapshot.allocatable[row].tolist(), strict=True) if n},
            {what: n for what, n in zip(snapshot.resources, snapshot.free[row].tolist(), strict=True) if n},
            bool(snapshot.ready[row]),
            bool(snapshot.schedulable[row]),
            {key: c.values[c.codes[row]] for key, c in snapshot.labels.items() if c.codes[row] >= 0},
            snapshot.taint_sets[snapshot.taint_codes[row]],
        )
        for row, name in enumerate(snapshot.nodes)
    ]


def told(snapshot: Snapshot) -> dict[str, BoundPod]:
    """Pods by uid."""
    return {pod.uid: pod for pod in snapshot.pods}


@pytest.mark.parametrize("seed", range(4))
def test_the_same_answers_over_random_edits(held: Clusters, server: Running, seed: int) -> None:
    """The state there is the snapshot asked about; status, values and assignments are those of the engine here."""
    rng, snapshot = random.Random(seed), site()
    here = LiveSolver(20.0)
    with asking(server) as solver:
        for at in range(25):
            for _ in range(rng.randrange(3)):
                snapshot = edited(snapshot, rng, rng.randrange(10**6))
            there = solver.plan(snapshot, [GANG], NEVER).gangs[0]
            expected = here.plan(snapshot, [GANG], NEVER).gangs[0]
            state = held.get(solver.cluster).view().snapshot
            assert nodes_of(state) == nodes_of(snapshot), at
            assert told(state) == told(identified(snapshot)), at
            assert (there.status, there.objective) == (expected.status, expected.objective)
            assert there.assignments == expected.assignments


def test_difference_of_shared_columns_is_what_changed() -> None:
    """One pod more is one change, a closed node another; the way back is as short."""
    before = site()
    after = without_nodes(before.with_pods([replace(bound("default/p", "n1", gpus=1), uid="u")]), ["n3"])
    there, back = difference(before, after), difference(after, before)
    assert there is not None
    assert back is not None
    assert [len(there), len(back)] == [2, 2]
    editing = Editing(after, PodNames(after.pods))
    for change in back:
        editing.apply(change)
    assert nodes_of(editing.result().snapshot) == nodes_of(before)


def test_other_rules_are_no_difference() -> None:
    """Queues or topologies that changed need a new snapshot."""
    before = site()
    assert difference(before, before.with_rules({}, {})) is None


def test_only_the_first_question_sends_a_snapshot(held: Clusters, server: Running) -> None:
    """What follows is numbered on top of it."""
    with asking(server) as solver:
        snapshot = site()
        for at in range(3):
            plan = solver.plan(snapshot, [GANG], NEVER).gangs[0]
            (state,) = (held.get(solver.cluster).describe(),)
            assert state.sequence == at
            member = replace(as_bound(GANG, plan.assignments)[0], uid=f"u{at}")
            snapshot = snapshot.with_pods([member])


def test_jointly(server: Running) -> None:
    """All together, as here."""
    gangs = [gang(role("decode", 2, gpus=8), name=f"default/{name}") for name in "ab"]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with asking(server) as solver:
        there = solver.plan_jointly(site(), gangs, NEVER, moment)
    here = LiveSolver(20.0).plan_jointly(site(), gangs, NEVER, moment)
    assert [(one.status, one.objective) for one in there.gangs] == [(one.status, one.objective) for one in here.gangs]


def test_a_state_that_is_lost_is_put_again(held: Clusters, server: Running) -> None:
    """Dropped, or replaced by somebody else under the same name: the answer is from the right state all the same."""
    with asking(server) as solver:
        assert solver.plan(site(), [GANG], NEVER).gangs[0].status.placed
        held.drop(solver.cluster)
        assert solver.plan(site(), [GANG], NEVER).gangs[0].status.placed
        held.of(solver.cluster).put("other", site(1))
        big = gang(role("decode", 6, gpus=8), name="default/big")
        assert solver.plan(site(), [big], NEVER).gangs[0].status.placed


def test_it_is_dropped_at_the_end_and_apart_from_others(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """Two at a time have a state each; room for two is enough for any number, one after the other."""
    limits = Limits(max_clusters=2)
    held = watched(monkeypatch, limits)
    server = serve(limits=limits)
    for at in range(3):
        with asking(server, f"a{at}") as one, asking(server, f"b{at}") as other:
            assert one.plan(site(), [GANG], NEVER).gangs[0].status.placed
            assert not other.plan(site(1), [gang(role("d", 2, gpus=8), name="default/g")], NEVER).gangs[0].status.placed
            assert one.plan(site(), [GANG], NEVER).gangs[0].status.placed
            assert len(held.names()) == 2
    assert held.names() == []


def test_a_service_that_refuses_or_is_away(serve: Serve) -> None:
    """One sentence that names it."""
    server = serve(limits=Limits(max_clusters=1))
    with asking(server, "one") as one, asking(server, "two") as two:
        one.plan(site(), [GANG], NEVER)
        with pytest.raises(SourceUnavailable, match=f"the service {server.target} gave no plan: 1 clusters are held"):
            two.plan(site(), [GANG], NEVER)
        server.server.stop(0)
        with pytest.raises(SourceUnavailable, match=f"the service {server.target} gave no plan"):
            one.plan(site(), [GANG], NEVER)


def test_stop_ends_the_call() -> None:
    """A service that accepts and never answers is left when told so; the gangs are unknown."""
    stop, asked = threading.Event(), threading.Event()
    with _silent(asked) as target:
        solver = RemoteSolver(ServerAddress(target), 60.0, "one")
        threading.Thread(target=lambda: (asked.wait(), stop.set())).start()
        plan = solver.plan(site(), [GANG], stop)
        assert [one.status for one in plan.gangs] == [Status.UNKNOWN]
        solver.close()


@contextmanager
def _silent(asked: threading.Event) -> Iterator[str]:
    """A server that answers nothing until it ends."""
    from concurrent.futures import ThreadPoolExecutor

    over = threading.Event()

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if "Drop" in details.method:
                return None

            def hold(requests: object, context: object) -> bytes:
                asked.set()
                over.wait()
                return b""

            return grpc.stream_unary_rpc_method_handler(hold)

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Handler(),))
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        over.set()
        server.stop(0).wait()


def test_the_controller_does_not_load_the_engine() -> None:
    """With --server, all that the process imports is free of OR-Tools."""
    code = (
        "import sys, adapters.cli.controller, adapters.cli.remote_solver, adapters.apply.gangs, adapters.apply.run, "
        "solver.service.logs; print([name for name in sys.modules if name.split('.')[0] == 'ortools'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
