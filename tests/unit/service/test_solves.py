"""The lines before threads and processes: bounded, callers in turn, cancelled at once."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from solver.domain.plan import GangPlan, Plan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Options
from solver.service.config import Limits
from solver.service.errors import Full, Unavailable
from solver.service.recorder import Recorder
from solver.service.solves import Solves, Solving
from solver.workers.question import Question
from solver.workers.workers import Workers
from support.builders import cluster, gang, node, role

SNAPSHOT = cluster(node("n0"))
WAIT_S = 20


@dataclass
class SlowWorkers:
    """Stands in for Workers: answers once released or stopped, and notes the questions.

    quick: status of what threads answer.
    """

    released: threading.Event = field(default_factory=threading.Event)
    entered: list[str] = field(default_factory=list)
    by_process: list[str] = field(default_factory=list)
    quick: Status = Status.OPTIMAL
    closed: bool = False

    def quickly(self, snapshot: Snapshot, question: Question, stop: Any, reporter: object) -> Plan:
        """See Workers."""
        self.entered.append(question.gangs[0].name)
        return self._answer(question, stop, self.quick)

    def thoroughly(
        self, snapshot: Snapshot, question: Question, stop: Any, reporter: object, first: Plan | None
    ) -> Plan:
        """See Workers."""
        self.by_process.append(question.gangs[0].name)
        return self._answer(question, stop, Status.OPTIMAL)

    def _answer(self, question: Question, stop: Any, status: Status) -> Plan:
        while not (self.released.is_set() or stop.is_set()):
            time.sleep(0.001)
        return Plan((GangPlan(question.gangs[0].name, Status.UNKNOWN if stop.is_set() else status),))

    def close(self) -> None:
        """See Workers."""
        self.closed = True


@pytest.fixture
def planner() -> SlowWorkers:
    """Workers that wait."""
    return SlowWorkers()


@pytest.fixture
def made(planner: SlowWorkers) -> Iterator[Callable[..., Solves]]:
    """Makes lines that are closed in the end."""
    found: list[Solves] = []

    def make(running: int, waiting: int, recorder: Recorder | None = None, own: int = 100) -> Solves:
        limits = Limits(max_solves=running, max_waiting=waiting, max_solves_per_caller=own)
        found.append(Solves(limits, recorder, cast("Workers", planner)))
        return found[-1]

    yield make
    for line in found:
        line.close()


def question(name: str, budget_s: float = WAIT_S, pods: int = 1) -> Question:
    """A question about one gang of so many pods."""
    asked = gang(role("worker", pods), name=f"default/{name}")
    return Question((asked,), Options(), time.monotonic() + budget_s)


def begun(line: Solves, name: str, caller: str = "", pods: int = 1) -> Solving:
    """A question that is in line."""
    solving = Solving()
    line.begin(SNAPSHOT, question(name, pods=pods), solving, caller=caller)
    return solving


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


def test_as_many_as_there_are_places(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Two are solved, two wait, the fifth is refused; then all are answered, first come first served."""
    line = made(2, 2)
    waiting = [begun(line, f"g{at}") for at in range(4)]
    until(lambda: len(planner.entered) == 2)
    with pytest.raises(Full) as refused:
        begun(line, "late")
    assert refused.value.retry_s > 0
    planner.released.set()
    assert [solving.answer().gangs[0].name for solving in waiting] == [f"default/g{at}" for at in range(4)]
    assert planner.entered[2:] == ["default/g2", "default/g3"]


