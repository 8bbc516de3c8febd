"""Plans what is certainly small in the caller's thread, with tables that stay warm, and all else in processes."""

from collections.abc import Sequence
from dataclasses import replace

from solver.domain.budget import Stop
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.search.options import MIN_TIME_LIMIT_S, Reporter
from solver.workers.processes import COMMAND, Processes
from solver.workers.question import Question, Rising, better, is_final, is_small, unknown
from solver.workers.warm import WarmPool

#: So long a small question may take in the caller's thread, in seconds, before a process has the rest of its time;
#: one whose budget is hardly longer stays in the thread.
QUICK_S, QUICK_MOST_S = 1.0, 2.0


class Workers:
    """Answers questions of any thread.

    processes: questions at a time that are not answered by their thread. memory_bytes: of one such question. keep: see
    Processes. threads: how many ask small questions at a time. warm_bytes: of their tables, all together.
    """

    def __init__(
        self,
        processes: int,
        memory_bytes: int = 1 << 30,
        keep: int | None = None,
        threads: int = 1,
        warm_bytes: int = 256 << 20,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._processes = Processes(processes, memory_bytes, keep, command)
        self._warm = WarmPool(threads, warm_bytes)

    def plan(
        self, snapshot: Snapshot, question: Question, stop: Stop | None = None, reporter: Reporter | None = None
    ) -> Plan:
        """The answer. Raises InvalidRequest, and InternalError for a defect that a question met in its process."""
        reporter = reporter and Rising(reporter)
        first = self.quickly(snapshot, question, stop, reporter) if is_small(question) else None
        if first is not None and not needs_more(question, first, stop):
            return first
        return self.thoroughly(snapshot, question, stop, reporter, first)

    def quickly(
        self, snapshot: Snapshot, question: Question, stop: Stop | None = None, reporter: Reporter | None = None
    ) -> Plan:
        """The answer of this thread after QUICK_MOST_S at most. Raises what the planner raises."""
        left_s = question.left_s
        if left_s < MIN_TIME_LIMIT_S or (stop is not None and stop.is_set()):
            return unknown(question.gangs)
        if left_s > QUICK_MOST_S:
            options = replace(question.options, time_limit_s=min(QUICK_S, question.options.time_limit_s))
            question = replace(question, options=options)
        with self._warm.lent(question.tables) as warm:
            return question.answered(snapshot, reporter, warm, stop)

    def thoroughly(
        self,
        snapshot: Snapshot,
        question: Question,
        stop: Stop | None = None,
        reporter: Reporter | None = None,
        first: Plan | None = None,
    ) -> Plan:
        """The answer of a process. first: what is known already. Raises as `plan`."""
        if question.left_s < MIN_TIME_LIMIT_S or (stop is not None and stop.is_set()):
            return first or unknown(question.gangs)
        found = self._processes.plan(snapshot, question, stop, reporter)
        return found if first is None else better(first, found)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


def needs_more(question: Question, found: Plan, stop: Stop | None) -> bool:
    """Whether the time that is left could make an answer of `quickly` better."""
    stopped = stop is not None and stop.is_set()
    return not (stopped or is_final(found)) and question.left_s > QUICK_MOST_S - QUICK_S
