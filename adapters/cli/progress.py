"""What the engine is doing, on stderr: a line that moves on a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from adapters.cli.course import Course
from adapters.report.consoles import Line, console_for
from adapters.report.numbers import counted, gap, short
from solver.domain.plan import Plan, TermValue
from solver.domain.printable import printable
from solver.search.options import Reporter

#: Where nobody watches, the first line comes after so many seconds, each further one after twice the time, but at most
#: so many seconds after the one before.
FIRST_S, MOST_S = 10.0, 60.0


class Progress(Reporter):
    """The state of a call in one line. Told by the thread that works, read by others.

    limit_s: the budget of the call. began: when it started, in seconds of `time.monotonic`.
    """

    wants_plans = True

    def __init__(self, course: Course, limit_s: float) -> None:
        self._course, self._limit_s, self.began = course, limit_s, time.monotonic()
        self._gang, self._stage = "", "planning"
        self._best: tuple[str, tuple[TermValue, ...]] = ("", ())

    def stage(self, gang: str, text: str) -> None:
        """One gang enters a stage."""
        self._gang, self._stage = gang, text

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        """A better plan of one gang is known."""
        self._best = gang, objective

    def planned(self, so_far: Plan) -> None:
        """The answer if the call ended now."""
        self._course.so_far = so_far

    def line(self, elapsed_s: float) -> str:
        """Stage, time gone and left, gangs planned, best value, bound and gap."""
        where = f"{self._gang}: {self._stage}" if self._gang else self._stage
        left_s = max(0.0, self._limit_s - elapsed_s)
        parts = [where, f"{elapsed_s:.0f} s of {short(self._limit_s)} s gone, {left_s:.0f} s left", *self._found()]
        return " | ".join(parts)

    def _found(self) -> list[str]:
        """What is known of the whole call, then of the gang at work."""
        so_far = self._course.so_far
        parts = []
        if so_far is not None and len(so_far.gangs) > 1:
            placed = sum(answer.status.placed for answer in so_far.gangs)
            parts.append(f"{placed} of {counted(len(so_far.gangs), 'gang')} planned")
        if so_far is not None and so_far.batch is not None:
            return [*parts, best_text(so_far.batch.objective)]
        name, objective = self._best
        return [*parts, best_text(objective if name == self._gang else ())]

    def __rich__(self) -> Line:
        return Line(self.line(time.monotonic() - self.began))


def best_text(objective: Sequence[TermValue]) -> str:
    """The first term that is not proven, with its best value, bound and gap."""
    if not objective:
        return "no plan yet"
    for term in objective:
        if term.bound != term.value:
            bound = "none" if term.bound is None else short(term.bound)
            return f"best {term.term} {short(term.value)}, bound {bound}, {gap(term.value, term.bound)}"
    return "every term proven"


@contextmanager
def progress(stream: IO[str] | None, course: Course, limit_s: float) -> Iterator[Reporter]:
    """A reporter that shows on `stream` what it hears; None and closed streams show nothing."""
    told = Progress(course, limit_s)
    if stream is None or stream.closed:
        yield told
    elif stream.isatty():
        with console_for(stream).status(told):
            yield told
    else:
        with _now_and_then(stream, told):
            yield told


@contextmanager
def _now_and_then(stream: IO[str], told: Progress) -> Iterator[None]:
    """A line after `FIRST_S`, and more the further apart the longer it takes."""
    over = threading.Event()

    def tell() -> None:
        pause_s = FIRST_S
        while not over.wait(pause_s):
            elapsed_s = time.monotonic() - told.began
            try:
                stream.write(f"{printable(told.line(elapsed_s))}\n")
                stream.flush()
            except (OSError, ValueError):
                return  # nobody is there to read it
            pause_s = min(MOST_S, max(pause_s, elapsed_s))

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
