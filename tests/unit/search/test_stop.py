"""A stop signal, at any moment: the answer is what is known by then, and what it claims is true."""

import threading
from itertools import count

import pytest

from solver.batch.plan import plan_batch
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from support import oracle
from support.builders import cluster, flow, gang, node, role
from tests.unit.planner.solving import each_engine

SITE = cluster(*(node(f"{rack}{at}", 3, rack=rack) for rack in "abc" for at in range(2)))
FITTING = gang(role("p", 4), role("d", 4), role("r", 3, min=0), flows=[flow("p", "d")])
TOO_LARGE = gang(role("p", 19))
PAIR = [gang(role("w", 6), name="ns/x"), gang(role("w", 9), name="ns/y")]


class _After:
    """A stop signal that is set once it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.left, self.lock = looks, threading.Lock()

    def is_set(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left < 0


def _answered(snapshot: Snapshot, waiting: Gang, engine: Engine, looks: int) -> GangPlan:
    (answer,) = plan(snapshot, [waiting], Options(engine, 60.0), stop=_After(looks)).gangs
    return answer


@each_engine
def test_a_stop_at_any_moment_of_a_plan(engine: Engine) -> None:
    """From unknown to optimal: never a false no, and a plan that holds with bounds that the optimum does not break."""
    best = _answered(SITE, FITTING, engine, 10**9)
    assert best.status is Status.OPTIMAL
    seen = set()
    for looks in count():
        answer = _answered(SITE, FITTING, engine, looks)
        seen.add(answer.status)
        if answer.status is Status.OPTIMAL:
            assert answer.objective == best.objective
            break
        assert answer.status in (Status.FEASIBLE, Status.UNKNOWN)
        if answer.status is Status.FEASIBLE:
            _holds(answer, best)
    assert Status.UNKNOWN in seen


def _holds(answer: GangPlan, best: GangPlan) -> None:
    assert oracle.allowed(SITE, FITTING, {item.pod: item.node for item in answer.assignments}) == []
    for term, optimum in zip(answer.objective, best.objective, strict=True):
        if term.bound is None:
            break
        assert term.bound >= optimum.value if term.sense == "max" else term.bound <= optimum.value
        if term.bound != term.value:
            break


@each_engine
def test_a_stop_at_any_moment_of_a_no(engine: Engine) -> None:
    """Until it is proven, nothing is said; then it is infeasible."""
    for looks in count():
        answer = _answered(SITE, TOO_LARGE, engine, looks)
        if answer.status is Status.INFEASIBLE:
            break
        assert answer.status is Status.UNKNOWN
        assert answer.reasons == ()
    assert looks > 0


def test_a_stop_at_any_moment_of_a_batch() -> None:
    """Gangs get unknown, then plans, then joint proof; no status is claimed too early."""
    best = plan_batch(SITE, PAIR, Options(time_limit_s=60.0))
    assert best.status is Status.OPTIMAL
    seen = set()
    for looks in count(step=3):
        found = plan_batch(SITE, PAIR, Options(time_limit_s=60.0), stop=_After(looks))
        assert Status.INFEASIBLE not in {answer.status for answer in found.gangs}
        seen.add(found.status)
        if found.status is Status.OPTIMAL:
            break
    assert seen == {Status.UNKNOWN, Status.FEASIBLE, Status.OPTIMAL}


@pytest.mark.parametrize("call", [plan, plan_batch])
def test_a_stop_set_before(call: object) -> None:
    """Nothing is known of any gang, and that is the answer."""
    stop = threading.Event()
    stop.set()
    found = call(SITE, PAIR, stop=stop)  # type: ignore[operator]
    assert [answer.status for answer in found.gangs] == [Status.UNKNOWN, Status.UNKNOWN]
