"""What is answered by the caller's thread, what by a process, and what by one after the other."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest

from solver.domain.budget import Stop
from solver.domain.plan import GangPlan, Plan, Sense, Status, TermValue
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from solver.search.options import Reporter
from solver.workers.processes import Processes
from solver.workers.question import Question
from solver.workers.workers import QUICK_S, Workers
from support.builders import cluster, gang, node, role

SITE = cluster(*(node(f"n{at}", 8, zone="z", rack=f"r{at // 4}") for at in range(8)))
SMALL, LARGE = gang(role("w", 3, gpus=4)), gang(role("w", 65, gpus=1))
TERM = TermValue("transfer", Sense.MIN, Fraction(3), None)


def placed(value: int, status: Status = Status.FEASIBLE) -> Plan:
    """A plan of the gang with this transfer time."""
    return Plan((GangPlan(SMALL.name, status, objective=(replace(TERM, value=Fraction(value)),)),))


@dataclass
class Answers:
    """Stands in for planning: gives these answers in turn, and notes with which limits it was asked."""

    answers: list[Plan]
    limits_s: list[float] = field(default_factory=list)

    def __call__(
        self, question: Question, snapshot: Snapshot, reporter: Reporter | None, warm: object, stop: Stop | None
    ) -> Plan:
        self.limits_s.append(min(question.left_s, question.options.time_limit_s))
        return self.answers.pop(0)

    def by_process(
        self, _: Processes, snapshot: Snapshot, question: Question, stop: Stop | None, reporter: Reporter | None
    ) -> Plan:
        """The same in place of a process."""
        return self(question, snapshot, reporter, None, stop)


def planning(patch: pytest.MonkeyPatch, *answers: Plan) -> Answers:
    """Planning gives these answers from now on."""
    found = Answers(list(answers))
    patch.setattr(Question, "answered", lambda *words: found(*words))
    patch.setattr(Processes, "plan", lambda *words: found.by_process(*words))
    return found


def asked(within_s: float = 60.0, engine: Engine = Engine.AUTO) -> Question:
    """About the small gang."""
    return Question((SMALL,), Options(engine, within_s), time.monotonic() + within_s)


def statuses(found: Plan) -> Sequence[Status]:
    """Of its gangs."""
    return [each.status for each in found.gangs]


def test_what_is_small_needs_no_process() -> None:
    """It is planned by the caller; what is not small, or for CP-SAT alone, is not."""
    workers = Workers(1, command=("/does/not/exist",))
    assert workers.plan(SITE, asked()).gangs[0].assignments == plan(SITE, [SMALL]).gangs[0].assignments
    assert statuses(workers.plan(SITE, replace(asked(), gangs=(LARGE,)))) == [Status.UNKNOWN]
    assert statuses(workers.plan(SITE, asked(engine=Engine.CPSAT))) == [Status.UNKNOWN]


def test_what_is_not_proven_soon_goes_to_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second in the thread, then all that is left; a short budget stays in the thread."""
    answers = planning(monkeypatch, placed(4), placed(3, Status.OPTIMAL), placed(5))
    workers = Workers(1)
    assert statuses(workers.plan(SITE, asked())) == [Status.OPTIMAL]
    quick_s, rest_s = answers.limits_s
    assert quick_s == QUICK_S
    assert rest_s > 2 * QUICK_S
    assert statuses(workers.plan(SITE, asked(0.9 * QUICK_S))) == [Status.FEASIBLE]
    assert answers.answers == []


@pytest.mark.parametrize("status", [Status.OPTIMAL, Status.INFEASIBLE])
def test_what_is_proven_is_the_answer(monkeypatch: pytest.MonkeyPatch, status: Status) -> None:
    """No process is asked."""
    planning(monkeypatch, placed(4, status))
    assert statuses(Workers(1).plan(SITE, asked())) == [status]


@pytest.mark.parametrize("second", [placed(5), Plan((GangPlan(SMALL.name, Status.UNKNOWN),))], ids=["worse", "none"])
def test_a_plan_that_is_known_is_not_lost(monkeypatch: pytest.MonkeyPatch, second: Plan) -> None:
    """Where the process knows less."""
    first = placed(4)
    planning(monkeypatch, first, second)
    assert Workers(1).plan(SITE, asked()) is first


def test_nothing_begins_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of time, or stopped: unknown, or what was known before."""
    answers, stop = planning(monkeypatch), threading.Event()
    workers, late = Workers(1), replace(asked(), until=time.monotonic())
    stop.set()
    for question, told in ((late, None), (asked(), stop)):
        assert statuses(workers.plan(SITE, question, told)) == [Status.UNKNOWN]
        assert statuses(workers.thoroughly(SITE, question, told, first=placed(4))) == [Status.FEASIBLE]
    assert answers.limits_s == []
