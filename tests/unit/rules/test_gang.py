"""Rule `gang` alone: minimums of roles, groups and replicas, all or nothing."""

import pytest

from solver.batch.plan import plan_batch
from solver.domain.gang import Gang, Role
from solver.domain.plan import Status
from solver.planner import Engine, Options, plan
from solver.search import solve
from support.builders import cluster, gang, group, node, role, with_running
from tests.unit.planner.solving import each_engine, nodes_of, values
from tests.unit.rules.tables import Fits, Refused, check_fits, check_refused, fitting, refusing


def _elastic(least: int) -> tuple[Role, ...]:
    return (role("w", 4, min=least),)


def _optional(least: int) -> Gang:
    """A root that needs `least` of a one-pod role and two child groups of two GPUs each."""
    return gang(role("w", 1), group("a", role("x", 1, 2)), group("b", role("y", 1, 2)), min=least)


FITS: dict[str, Fits] = {
    "one pod": (cluster(node("n", 1)), gang(role("w")), 1),
    "every pod exactly": (cluster(node("n", 3)), gang(role("w", 3)), 3),
    "elastic at its minimum": (cluster(node("n", 2)), gang(*_elastic(2)), 2),
    "elastic between": (cluster(node("n", 3)), gang(*_elastic(2)), 3),
    "elastic in full": (cluster(node("n", 9)), gang(*_elastic(2)), 4),
    "nothing needed, nothing free": (cluster(node("n", 0)), gang(*_elastic(0)), 0),
    "nothing needed, all free": (cluster(node("n", 8)), gang(*_elastic(0)), 4),
    "two of three children": (cluster(node("n", 3)), _optional(2), 2),
    "three of three children": (cluster(node("n", 5)), _optional(2), 3),
    "fewest replicas exactly": (
        cluster(node("n", 4)),
        gang(group("g", role("w", 2), replicas=3, min_replicas=2)),
        4,
    ),
    "an optional group below its fewest replicas is left out": (
        cluster(node("n", 4)),
        gang(role("r", 1), group("g", role("w", 2), replicas=3, min_replicas=2), min=1),
        1,
    ),
    "an optional group at its fewest replicas is kept": (
        cluster(node("n", 5)),
        gang(role("r", 1), group("g", role("w", 2), replicas=3, min_replicas=2), min=1),
        5,
    ),
    "a role's minimum holds in a kept group only": (
        cluster(node("n", 2)),
        gang(role("r", 1), group("g", role("x", 2, min=2), role("y", 1, min=0), min=2), min=1),
        1,
    ),
}

