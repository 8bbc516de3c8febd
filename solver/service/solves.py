"""Solving for several callers at once: a few at a time, some more in line, the rest told to come back.

What is small is solved by threads, a second each; what needs more, by processes that end when their caller is gone.
Both have lines of their own, so that no long question keeps a short one waiting.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass

from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Reporter
from solver.search.options import MIN_TIME_LIMIT_S
from solver.service.config import MIB, Limits
from solver.service.errors import Full, Unavailable
from solver.service.lane import Lane
from solver.service.recorder import Recorder
from solver.workers.question import Question, Rising, is_small, unknown
from solver.workers.workers import Workers, needs_more


class Solving:
    """A question being answered. Set as a stop signal once it is cancelled."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._leave: Callable[[], object] | None = None
        self._answer: Future[Plan] = Future()

    def is_set(self) -> bool:
        """Whether the search is to end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the search, or leave the line."""
        self._cancelled.set()
        if self._leave is not None:
            self._leave()

    def begun(self, leave: Callable[[], object]) -> None:
        """The question is in line. leave: takes it out."""
        self._leave = leave
        if self.is_set():
            leave()

    def end(self, answer: Plan | BaseException) -> None:
        """The answer is there, or what went wrong."""
        if isinstance(answer, BaseException):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    def on_done(self, call: Callable[[], object]) -> None:
        """Call this when the answer is there."""
        self._answer.add_done_callback(lambda _: call())

    def answer(self) -> Plan:
        """Wait for the answer; a cancelled question has none worth reading."""
        return self._answer.result()


@dataclass(eq=False)
class _Entry:
    """A question of a caller. context: of its call. first: what is known of it; spent_s: the time that took."""

    snapshot: Snapshot
    question: Question
    solving: Solving
    reporter: Reporter
    caller: str
    number: int
    context: Context
    first: Plan | None = None
    spent_s: float = 0.0


class Solves:
    """Bounded lines of questions before a bounded number of threads and processes, as the limits say."""

    def __init__(self, limits: Limits, recorder: Recorder | None = None, workers: Workers | None = None) -> None:
        """workers: who answers; None = as the limits say."""
        places = limits.max_solves
        self._quick, self._thorough = Lane[_Entry](places, places), Lane[_Entry](places, places)
        self._threads = ThreadPoolExecutor(4 * places, thread_name_prefix="solve")
        self._workers = workers or Workers(
            2 * places, limits.search_memory_mib * MIB, places, 2 * places, limits.warm_bytes
        )
        self._most, self._most_of_caller = limits.max_inside, limits.max_inside_of_caller
        self._recorder = recorder or Recorder()
        self._lock = threading.Lock()
        self._callers: Counter[str] = Counter()
        self._running: set[_Entry] = set()
        self._number = 0
        self._closed = False

    def begin(
        self,
        snapshot: Snapshot,
        question: Question,
        solving: Solving,
        reporter: Reporter | None = None,
        caller: str = "",
    ) -> None:
        """Put a question in line.

        Raises Full when the line is at its limit, for the caller or for all, and Unavailable when it is closed.
        """
        told, lane = Rising(reporter or Reporter()), self._quick if is_small(question) else self._thorough
        with self._lock:
            self._check_room(caller)
            self._number += 1
            entry = _Entry(snapshot, question, solving, told, caller, self._number, copy_context())
            self._callers[caller] += 1
            lane.join(entry)
            self._start()
        solving.begun(lambda: self._leave(entry))

    def close(self) -> None:
        """Drop the line, stop what is being solved and wait for that."""
        with self._lock:
            self._closed = True
            dropped, running = [*self._quick.emptied(), *self._thorough.emptied()], list(self._running)
            for entry in dropped:
                self._gone(entry)
        for entry in dropped:
            entry.solving.end(entry.first or Plan(()))
        for entry in running:
            entry.solving.cancel()
        self._threads.shutdown(wait=True)
        self._workers.close()

    def _check_room(self, caller: str) -> None:
        if self._closed:
            raise Unavailable("the service is shutting down; call another one, or again in a moment")
        inside, own = self._callers.total(), self._callers[caller]
        most = self._most if own else 2 * self._most
        if inside < most and own < self._most_of_caller:
            return
        self._recorder.rejected("solves")
        if inside >= most:
            raise Full(f"{inside} questions are being solved or in line already", retry_s=1.0)
        raise Full(f"{own} questions of this caller are being solved or in line already, which is the limit", 1.0)

    def _start(self) -> None:
        """Begin with those whose turn it is. With the lock held."""
        for lane, solve in ((self._quick, self._solve_quickly), (self._thorough, self._solve_thoroughly)):
            for entry in lane.started():
                self._running.add(entry)
                context = entry.context.copy()  # the thread that asks for a process is still in the other one
                self._threads.submit(context.run, self._solve, lane, entry, solve)
        self._tell()

    def _solve(self, lane: Lane[_Entry], entry: _Entry, solve: Callable[[_Entry], Plan | None]) -> None:
        """Answer a question, unless `solve` gives no answer: then it needs a process."""
        began = time.monotonic()
        answer: Plan | BaseException | None
        try:
            answer = solve(entry)
        except BaseException as error:
            answer = error
        entry.spent_s += time.monotonic() - began
        with self._lock:
            lane.ended(entry)
            self._running.discard(entry)
            if answer is None and not (entry.solving.is_set() or self._closed):
                self._thorough.join(entry)
            else:
                self._gone(entry)
                answer = answer or entry.first or Plan(())
            self._start()
        if answer is not None:
            if isinstance(answer, Plan):
                self._recorder.solved(answer, entry.spent_s)
            entry.solving.end(answer)

    def _solve_quickly(self, entry: _Entry) -> Plan | None:
        if _is_late(entry):
            return unknown(entry.question.gangs)
        entry.first = self._workers.quickly(entry.snapshot, entry.question, entry.solving, entry.reporter)
        return None if needs_more(entry.question, entry.first, entry.solving) else entry.first

    def _solve_thoroughly(self, entry: _Entry) -> Plan:
        if _is_late(entry):
            return entry.first or unknown(entry.question.gangs)
        return self._workers.thoroughly(entry.snapshot, entry.question, entry.solving, entry.reporter, entry.first)

    def _leave(self, entry: _Entry) -> None:
        """The caller is gone: out of the line, if the question is in it."""
        with self._lock:
            if not (self._quick.leave(entry) or self._thorough.leave(entry)):
                return
            self._gone(entry)
            self._tell()
        entry.solving.end(entry.first or Plan(()))

    def _gone(self, entry: _Entry) -> None:
        """A question is neither solved nor in line any more. With the lock held."""
        self._callers[entry.caller] -= 1
        if not self._callers[entry.caller]:
            del self._callers[entry.caller]

    def _tell(self) -> None:
        lanes = (self._quick, self._thorough)
        self._recorder.line(sum(lane.running for lane in lanes), sum(lane.waiting for lane in lanes))


def _is_late(entry: _Entry) -> bool:
    """Whether there is nobody who would hear an answer, or no time for one."""
    return entry.question.left_s < MIN_TIME_LIMIT_S or entry.solving.is_set()
