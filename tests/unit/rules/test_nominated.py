"""Nominated room: who counts, for whom, and as what."""

from dataclasses import replace

import pytest

from solver.batch.plan import plan_batch
from solver.domain.gang import Gang
from solver.domain.nominated import counting, seen_alike, seen_by, unnominated
from solver.domain.plan import Plan, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, plan
from support.builders import apart, bound, cluster, constraints, gang, node, queue, role
from tests.unit.planner.solving import brute_force_agrees, each_engine, placed, refused, solved
from tests.unit.rules.tables import Fits, check_fits, fitting


def of(priority: int, each: Gang) -> Gang:
    """The gang with this priority."""
    return replace(each, priority=priority)


def site(*waiting: object, gpus: int = 2) -> Snapshot:
    """One node and pods that wait for it."""
    return cluster(node("n", gpus), pods=waiting)  # type: ignore[arg-type]


HOST = "kubernetes.io/hostname"
PAIR = gang(role("w", 2))
FITS: dict[str, Fits] = {
    "a pod of lower priority holds nothing": (site(bound("x", "n", 1, nominated=4)), of(5, PAIR), 2),
    "one beside it fits": (site(bound("x", "n", 1, nominated=5), gpus=3), of(5, PAIR), 2),
    "a pod of the gang by name": (site(bound("w-0", "n", 1, nominated=9)), PAIR, 2),
    "a pod of the gang by what it says": (site(bound("y", "n", 1, gang="default/llama", nominated=9)), PAIR, 2),
    "one that is bound already counts once": (
        site(bound("x", "n", 1, nominated=9), replace(bound("x", "n", 1), uid="promise/x"), gpus=3),
        PAIR,
        2,
    ),
    "its queue": (
        cluster(
            node("n", 3),
            pods=[bound("x", "n", 1, queue="team", nominated=9)],
            queues=[queue("team", gpu=2000)],
        ),
        replace(PAIR, queue="team"),
        2,
    ),
    "it keeps away what it is not nominated beside": (
        cluster(node("n", 2), node("m", 2), pods=[bound("x", "m", nominated=9, repels=[apart(HOST)])]),
        PAIR,
        2,
    ),
}


@fitting(FITS)
@each_engine
def test_fits(case: Fits, engine: Engine) -> None:
    """Room that does not count is free."""
    check_fits(case, engine)


@pytest.mark.parametrize("priority", [0, 7])
@each_engine
def test_room_of_pods_of_at_least_its_priority_is_taken(priority: int, engine: Engine) -> None:
    """GPUs, and a place among the pods of the node, as if the pod were bound."""
    taken = site(bound("x", "n", 1, nominated=7))
    narrow = cluster(node("n", 8, pods=2), pods=[bound("x", "n", nominated=7)])
    for snapshot in (taken, narrow):
        found = solved(snapshot, of(priority, PAIR), engine)
        assert (found.status, [reason.code for reason in found.reasons]) == (Status.INFEASIBLE, [ReasonCode.CAPACITY])
        assert brute_force_agrees(snapshot, of(priority, PAIR), found)


@each_engine
def test_it_goes_where_nobody_waits(engine: Engine) -> None:
    """The free GPUs of a node that somebody is nominated to are spoken for, for fragmentation too."""
    pods = [bound("half", "a", 4), bound("vip", "a", 4, nominated=10)]
    both = cluster(node("a", 8), node("b", 8), pods=pods)
    answer = placed(both, gang(role("w", 2, 2)), engine)
    assert {item.node for item in answer.assignments} == {"b"}
    assert brute_force_agrees(both, gang(role("w", 2, 2)), answer)
    mixed = placed(both, of(11, gang(role("w", 2, 2))), engine)
    assert {item.node for item in mixed.assignments} == {"a"}
    assert brute_force_agrees(both, of(11, gang(role("w", 2, 2))), mixed)


@each_engine
def test_anti_affinity_counts_like_capacity(engine: Engine) -> None:
    """Either way round, for gangs of at most its priority."""
    away = constraints(anti_affinity=[apart(HOST, app="db")])
    for waiting, where in (
        (bound("x", "n", nominated=3, app="db"), away),
        (
            bound("x", "n", nominated=3, repels=[apart(HOST, team="x")]),
            constraints(labels={"team": "x"}),
        ),
    ):
        each = gang(role("w", where=where))
        refused(site(waiting), of(3, each), engine, "eligible", "anti-affinity", nodes=1, eligible=0)
        check_fits((site(waiting), of(4, each), 1), engine)


def test_the_priority_of_its_pods_counts_where_it_is_not_that_of_the_gang() -> None:
    """It is with that that they meet nominated pods."""
    snapshot = site(bound("x", "n", 1, nominated=3))
    for pod_priority, fits in ((None, True), (0, False), (3, False), (4, True)):
        each = replace(of(9, PAIR), pod_priority=pod_priority)
        found = solved(snapshot, each, Engine.AUTO)
        assert found.status.placed == fits
        assert brute_force_agrees(snapshot, each, found)


