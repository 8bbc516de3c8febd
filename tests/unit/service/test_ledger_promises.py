"""Promises and held states together: what is checked, what is held, what ends it, who wins."""

import random
import subprocess
import sys
import threading
import time as real_time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from solver.domain.changes import NodeGone, NodeSet, PodBound, PodGone
from solver.domain.plan import Assignment
from solver.ledger import Phase, Promise
from solver.service.config import ServiceConfig
from solver.service.errors import Conflict, Full, InvalidField, NotFound, Unavailable
from solver.service.promises import PromiseLimits, Wish
from support.builders import bound, cluster, gang, node, queue, role
from support.promising import CLUSTER, MINUTE_MS, Office, Time, asked, nodes, placed, wish, workers


@pytest.fixture
def time() -> Time:
    """Time that stands still unless moved."""
    return Time()


@pytest.fixture
def office(time: Time) -> Iterator[Office]:
    """Four nodes of eight GPUs, and nothing promised."""
    found = Office.open(time=time)
    found.put(nodes())
    yield found
    found.promises.close()


def test_what_is_promised_is_held_in_the_state(office: Office) -> None:
    """In the version that the answer tells; other gangs no longer get it, the gang itself does."""
    before = office.clusters.get(CLUSTER).view().version
    wanted = workers(gpus=8)
    reserved = office.promises.reserve(wish("a", wanted, "n0", "n1", state_version=before))
    assert reserved.state_version > before
    assert office.clusters.get(CLUSTER).view().version == reserved.state_version
    assert office.promised() == {"default/g-0": "n0", "default/g-1": "n1"}
    assert office.promised(wanted.name) == {}
    with pytest.raises(Conflict, match="the plan of gang default/h does not fit any more: capacity: node n1: 8000 gpu"):
        office.promises.reserve(wish("b", workers("h", gpus=8), "n2", "n1"))
    again = office.promises.reserve(wish("c", wanted, "n0", "n2"))
    assert office.promised() == {"default/g-0": "n0", "default/g-1": "n2"}
    assert office.promises.page(CLUSTER, "", "", 10).promises == (again.promise,)