REFUSED: dict[str, Refused] = {
    "one pod too many": (
        cluster(node("m", 1), node("n", 1)),
        gang(role("w", 3)),
        "capacity", "needs 3 GPUs … 2 eligible nodes … 2 GPUs free", {"needed": 3, "free": 2},
    ),
    "below an elastic minimum": (
        cluster(node("m", 1), node("n", 0)),
        gang(*_elastic(2)),
        "capacity", "needs 2 GPUs … 2 eligible nodes … 1 GPU free", {"needed": 2, "free": 1},
    ),
    "pods missing": (
        cluster(node("n", 8)),
        gang(Role("w", 2, 3)),
        "pods_missing", "role w has 2 pods, its minimum is 3", {"needed": 3, "present": 2},
    ),
    "children missing": (
        cluster(node("n", 8)),
        gang(role("v"), group("a", role("w")), min=3),
        "pods_missing", "group root has 2 of the 3 children it needs", {"needed": 3, "present": 2},
    ),
    "one replica too few": (
        cluster(node("m", 2), node("n", 1)),
        gang(group("g", role("w", 2), replicas=3, min_replicas=2)),
        "capacity", "needs 4 GPUs … 2 eligible nodes … 3 GPUs free", {"needed": 4, "free": 3},
    ),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_minimums_that_are_met(case: Fits, engine: Engine) -> None:
    """What every minimum needs is placed, and as much more as there is room for."""
    check_fits(case, engine)


@refusing(REFUSED)
@each_engine
def test_minimums_that_cannot_be_met(case: Refused, engine: Engine) -> None:
    """Without every minimum nothing is placed."""
    check_refused(case, engine)


@each_engine
def test_which_child_is_kept_is_a_decision(engine: Engine) -> None:
    """The first declared child is too big, so the second is kept; its pods count above the fewest."""
    waiting = gang(group("a", role("x", 3)), group("b", role("y", 2)), min=1)
    answer = check_fits((cluster(node("n", 2)), waiting, 2), engine)
    assert nodes_of(answer) == {"y-0": "n", "y-1": "n"}
    assert values(answer)["replicas"] == 0


@each_engine
def test_among_equally_many_pods_more_groups_are_kept(engine: Engine) -> None:
    """Two groups of one pod beat one group of two pods."""
    big, small = group("a", role("x", 2)), [group(name, role(f"r{name}")) for name in "bc"]
    answer = check_fits((cluster(node("n", 2)), gang(big, *small, min=1), 2), engine)
    assert set(nodes_of(answer)) == {"rb-0", "rc-0"}
    assert values(answer)["replicas"] == 1


#: Gangs that need no pod, each with another reason to be hard to place.
OPTIONAL: dict[str, Gang] = {
    "one role": gang(role("w", 2, 2, min=0), min=0),
    "required level": gang(role("w", 2, 2, min=0), required="host", min=0),
    "groups kept without a pod": gang(
        group("a", role("x", min=0), group("b", role("y", min=0), replicas=2, min=1), replicas=3, required="host"),
        group("c", role("v"), group("d", role("z", 2, min=1), replicas=3, min_replicas=2), min=2),
        min=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("waiting", list(OPTIONAL.values()), ids=list(OPTIONAL))
@pytest.mark.parametrize("nodes", [0, 1, 65])
@pytest.mark.parametrize("tables", ["exact", "merged"])
@each_engine
def test_a_gang_that_may_be_empty_is_never_infeasible(
    engine: Engine, tables: str, nodes: int, waiting: Gang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing of it fits it is placed without a pod, proven the best, by exact and by merged tables."""
    if tables == "merged":
        monkeypatch.setattr(solve, "LARGE_PAIRS", 0)
    (answer,) = plan(cluster(*(node(f"n{at}", 0) for at in range(nodes))), [waiting], Options(engine, 60)).gangs
    assert (answer.status, answer.assignments, answer.reasons) == (Status.OPTIMAL, (), ())
    assert [term.value for term in answer.objective] == [0] * 6
    assert [notice.code for notice in answer.warnings] == ["places_nothing"]


def test_a_plan_with_pods_is_not_said_to_be_empty() -> None:
    """Neither are one of running members alone and a gang that is refused."""
    needless = gang(role("w", 2, 2, min=0), min=0)
    full, roomy = cluster(node("n", 0)), cluster(node("n", 2))
    running = with_running(full, needless, {"default/w-0": "n"})
    for site, waiting in ((roomy, needless), running, (full, gang(role("w", 1)))):
        (answer,) = plan(site, [waiting]).gangs
        assert answer.warnings == ()


def test_in_a_batch_a_gang_that_gives_all_its_room_away_stays_admitted() -> None:
    """Its two pods are worth less than the four of another gang that may be empty too: placed, without a pod."""
    pair = gang(role("w", 2, 2, min=0), name="ns/a", min=0)
    four = gang(role("x", 4, 1, min=0), name="ns/b", min=0)
    found = plan_batch(cluster(node("n", 4)), [pair, four])
    assert [(each.status, len(each.assignments)) for each in found.gangs] == [(Status.OPTIMAL, 0), (Status.OPTIMAL, 4)]
    assert [[notice.code for notice in each.warnings] for each in found.gangs] == [["places_nothing"], []]