def test_who_counts() -> None:
    """By priority; a gang's own pods never do, and a snapshot without any stays itself."""
    pods = [bound("low", "n", 1, nominated=1), bound("high", "n", 1, nominated=3), bound("w-1", "n", 1, nominated=9)]
    snapshot = site(*pods, gpus=8)
    assert [pod.name for pod in counting(snapshot, of(2, PAIR))] == ["default/high"]
    seen = seen_by(snapshot, of(2, PAIR))
    assert seen.nominated == ()
    assert [(pod.name, pod.is_nominated) for pod in seen.pods] == [("default/high", False)]
    assert (seen.version, seen.free[0, 0]) == (snapshot.version, 7000)
    assert seen_by(seen, PAIR) is seen
    assert [pod.name for pod in unnominated(snapshot, [PAIR]).nominated] == ["default/high", "default/low"]


def test_gangs_that_see_the_same() -> None:
    """Or not: then there is no one view of them all."""
    snapshot, other = site(bound("x", "n", 1, nominated=3)), replace(PAIR, name="default/other")
    alike = seen_alike(snapshot, [PAIR, of(3, other)])
    assert alike is not None
    assert alike.nominated == ()
    assert seen_alike(snapshot, [PAIR, of(4, other)]) is None
    plain = site()
    assert seen_alike(plain, [PAIR, of(4, other)]) is plain


def nodes(found: Plan) -> list[set[str]]:
    """Nodes that each gang of a plan uses."""
    return [{item.node for item in answer.assignments} for answer in found.gangs]


def test_a_gang_that_has_its_place_holds_no_nominated_room_any_more() -> None:
    """The next one may have that room; while the first has none, it may not."""
    first = of(5, gang(role("v", 1, 2), name="default/first"))
    second = gang(role("w", 1, 2))
    waiting = bound("v-0", "a", 2, gang="default/first", nominated=5)
    where = constraints(tier="fast")
    fast = of(5, gang(role("v", 1, 2, where=where), name="default/first"))
    both = cluster(node("a", 2), node("b", 2, tier="fast"), pods=[waiting])
    assert nodes(plan(both, [fast, second])) == [{"b"}, {"a"}]
    one = cluster(node("a", 2), node("c", 1), pods=[waiting])
    assert plan(one, [of(0, second)]).gangs[0].status is Status.INFEASIBLE
    assert [answer.status.placed for answer in plan(one, [second, first]).gangs] == [False, True]
    stuck = of(5, gang(role("v", 1, 4), name="default/first"))
    found = plan(cluster(node("a", 2), pods=[replace(waiting, nominated_priority=0)]), [stuck, second])
    assert [answer.status.placed for answer in found.gangs] == [False, False]


@pytest.mark.parametrize("priorities", [(0, 0), (0, 5), (9, 9), (9, 0)])
def test_batches_keep_nominated_room(priorities: tuple[int, int]) -> None:
    """Where all gangs see the same the joint plan is proven; else each keeps to what it sees, without a proof."""
    pods = [bound("x", "a", 2, nominated=5)]
    snapshot = cluster(node("a", 2), node("b", 2), pods=pods)
    gangs = [of(priority, gang(role("w", 1, 2), name=f"default/g{at}")) for at, priority in enumerate(priorities)]
    found = plan_batch(snapshot, gangs)
    alike = seen_alike(snapshot, gangs) is not None
    assert alike == (priorities != (9, 0))
    assert sum(answer.status.placed for answer in found.gangs) == (1 if max(priorities) <= 5 else 2)
    assert found.batch is not None
    assert all(each.value <= each.bound for each in found.batch.admitted)
    if alike:
        assert all(answer.status is not Status.FEASIBLE for answer in found.gangs)
    for gang_plan, each in zip(found.gangs, gangs, strict=True):
        if each.priority <= 5:
            assert {item.node for item in gang_plan.assignments} <= {"b"}


def test_a_batch_whose_gangs_have_nominated_pods() -> None:
    """They are no room of others once their gang has its place; bounds of each alone do not count on them."""
    pods = [bound(f"w{at}-0", "a", 2, gang=f"default/g{at}", nominated=0) for at in range(2)]
    snapshot = cluster(node("a", 2), node("b", 2), pods=pods)
    gangs = [gang(role(f"w{at}", 1, 2), name=f"default/g{at}") for at in range(2)]
    found = plan_batch(snapshot, gangs)
    assert sorted(node for used in nodes(found) for node in used) in (["a", "b"], ["b"])
    assert found.batch is not None
    for answer in found.gangs:
        for term in answer.objective:
            assert term.bound is None or term.value >= term.bound