def test_a_waiting_question_leaves_the_line(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Cancelled in line it is never solved, and its place is free again."""
    line = made(1, 1)
    first, second = begun(line, "g0"), begun(line, "g1")
    second.cancel()
    assert second.answer().gangs == ()
    third = begun(line, "g2")
    planner.released.set()
    assert third.answer().status is Status.OPTIMAL
    assert first.answer().status is Status.OPTIMAL
    assert planner.entered == ["default/g0", "default/g2"]


def test_a_running_question_stops(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Cancelled while it is solved the search ends, and the next one begins."""
    line = made(1, 1)
    first, second = begun(line, "g0"), begun(line, "g1")
    until(lambda: planner.entered == ["default/g0"])
    first.cancel()
    assert first.answer().status is Status.UNKNOWN
    planner.released.set()
    assert second.answer().status is Status.OPTIMAL


def test_cancelled_before_it_begins(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """A call that was gone before the question came into the line is not solved."""
    solving = Solving()
    solving.cancel()
    made(1, 0).begin(SNAPSHOT, question("g0"), solving)
    assert solving.answer().gangs in ((), (GangPlan("default/g0", Status.UNKNOWN),))
    assert planner.entered == []


@pytest.mark.parametrize("pods", [1, 65])
def test_no_time_left_is_unknown(planner: SlowWorkers, made: Callable[..., Solves], pods: int) -> None:
    """A budget that ended in line gives unknown without a search."""
    solving = Solving()
    made(1, 0).begin(SNAPSHOT, question("g0", 0, pods), solving)
    assert solving.answer().status is Status.UNKNOWN
    assert planner.entered == planner.by_process == []


def test_a_failing_search_frees_its_place(
    planner: SlowWorkers, made: Callable[..., Solves], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the planner raises reaches the caller; the line goes on."""

    def fails(*_: object) -> Plan:
        raise RuntimeError("broken")

    line = made(1, 0)
    with monkeypatch.context() as broken:
        broken.setattr(planner, "quickly", fails)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="broken"):
                begun(line, "g0").answer()
    planner.released.set()
    assert begun(line, "g1").answer().status is Status.OPTIMAL


def test_a_closed_line_takes_nobody(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """New questions are refused as unavailable, which is no defect; running ones are stopped."""
    line = made(1, 1)
    running, waiting = begun(line, "g0", pods=65), begun(line, "g1", pods=65)
    line.close()
    assert running.answer().status is Status.UNKNOWN
    assert waiting.answer().gangs == ()
    assert planner.closed
    for _ in range(3):
        with pytest.raises(Unavailable, match="shutting down"):
            begun(line, "g0")


def test_long_questions_keep_no_short_one_waiting(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Those that need processes have a line of their own; also those that turn out to, after a while."""
    line = made(1, 9)
    long = [begun(line, f"l{at}", pods=65) for at in range(3)]
    until(lambda: planner.by_process == ["default/l0"])
    planner.released.set()
    assert begun(line, "s0").answer().status is Status.OPTIMAL
    for solving in long:
        solving.answer()
    planner.quick = Status.FEASIBLE
    planner.entered.clear()
    planner.by_process.clear()
    assert begun(line, "s1").answer().status is Status.OPTIMAL
    assert planner.entered == planner.by_process == ["default/s1"]


def test_a_process_may_answer_before_the_thread_that_asked_for_it_goes_on(
    planner: SlowWorkers, made: Callable[..., Solves]
) -> None:
    """The call's context is entered by both."""
    told: list[int] = []

    class Waits(Recorder):
        def line(self, running: int, waiting: int) -> None:
            told.append(running)
            if len(told) == 2:  # by the thread, when it has handed the question over
                until(lambda: bool(planner.by_process))

    planner.quick = Status.FEASIBLE
    planner.released.set()
    assert begun(made(1, 0, Waits()), "s0").answer().status is Status.OPTIMAL


def test_a_caller_of_whom_none_runs_need_not_wait(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Nor does one whose question, short at first, turns out to be long."""
    line = made(1, 9)
    bad = [begun(line, f"b{at}", "bad", 65) for at in range(3)]
    until(lambda: planner.by_process == ["default/b0"])
    good = begun(line, "g0", "good", 65)
    until(lambda: planner.by_process == ["default/b0", "default/g0"])
    other = begun(line, "o0", "other", 65)
    good.cancel()
    assert good.answer().status is Status.UNKNOWN
    until(lambda: planner.by_process[2:] == ["default/o0"])
    planner.released.set()
    for solving in (*bad, other):
        assert solving.answer().status is Status.OPTIMAL


def test_one_caller_has_a_limit(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """Of its own questions, whichever; others still come in, and it again once one has ended."""
    line = made(1, 9, own=2)
    first, second = begun(line, "a0", "a"), begun(line, "a1", "a", 65)
    with pytest.raises(Full, match="2 questions of this caller"):
        begun(line, "a2", "a")
    other = begun(line, "b0", "b")
    first.cancel()
    first.answer()
    again = begun(line, "a2", "a")
    planner.released.set()
    assert {each.answer().status for each in (second, other, again)} == {Status.OPTIMAL}
    assert Limits(max_solves=2, max_waiting=16).max_inside_of_caller == 9
    assert Limits(max_solves=1, max_waiting=0).max_inside_of_caller == 1


def test_a_full_line_takes_the_first_question_of_others(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """As many again, so that no callers together shut another out."""
    line = made(1, 1)
    inside = [begun(line, f"g{at}", caller) for at, caller in enumerate("aabc")]
    for caller in "ad":
        with pytest.raises(Full, match="4 questions are being solved"):
            begun(line, "late", caller)
    planner.released.set()
    assert {solving.answer().status for solving in inside} == {Status.OPTIMAL}


def test_what_was_known_is_the_answer_of_who_leaves_the_line(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
    """A question that waits for a process has an answer of its thread already."""
    line = made(1, 9)
    long = begun(line, "l0", pods=65)
    until(lambda: planner.by_process == ["default/l0"])
    planner.quick = Status.FEASIBLE
    solving = Solving()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "_answer", lambda asked, *_: Plan((GangPlan(asked.gangs[0].name, Status.FEASIBLE),)))
        line.begin(SNAPSHOT, question("s0"), solving)
        until(lambda: line._thorough.waiting == 1)
    solving.cancel()
    assert solving.answer().status is Status.FEASIBLE
    long.cancel()
    long.answer()


def test_the_recorder_hears(planner: SlowWorkers, made: Callable[..., Solves]) -> None:
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
    waiting = [begun(line, "g"), begun(line, "g")]
    with pytest.raises(Full):
        begun(line, "g")
    planner.released.set()
    for solving in waiting:
        solving.answer()
    line.close()
    assert heard[:3] == [("line", 1, 0), ("line", 1, 1), ("rejected", "solves")]
    assert heard.count(("solved", Status.OPTIMAL)) == 2
    assert ("line", 0, 0) in heard[3:]
