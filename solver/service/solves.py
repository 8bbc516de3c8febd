"""Solving for several callers at once: a few at a time, some more in line, the rest told to come back."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime

from solver.batch.plan import plan_batch
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Options, Reporter, WarmTables, plan
from solver.service.config import Limits
from solver.service.errors import Full, Unavailable
from solver.service.recorder import Recorder

#: Less than this is no time to plan in, in seconds.
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be planned.

    until: end of the budget in seconds of `time.monotonic`. batch, fair_before: see plan_batch(). cluster: whose warm
    tables to use, or empty.
    """

    snapshot: Snapshot
    gangs: tuple[Gang, ...]
    options: Options
    until: float
    batch: bool = False
    fair_before: datetime | None = None
    cluster: str = ""


class Solving:
    """A question being answered. Set as a stop signal once it is cancelled."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._future: Future[Plan] | None = None

    def is_set(self) -> bool:
        """Whether the search is to end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the search, or leave the line."""
        self._cancelled.set()
        if self._future is not None:
            self._future.cancel()

    def begun(self, future: Future[Plan]) -> None:
        """The question is in line."""
        self._future = future
        if self.is_set():
            future.cancel()

    def on_done(self, call: Callable[[], object]) -> None:
        """Call this when the answer is there."""
        assert self._future is not None
        self._future.add_done_callback(lambda _: call())

    def answer(self) -> Plan:
        """Wait for the answer; a cancelled question has none worth reading."""
        assert self._future is not None
        try:
            return self._future.result()
        except CancelledError:
            return Plan(())


class Solves:
    """A bounded line of questions before a bounded number of solving threads, as the limits say."""

    def __init__(self, limits: Limits, recorder: Recorder | None = None) -> None:
        self._threads = ThreadPoolExecutor(limits.max_solves, thread_name_prefix="solve")
        self._slots, self._most = limits.max_solves, limits.max_solves + limits.max_waiting
        self._warm = WarmPool(limits.max_solves, limits.warm_bytes)
        self._recorder = recorder or Recorder()
        self._lock = threading.Lock()
        self._inside = 0

    def begin(self, question: Question, solving: Solving, reporter: Reporter | None = None) -> None:
        """Put a question in line. Raises Full when the line is at its limit, Unavailable when it is closed."""
        with self._lock:
            if self._inside >= self._most:
                self._recorder.rejected("solves")
                raise Full(f"{self._inside} questions are being solved or in line already", retry_s=1.0)
            self._moved(+1)
        call = copy_context()
        try:
            future = self._threads.submit(call.run, self._solve, question, solving, reporter or Reporter())
        except RuntimeError as error:  # closed
            self._leave()
            raise Unavailable("the service is shutting down; call another one, or again in a moment") from error
        future.add_done_callback(self._leave)
        solving.begun(future)

    def plan(self, question: Question, solving: Solving | None = None, reporter: Reporter | None = None) -> Plan:
        """The answer to a question. Raises what `begin` raises, and what the planner raises."""
        solving = solving or Solving()
        self.begin(question, solving, reporter)
        return solving.answer()

    def close(self) -> None:
        """Drop the line and wait for what is being solved."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self, _: object = None) -> None:
        with self._lock:
            self._moved(-1)

    def _moved(self, step: int) -> None:
        self._inside += step
        self._recorder.line(min(self._inside, self._slots), max(0, self._inside - self._slots))

    def _solve(self, question: Question, solving: Solving, reporter: Reporter) -> Plan:
        began = time.monotonic()
        left = question.until - began
        if left < _LEAST_S or solving.is_set():
            return unknown(question.gangs)
        options = replace(question.options, time_limit_s=min(left, question.options.time_limit_s))
        with self._warm.lent(question.cluster) as warm:
            if question.batch:
                found = plan_batch(
                    question.snapshot, question.gangs, options, reporter, warm, solving, question.fair_before
                )
            else:
                found = plan(question.snapshot, question.gangs, options, reporter, warm, solving)
        self._recorder.solved(found, time.monotonic() - began)
        return found


def unknown(gangs: Sequence[Gang]) -> Plan:
    """The answer when there was no time to plan."""
    return Plan(tuple(GangPlan(gang.name, Status.UNKNOWN) for gang in gangs))


class WarmPool:
    """Warm tables by cluster, lent to one thread at a time, the ones used last first.

    lenders: how many are in use at most. max_bytes: of all together. Those of the clusters asked about longest ago go
    first.
    """

    def __init__(self, lenders: int, max_bytes: int) -> None:
        self._each = max(1, max_bytes // max(1, lenders))
        self._keep = lenders
        self._idle: OrderedDict[tuple[str, int], WarmTables] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, cluster: str) -> Iterator[WarmTables | None]:
        """Tables for one question; None when it names no cluster. After a fault they are not used again."""
        if not cluster:
            yield None
            return
        tables = self._taken(cluster)
        yield tables
        with self._lock:
            self._number += 1
            self._idle[cluster, self._number] = tables
            while len(self._idle) > self._keep:
                self._idle.popitem(last=False)

    def _taken(self, cluster: str) -> WarmTables:
        with self._lock:
            known = [key for key in self._idle if key[0] == cluster]
            return self._idle.pop(known[-1]) if known else WarmTables(self._each)