def test_released_and_expired_promises_give_their_capacity_back(office: Office, time: Time) -> None:
    """A confirmed one only when it is released; an expired lease before the next plan is checked."""
    first = office.promises.reserve(wish("a", workers("a", gpus=8), "n0", "n1")).promise
    second = office.promises.reserve(wish("b", workers("b", gpus=8), "n2", "n3", lease_ms=MINUTE_MS // 2)).promise
    office.promises.confirm(asked("c"), first.id)
    time.passes(MINUTE_MS // 2)
    third = office.promises.reserve(wish("d", workers("d", gpus=8), "n2", "n3")).promise
    assert office.promised() == {"default/a-0": "n0", "default/a-1": "n1", "default/d-0": "n2", "default/d-1": "n3"}
    with pytest.raises(Conflict, match=f"promise {second.id} of gang default/b has expired: its lease has ended"):
        office.promises.confirm(asked("e"), second.id)
    office.promises.release(asked("f"), first.id)
    office.promises.release(asked("g"), third.id)
    with pytest.raises(Conflict, match="has been released"):
        office.promises.confirm(asked("h"), third.id)
    assert office.promised() == {}
    assert office.promises.page(CLUSTER, "", "", 10).promises == ()


def test_leases_end_by_themselves(office: Office, time: Time) -> None:
    """Nobody has to call anything."""
    office.promises.start()
    office.promises.reserve(wish("a", workers(), "n0"))
    time.passes(MINUTE_MS)
    until_s = real_time.monotonic() + 120
    while office.promised() and real_time.monotonic() < until_s:
        real_time.sleep(0.01)
    assert office.promised() == {}


def test_pods_are_held_until_they_are_seen_bound_anywhere(office: Office) -> None:
    """One by one, in the same version in which their own capacity counts; the promise is fulfilled with the last."""
    promise = office.promises.reserve(wish("a", workers(gpus=4), "n0", "n1")).promise
    office.promises.confirm(asked("b"), promise.id)
    state = office.clusters.get(CLUSTER)
    state.apply("1", 1, [PodBound(replace(bound("g-0", "n3", 4), uid="u0"))])
    assert office.promised() == {"default/g-1": "n1"}
    (half,) = office.promises.page(CLUSTER, "", "", 10).promises
    assert [pod.seen_on for pod in half.pods] == ["n3", ""]
    state.apply("1", 2, [PodBound(replace(bound("g-1", "n1", 4), uid="u1"))])
    assert office.promised() == {}
    assert office.promises.release(asked("c"), promise.id).phase is Phase.FULFILLED
    state.apply("1", 3, [PodGone("u0", "default/g-0"), PodGone("u1", "default/g-1")])
    assert office.promised() == {}
    assert office.free_gpus("n1") == 8


def test_whoever_is_told_of_a_promise_hears_at_once_that_its_pod_is_seen(office: Office) -> None:
    """A pod bound between check and promise is seen while the state takes the promise; changes keep their order."""
    state = office.clusters.get(CLUSTER)
    take = state.promise
    bound_first = [PodBound(replace(bound("g-1", "n3", 2), uid="u1"))]

    def raced(changed: list[Promise]) -> None:
        if bound_first:
            state.apply("1", 1, [bound_first.pop()])
        take(changed)

    state.promise = raced  # type: ignore[method-assign,assignment]
    watch = office.promises.watch(CLUSTER)
    events = iter(watch)
    next(events)
    office.promises.reserve(wish("a", workers(), "n0", "n1"))
    told = [next(events), next(events)]
    assert [[pod.seen_on for pod in promise.pods] for promise in told if isinstance(promise, Promise)] == [
        ["", ""],
        ["", "n3"],
    ]
    assert office.promised() == {"default/g-0": "n0"}


def test_a_pod_that_is_bound_already_cannot_be_promised(office: Office) -> None:
    """Its promise would end before it began; as a running member it counts, as in a plan."""
    office.clusters.get(CLUSTER).apply("1", 1, [PodBound(replace(bound("g-0", "n0", 8), uid="u"))])
    with pytest.raises(Conflict, match="pod default/g-0 is bound to node n0"):
        office.promises.reserve(wish("a", workers(gpus=8), "n1", "n2"))
    running = gang(
        role("w", 2, gpus=8, pods=["default/g-0", "default/g-1"]), name="default/g", running={"default/g-0": "n0"}
    )
    plan = (Assignment("default/g-1", "w", "n1"),)
    office.promises.reserve(Wish(asked("b"), CLUSTER, running, plan))
    assert office.promised() == {"default/g-1": "n1"}
    with pytest.raises(InvalidField, match=r"assignments\[0\].pod: 'default/g-0' is among the running members"):
        office.promises.reserve(Wish(asked("c"), CLUSTER, running, placed(running, "n1", "n2")))
    with pytest.raises(Conflict, match=r"gang: .*1 of at least 2"):
        office.promises.reserve(Wish(asked("d"), CLUSTER, replace(running, running=()), plan))


def test_the_state_of_now_decides_whatever_version_the_plan_was_made_for(office: Office) -> None:
    """A node that has gone or filled up since is a conflict; a version that does not exist yet is a mistake."""
    state = office.clusters.get(CLUSTER)
    version = state.view().version
    state.apply("1", 1, [NodeGone("n0"), PodBound(replace(bound("big", "n1", 8), uid="u"))])
    with pytest.raises(Conflict, match="node 'n0' of pod default/g-0 is gone"):
        office.promises.reserve(wish("a", workers(), "n0", state_version=version))
    with pytest.raises(Conflict, match="capacity: node n1: 4000 gpu asked of 0 free"):
        office.promises.reserve(wish("a", workers(), "n1", state_version=version))
    for wrong in (-1, state.view().version + 1):
        with pytest.raises(InvalidField, match="state_version"):
            office.promises.reserve(wish("a", workers(), "n2", state_version=wrong))
    office.promises.reserve(wish("a", workers(), "n2", state_version=state.view().version))


def test_every_hard_rule_is_checked(time: Time) -> None:
    """Pack, eligibility, queue, the minimum of the whole gang: the first violation is told in one sentence."""
    office = Office.open(time=time)
    site = [node(f"n{at}", rack=f"r{at // 2}") for at in range(3)] + [node("n3", rack="r1", schedulable=False)]
    office.put(cluster(*site, queues=[queue("small", gpu=3000), queue("large")]))
    cases = {
        "pack: ": (workers(required="rack"), ("n0", "n2")),
        "eligible: role w on node n3: it is cordoned": (workers(), ("n3",)),
        "queue: queue small: 4000 gpu": (workers(queue="small"), ("n0",)),
        "queue: queue none does not exist": (workers(queue="none"), ("n0",)),
    }
    for sentence, (wanted, on) in cases.items():
        with pytest.raises(Conflict, match=sentence):
            office.promises.reserve(wish("a", wanted, *on))
    with pytest.raises(Conflict, match="gang: group root replica 0: role w has 1 of at least 2 pods"):
        office.promises.reserve(replace(wish("a", workers(), "n0"), assignments=placed(workers(), "n0")[:1]))
    office.promises.reserve(wish("a", workers(required="rack", queue="large"), "n0", "n1"))
    office.promises.close()


def test_mistakes_are_told_with_the_path_of_the_field(office: Office) -> None:
    """What no state of the cluster would make right is no conflict."""
    wanted = workers()
    good = wish("a", wanted, "n0")
    stranger, twice = Assignment("default/x", "w", "n0"), good.assignments[:1] * 2
    cases = {
        r"assignments\[0\].pod: 'default/x' is no pod of role 'w'": replace(good, assignments=(stranger,)),
        r"assignments\[1\].pod: 'default/g-0' is assigned twice": replace(good, assignments=twice),
        "gang: .*level 'floor' is unknown": replace(good, gang=workers(required="floor")),
        r"lease_ms: -1 is out of range \(0 to 3600000\)": replace(good, lease_ms=-1),
        "lease_ms: 3600001 is out of range": replace(good, lease_ms=3_600_001),
    }
    for sentence, wrong in cases.items():
        with pytest.raises(InvalidField, match=sentence):
            office.promises.reserve(wrong)
    with pytest.raises(NotFound, match="no snapshot of cluster 'other'"):
        office.promises.reserve(replace(good, cluster="other"))
    assert office.promised() == {}


def test_an_answer_is_given_again_whatever_has_become_of_the_state(tmp_path: Path, time: Time) -> None:
    """The plan is not checked anew; after a restart not even the state has to be there."""
    office = Office.open(tmp_path / "ledger.db", time)
    office.put(nodes())
    first = office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1")).promise
    office.clusters.get(CLUSTER).apply("1", 1, [NodeGone("n0")])
    assert office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1")).promise == first
    with pytest.raises(InvalidField, match="request_id"):
        office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1", content="other"))
    office.promises.close()
    again = Office.open(tmp_path / "ledger.db", time)
    reserved = again.promises.reserve(wish("a", workers(gpus=8), "n0", "n1"))
    assert (reserved.promise, reserved.state_version) == (first, 0)
    again.promises.close()


def test_a_refused_plan_may_be_asked_for_again_under_its_id(office: Office) -> None:
    """What never happened is not remembered."""
    other = office.promises.reserve(wish("a", workers("h"), "n0"))
    with pytest.raises(Conflict):
        office.promises.reserve(wish("b", workers(gpus=4), "n0", content="first"))
    office.promises.release(asked("c"), other.promise.id)
    office.promises.reserve(wish("b", workers(gpus=4), "n0", content="second"))


def test_a_cluster_that_comes_takes_what_the_ledger_holds(tmp_path: Path, time: Time) -> None:
    """After a restart with the first snapshot, before anybody can plan on it; pods bound meanwhile are seen."""
    office = Office.open(tmp_path / "ledger.db", time)
    office.put(nodes())
    promise = office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1")).promise
    office.promises.confirm(asked("b"), promise.id)
    office.promises.close()
    again = Office.open(tmp_path / "ledger.db", time)
    assert [found.id for found in again.promises.page(CLUSTER, "", "", 10).promises] == [promise.id]
    again.put(nodes().with_pods([replace(bound("g-1", "n1", 8), uid="u")]))
    assert again.promised() == {"default/g-0": "n0"}
    assert [pod.seen_on for pod in again.promises.page(CLUSTER, "", "", 10).promises[0].pods] == ["", "n1"]
    with pytest.raises(Conflict):
        again.promises.reserve(wish("c", workers("h", gpus=8), "n0", "n2"))
    again.promises.close()


def test_a_node_that_comes_back_holds_its_promises_again(office: Office) -> None:
    """Nothing is lost while it is away."""
    office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1"))
    state = office.clusters.get(CLUSTER)
    state.apply("1", 1, [NodeGone("n0")])
    assert office.promised() == {"default/g-1": "n1"}
    state.apply("1", 2, [NodeSet(node("n0", rack="r0"))])
    assert office.promised() == {"default/g-0": "n0", "default/g-1": "n1"}


def test_pages_are_stable_while_promises_come_and_go(office: Office) -> None:
    """What is there all the time is told exactly once, whatever ends or begins between two pages."""
    ids = [office.promises.reserve(wish(f"a{at}", workers(f"g{at}", 1, 1), "n0")).promise.id for at in range(8)]
    first = office.promises.page(CLUSTER, "", "", 3)
    assert ([promise.id for promise in first.promises], first.more) == (ids[:3], True)
    for gone in (ids[2], ids[3], ids[5]):
        office.promises.release(asked(f"r{gone}"), gone)
    ids.append(office.promises.reserve(wish("b", workers("new", 1, 1), "n1")).promise.id)
    second = office.promises.page(CLUSTER, "", first.promises[-1].id, 3)
    third = office.promises.page(CLUSTER, "", second.promises[-1].id, 3)
    told = [promise.id for promise in (*second.promises, *third.promises)]
    assert told == [ids[4], ids[6], ids[7], ids[8]]
    assert not third.more
    assert office.promises.page(CLUSTER, "", told[-1], 3).promises == ()
    assert [promise.gang for promise in office.promises.page(CLUSTER, "default/new", "", 3).promises] == ["default/new"]
    assert office.promises.page("elsewhere", "", "", 3).promises == ()
    for wrong in ("x", "1", ids[0] + "0x"):
        with pytest.raises(InvalidField, match="page_token"):
            office.promises.page(CLUSTER, "", wrong, 3)


@pytest.mark.parametrize("seed", range(6))
def test_of_many_who_want_the_last_room_exactly_as_many_get_it_as_fit(office: Office, seed: int) -> None:
    """At the same moment, from many threads, with others releasing and the cluster changing: never one too many."""
    rng = random.Random(seed)
    callers, rounds = 6, 4
    start = threading.Barrier(callers)
    won: list[list[str]] = [[] for _ in range(callers)]

    def call(who: int) -> None:
        for at in range(rounds):
            wanted = workers(f"g{who}-{at}", 1, 4)
            start.wait(120)
            try:
                won[who].append(office.promises.reserve(wish(wanted.name, wanted, f"n{at % 4}")).promise.id)
            except Conflict:
                continue

    threads = [threading.Thread(target=call, args=(who,)) for who in range(callers)]
    rng.shuffle(threads)
    for thread in threads:
        thread.start()
    state = office.clusters.get(CLUSTER)
    for sequence in range(1, 40):
        state.apply("1", sequence, [PodBound(replace(bound("busy", "n3", cpu=rng.random()), uid="u"))])
    for thread in threads:
        thread.join(120)
    view = state.view().snapshot
    assert (view.free >= 0).all()
    assert sum(map(len, won)) == 2 * rounds
    assert len(office.promised()) == 2 * rounds
    for promise_id in (each for ids in won for each in ids):
        office.promises.release(asked(f"release {promise_id}"), promise_id)
    assert (state.view().snapshot.whole_free_gpus == 8).all()


def test_one_request_from_many_threads_is_one_promise(office: Office) -> None:
    """A client that repeats itself before it has heard the answer."""
    start = threading.Barrier(8)
    answers = []

    def call() -> None:
        start.wait(120)
        answers.append(office.promises.reserve(wish("a", workers(gpus=8), "n0", "n1")).promise)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 8
    assert len({promise.id for promise in answers}) == 1
    assert office.ledger.revision == answers[0].revision


def test_what_was_seen_while_nothing_could_be_written_is_written_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas go on; the promise learns it as soon as there is room."""
    promise = office.promises.reserve(wish("a", workers(), "n0", "n1")).promise

    def full(*_: object) -> list[Promise]:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(office.ledger, "seen", full)
    office.clusters.get(CLUSTER).apply("1", 1, [PodBound(replace(bound("g-0", "n2", 2), uid="u"))])
    assert office.promised() == {"default/g-1": "n1"}
    with pytest.raises(Unavailable):
        office.promises.settle()
    monkeypatch.undo()
    office.promises.settle()
    kept = office.ledger.get(promise.id)
    assert kept is not None
    assert [pod.seen_on for pod in kept.pods] == ["n2", ""]


def test_limits_follow_the_configuration() -> None:
    """Pods that may be promised, and leases in milliseconds."""
    config = ServiceConfig()
    limits = PromiseLimits.of(config)
    assert (limits.default_lease_ms, limits.max_lease_ms) == (60_000, 3_600_000)
    office = Office.open(limits=replace(limits, max_pods=3))
    office.put(nodes())
    office.promises.reserve(wish("a", workers("a"), "n0"))
    with pytest.raises(Full, match="more than 3 pods would be promised"):
        office.promises.reserve(wish("b", workers("b"), "n0"))
    office.promises.close()


def test_promises_are_kept_without_the_engine() -> None:
    """Neither they nor their servicer load OR-Tools."""
    code = "import solver.service.ledger_servicer, sys; print([name for name in sys.modules if 'ortools' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
