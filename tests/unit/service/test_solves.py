"""The line before the solving threads: bounded, first come first served, cancelled at once."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Options
from solver.service import solves as module
from solver.service.config import Limits
from solver.service.errors import Full, Unavailable
from solver.service.recorder import Recorder
from solver.service.solves import Question, Solves, Solving, WarmPool
from support.builders import cluster, gang, node, role

SNAPSHOT = cluster(node("n0"))
WAIT_S = 20


@dataclass
class SlowPlanner:
    """Stands in for plan(): takes until it is let go or told to stop, and notes who asked."""

    let_go: threading.Event = field(default_factory=threading.Event)
    entered: list[str] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)

    def __call__(
        self, snapshot: Snapshot, gangs: Sequence[Gang], options: Options, reporter: object, warm: object, stop: Any
    ) -> Plan:
        self.entered.append(gangs[0].name)
        self.limits_s.append(options.time_limit_s)
        while not (self.let_go.is_set() or stop.is_set()):
            time.sleep(0.001)
        status = Status.UNKNOWN if stop.is_set() else Status.OPTIMAL
        return Plan((GangPlan(gangs[0].name, status),))


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> SlowPlanner:
    """A planner that waits."""
    slow = SlowPlanner()
    monkeypatch.setattr(module, "plan", slow)
    return slow


@pytest.fixture
def made() -> Iterator[Callable[..., Solves]]:
    """Makes lines that are closed in the end."""
    found: list[Solves] = []

    def make(running: int, waiting: int, recorder: Recorder | None = None) -> Solves:
        found.append(Solves(Limits(max_solves=running, max_waiting=waiting), recorder))
        return found[-1]

    yield make
    for line in found:
        line.close()


def question(name: str, budget_s: float = WAIT_S) -> Question:
    """A question about one gang of one pod."""
    asked = gang(role("worker"), name=f"default/{name}")
    return Question(SNAPSHOT, (asked,), Options(), time.monotonic() + budget_s)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


def test_as_many_as_there_are_slots(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """Two are solved, two wait, the fifth is refused; then all are answered, first come first served."""
    line = made(2, 2)
    waiting = [Solving() for _ in range(4)]
    for at, solving in enumerate(waiting):
        line.begin(question(f"g{at}"), solving)
    until(lambda: len(planner.entered) == 2)
    with pytest.raises(Full) as refused:
        line.begin(question("late"), Solving())
    assert refused.value.retry_s > 0
    planner.let_go.set()
    assert [solving.answer().gangs[0].name for solving in waiting] == [f"default/g{at}" for at in range(4)]
    assert planner.entered[2:] == ["default/g2", "default/g3"]


def test_a_waiting_question_leaves_the_line(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """Cancelled in line it is never solved, and its place is free again."""
    line = made(1, 1)
    first, second, third = Solving(), Solving(), Solving()
    line.begin(question("g0"), first)
    line.begin(question("g1"), second)
    second.cancel()
    assert second.answer().gangs == ()
    line.begin(question("g2"), third)
    planner.let_go.set()
    assert third.answer().status is Status.OPTIMAL
    assert planner.entered == ["default/g0", "default/g2"]


def test_a_running_question_stops(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """Cancelled while it is solved the search ends, and the next one begins."""
    line = made(1, 1)
    first, second = Solving(), Solving()
    line.begin(question("g0"), first)
    line.begin(question("g1"), second)
    until(lambda: planner.entered == ["default/g0"])
    first.cancel()
    assert first.answer().status is Status.UNKNOWN
    planner.let_go.set()
    assert second.answer().status is Status.OPTIMAL


def test_cancelled_before_it_begins(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """A call that was gone before the question came into the line is not solved."""
    solving = Solving()
    solving.cancel()
    assert made(1, 0).plan(question("g0"), solving).gangs in ((), (GangPlan("default/g0", Status.UNKNOWN),))
    assert planner.entered == []


def test_no_time_left_is_unknown(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """A budget that ended in line gives unknown without a search; what is left of it is the search's limit."""
    assert made(1, 0).plan(question("g0", budget_s=0)).status is Status.UNKNOWN
    assert planner.entered == []
    planner.let_go.set()
    made(1, 0).plan(question("g1", budget_s=0.5))
    assert 0 < planner.limits_s[0] <= 0.5


def test_a_failing_search_frees_its_slot(made: Callable[..., Solves], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the planner raises reaches the caller; the line goes on."""

    def fails(*_: object) -> Plan:
        raise RuntimeError("broken")

    line = made(1, 0)
    with monkeypatch.context() as broken:
        broken.setattr(module, "plan", fails)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="broken"):
                line.plan(question("g0"))
    assert line.plan(question("g1")).status is Status.OPTIMAL


def test_a_closed_line_takes_nobody(made: Callable[..., Solves]) -> None:
    """Whoever comes during a shutdown is sent elsewhere; it is no defect."""
    line = made(1, 1)
    line.close()
    for _ in range(3):
        with pytest.raises(Unavailable, match="shutting down"):
            line.plan(question("g0"))


def test_the_recorder_hears(planner: SlowPlanner, made: Callable[..., Solves]) -> None:
    """How many run and wait, who is refused, and every answer."""
    heard: list[tuple[object, ...]] = []

    class Listener(Recorder):
        def line(self, running: int, waiting: int) -> None:
            heard.append(("line", running, waiting))

        def rejected(self, reason: str) -> None:
            heard.append(("rejected", reason))

        def solved(self, plan: Plan, seconds: float) -> None:
            heard.append(("solved", plan.status))

    line = made(1, 1, Listener())
    waiting = [Solving(), Solving()]
    for solving in waiting:
        line.begin(question("g"), solving)
    with pytest.raises(Full):
        line.begin(question("g"), Solving())
    planner.let_go.set()
    for solving in waiting:
        solving.answer()
    line.close()
    assert heard[:3] == [("line", 1, 0), ("line", 1, 1), ("rejected", "solves")]
    assert heard.count(("solved", Status.OPTIMAL)) == 2
    assert heard[-1] == ("line", 0, 0)


def test_tables_are_lent_to_one_at_a_time() -> None:
    """The ones used last come first; as many are kept as can be lent; after a fault they are dropped."""
    pool = WarmPool(2, 2**20)
    with pool.lent("a") as first, pool.lent("a") as second:
        assert first is not second
    with pool.lent("a") as again:
        assert again is first
    with pool.lent("") as none:
        assert none is None
    with pytest.raises(RuntimeError), pool.lent("a") as broken:
        raise RuntimeError
    with pool.lent("b"), pool.lent("c"):
        pass
    with pool.lent("a") as fresh:
        assert fresh not in (first, second, broken)
