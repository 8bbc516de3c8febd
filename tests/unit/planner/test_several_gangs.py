"""Several gangs in one call: order, what later ones see, `taken`, and the status on top."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations

import pytest

from solver.domain.gang import Gang, Role
from solver.domain.plan import Plan, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from support.builders import apart, cluster, constraints, gang, node, queue, role, with_running
from tests.unit.planner.solving import each_engine, says

SITE = cluster(node("a", 4), node("b", 4))


def _gang(name: str, pods: int, priority: int = 0, least: int | None = None, **more: object) -> Gang:
    waiting = gang(role(name, pods, min=least), name=f"ns/{name}", **more)  # type: ignore[arg-type]
    return replace(waiting, priority=priority)


def _planned(snapshot: Snapshot, *gangs: Gang, engine: Engine = Engine.AUTO) -> Plan:
    return plan(snapshot, gangs, Options(engine, 60.0))


def _statuses(found: Plan) -> dict[str, Status]:
    return {each.name.removeprefix("ns/"): each.status for each in found.gangs}


@each_engine
def test_higher_priority_first_and_answers_in_input_order(engine: Engine) -> None:
    """The last gang of the input has the highest priority and gets the room; answers keep the input's order."""
    found = _planned(SITE, _gang("low", 6, 1), _gang("mid", 4, 5), _gang("high", 4, 9), engine=engine)
    assert [each.name for each in found.gangs] == ["ns/low", "ns/mid", "ns/high"]
    assert _statuses(found) == {"low": Status.INFEASIBLE, "mid": Status.OPTIMAL, "high": Status.OPTIMAL}


@pytest.mark.parametrize("turned", [False, True])
def test_names_decide_among_equals(turned: bool) -> None:
    """Of two gangs of one priority the first by natural order of names gets the room, wherever it stands."""
    gangs = [_gang("g2", 5), _gang("g10", 5)]
    found = _planned(SITE, *(reversed(gangs) if turned else gangs))
    assert _statuses(found) == {"g2": Status.OPTIMAL, "g10": Status.INFEASIBLE}
    assert [each.name for each in found.gangs] == (["ns/g10", "ns/g2"] if turned else ["ns/g2", "ns/g10"])


def test_the_older_gang_goes_before_names() -> None:
    """Within a priority creation time decides before the name, and unknown age is last; priority comes before age."""
    old = datetime(2026, 1, 1, tzinfo=UTC)
    new = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=1)))  # one hour later
    ages = {"c": old, "b": new, "a": None}
    gangs = [replace(_gang(name, 4), created=ages[name]) for name in "abc"]
    for order in permutations(gangs):
        assert _statuses(_planned(SITE, *order)) == {
            "a": Status.INFEASIBLE, "b": Status.OPTIMAL, "c": Status.OPTIMAL,
        }  # fmt: skip
    urgent = replace(gangs[0], priority=1)
    assert _statuses(_planned(SITE, *gangs[1:], urgent))["b"] is Status.INFEASIBLE


@each_engine
def test_later_gangs_see_what_earlier_ones_hold(engine: Engine) -> None:
    """No node holds more than it has over all gangs, and an elastic gang takes what is left."""
    found = _planned(SITE, _gang("x", 3), _gang("y", 8, least=1), engine=engine)
    assert _statuses(found) == {"x": Status.OPTIMAL, "y": Status.OPTIMAL}
    assert [len(each.assignments) for each in found.gangs] == [3, 5]
    used = [item.node for each in found.gangs for item in each.assignments]
    assert (used.count("a"), used.count("b")) == (4, 4)


@each_engine
def test_taken_names_those_who_took_the_room(engine: Engine) -> None:
    """A gang that would fit alone is refused with the names of the gangs placed before it, and no others."""
    takers = [_gang("t2", 3, 9), _gang("t1", 3, 9)]
    found = _planned(SITE, _gang("late", 4), *takers, _gang("after", 2, -1), engine=engine)
    assert _statuses(found) == {
        "late": Status.INFEASIBLE, "t2": Status.OPTIMAL, "t1": Status.OPTIMAL, "after": Status.OPTIMAL,
    }  # fmt: skip
    (reason,) = found.gangs[0].reasons
    assert (reason.code, reason.objects) == (ReasonCode.TAKEN, ("ns/t1", "ns/t2"))
    assert dict(reason.numbers) == {"gangs": 2}
    assert says(reason, "would fit … ns/t1, ns/t2")
    assert found.gangs[0].assignments == ()


def test_what_never_fits_is_not_taken() -> None:
    """A gang too big for the empty cluster is told so, whoever went before."""
    found = _planned(SITE, _gang("first", 3), _gang("huge", 9))
    (reason,) = found.gangs[1].reasons
    assert reason.code is ReasonCode.CAPACITY
    assert reason.numbers["needed"] == 9


