"""What long runs tell: stage, time gone and left, best value, bound and gap."""

import io
import threading
from fractions import Fraction

import pytest

from adapters.cli import progress as module
from adapters.cli.course import Course, interrupted
from adapters.cli.progress import Progress, best_text, progress
from solver.domain.plan import Assignment, Batch, GangPlan, Notice, Plan, Sense, Status, TermValue
from support.controlplane.waiting import eventually


def terms(*values: tuple[str, int, int | None]) -> tuple[TermValue, ...]:
    """Terms by name, value and bound."""
    return tuple(
        TermValue(name, Sense.MIN, Fraction(value), None if bound is None else Fraction(bound))
        for name, value, bound in values
    )


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        ((), "no plan yet"),
        (terms(("steps", 1, 1), ("transfer_us", 400, 300)), "best transfer_us 400, bound 300, gap 25 %"),
        (terms(("steps", 1, None), ("transfer_us", 400, None)), "best steps 1, bound none, not proven"),
        (terms(("steps", 1, 1), ("transfer_us", 4, 4)), "every term proven"),
    ],
)
def test_the_first_open_term_is_told(objective: tuple[TermValue, ...], text: str) -> None:
    """Terms before it are proven, those after it are not looked at yet."""
    assert best_text(objective) == text


def test_a_line_of_one_gang() -> None:
    """Best values are those of the gang at work."""
    told = Progress(Course(), 60.0)
    assert told.line(0.0) == "planning | 0 s of 60 s gone, 60 s left | no plan yet"
    told.stage("prod/a", "solving")
    told.improved("prod/a", terms(("transfer_us", 400, 300)))
    assert told.line(12.4) == (
        "prod/a: solving | 12 s of 60 s gone, 48 s left | best transfer_us 400, bound 300, gap 25 %"
    )
    told.stage("prod/b", "compiling")
    assert told.line(99.0) == "prod/b: compiling | 99 s of 60 s gone, 0 s left | no plan yet"


def test_a_line_of_a_batch() -> None:
    """Of several gangs it says how many are planned, of a batch what it is worth together."""
    course = Course()
    told = Progress(course, 5.0)
    told.stage("batch", "placing 2 gangs together")
    answers = (GangPlan("prod/a", Status.FEASIBLE), GangPlan("prod/b", Status.UNKNOWN))
    told.planned(Plan(answers, batch=Batch((), terms(("fragmentation", 8, 4)))))
    assert told.line(1.0) == (
        "batch: placing 2 gangs together | 1 s of 5 s gone, 4 s left | 1 of 2 gangs planned"
        " | best fragmentation 8, bound 4, gap 50 %"
    )
    assert course.known(("prod/b", "prod/c", "prod/a")).gangs == (
        answers[1], GangPlan("prod/c", Status.UNKNOWN), answers[0],
    )  # fmt: skip


def test_nothing_known_is_unknown() -> None:
    """Every gang of the call has an answer."""
    assert [answer.status for answer in Course().known(("a", "b")).gangs] == [Status.UNKNOWN] * 2


def test_an_interrupted_plan_says_so() -> None:
    """Beside the warnings there are."""
    notice = Notice("odd", "", "", "odd")
    plan = Plan((GangPlan("a", Status.FEASIBLE, (Assignment("a/p", "p", "n"),)),), (notice,))
    found = interrupted(plan, "SIGINT")
    assert found.gangs == plan.gangs
    assert [warning.code for warning in found.warnings] == ["odd", "interrupted"]


def test_without_a_terminal_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets plain lines once it takes long."""
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    log = io.StringIO()
    with progress(log, Course(), 60.0) as reporter:
        reporter.stage("prod/a", "solving")
        eventually(lambda: log.getvalue().count("prod/a: solving | ") >= 2, "two lines", 60.0)
    assert "\x1b" not in log.getvalue()
    assert threading.active_count() == len([each for each in threading.enumerate() if each.name != "progress"])


def test_short_runs_say_nothing() -> None:
    """Nobody wants a log line of what took less than ten seconds."""
    log = io.StringIO()
    with progress(log, Course(), 60.0) as reporter:
        reporter.stage("prod/a", "solving")
    assert log.getvalue() == ""


def test_streams_that_are_gone_are_no_error() -> None:
    """Closed standard error, or none at all."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        with progress(stream, Course(), 1.0) as reporter:
            reporter.stage("prod/a", "solving")