def test_a_refused_gang_takes_nothing() -> None:
    """What comes after an infeasible gang sees the cluster as it was before it."""
    found = _planned(SITE, _gang("huge", 9, 5), _gang("all", 8))
    assert _statuses(found) == {"huge": Status.INFEASIBLE, "all": Status.OPTIMAL}


def test_earlier_gangs_use_the_queue() -> None:
    """Two gangs of a queue share its limit; the second is taken from."""
    snapshot = cluster(node("a", 64), queues=[queue("q", gpu=5000)])
    found = _planned(snapshot, _gang("x", 3, queue="q"), _gang("y", 3, queue="q"), _gang("z", 2, queue="q"))
    assert _statuses(found) == {"x": Status.OPTIMAL, "y": Status.INFEASIBLE, "z": Status.OPTIMAL}
    assert [reason.code for reason in found.gangs[1].reasons] == [ReasonCode.TAKEN]


def test_earlier_gangs_count_for_anti_affinity() -> None:
    """A gang keeps away from the gang placed before it, in either direction."""
    repelled = constraints(anti_affinity=[apart("kubernetes.io/hostname", app="x")])
    labelled = constraints(labels={"app": "x"})
    for first, second in ((labelled, repelled), (repelled, labelled)):
        gangs = [gang(role(name, 2, where=where), name=f"ns/{name}") for name, where in (("f", first), ("s", second))]
        found = _planned(SITE, *gangs)
        nodes = [{item.node for item in each.assignments} for each in found.gangs]
        assert nodes[0].isdisjoint(nodes[1])
        assert all(nodes)


@pytest.mark.parametrize(
    ("gangs", "top"),
    [
        ((), Status.OPTIMAL),
        ((_gang("x", 1),), Status.OPTIMAL),
        ((_gang("x", 1), _gang("y", 99), _gang("z", 1)), Status.INFEASIBLE),
        ((_gang("x", 5), _gang("y", 5)), Status.INFEASIBLE),
    ],
)
def test_the_worst_status_is_on_top(gangs: tuple[Gang, ...], top: Status) -> None:
    """One infeasible gang makes the call infeasible; a call without gangs is optimal."""
    found = _planned(SITE, *gangs)
    assert found.status is top
    assert len(found.gangs) == len(gangs)


@each_engine
def test_running_members_are_kept_and_counted(engine: Engine) -> None:
    """Members that run stay, count toward the minimum, and are shown apart from what is placed."""
    snapshot, waiting = with_running(SITE, _gang("x", 4), {"ns/x-1": "b", "ns/x-3": "b"})
    (answer,) = _planned(snapshot, waiting, engine=engine).gangs
    assert answer.status is Status.OPTIMAL
    assert [(item.pod, item.role, item.node) for item in answer.running] == [
        ("ns/x-1", "x", "b"), ("ns/x-3", "x", "b"),
    ]  # fmt: skip
    assert {item.pod: item.node for item in answer.assignments} == {"ns/x-0": "b", "ns/x-2": "b"}
    assert answer.domains["host"] == 1


def test_running_members_hold_room_even_if_the_cluster_does_not_list_them() -> None:
    """A member named by the gang alone uses its node like one that the cluster lists."""
    listed = with_running(SITE, _gang("x", 4), {"ns/x-0": "a"})
    waiting = listed[1]
    for snapshot in (listed[0], SITE):
        (answer,) = _planned(snapshot, waiting).gangs
        assert {item.node for item in answer.assignments} == {"a"}
        assert [str(term.value) for term in answer.objective] == ["0", "0", "0", "0", "0", "0"]


def test_a_gang_that_runs_in_full_is_optimal_with_nothing_to_place() -> None:
    """Every pod runs: no assignment, and the terms are still there."""
    snapshot, waiting = with_running(SITE, _gang("x", 2), {"ns/x-0": "a", "ns/x-1": "b"})
    (answer,) = _planned(snapshot, waiting).gangs
    assert (answer.status, answer.assignments, len(answer.running)) == (Status.OPTIMAL, (), 2)
    assert [term.bound for term in answer.objective] == [term.value for term in answer.objective]
    assert len(answer.objective) == 6


def test_a_refused_gang_shows_why_its_pods_are_missing() -> None:
    """Fewer pods than the minimum is the gang's own fault, not the cluster's or a predecessor's."""
    waiting = gang(Role("w", 2, 3), name="ns/short")
    found = _planned(SITE, _gang("x", 8), waiting)
    assert [reason.code for reason in found.gangs[1].reasons] == [ReasonCode.PODS_MISSING]


def test_running_members_hold_their_room_against_every_gang() -> None:
    """A running member that the snapshot does not list yet takes capacity from the other gangs of the call too."""
    site = cluster(node("a", 4))
    grown = gang(role("r", 2, 2), name="ns/grown", running={"ns/r-0": "a"})
    other = gang(role("w", 1, 2), name="ns/other")
    for first, second in ((grown, other), (other, grown)):
        placed = [answer.status is Status.OPTIMAL for answer in plan(site, [replace(first, priority=1), second]).gangs]
        assert placed == [True, False]
