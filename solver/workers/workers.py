"""Plans in processes of their own, which are ended when a question takes more than it may, whatever they do.

What is certainly small is planned by the caller's thread, with tables that stay warm.
"""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from solver.batch.plan import plan_batch
from solver.domain.budget import Budget, Stop
from solver.domain.errors import InternalError, InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Plan, Reason, ReasonCode
from solver.domain.snapshot import Snapshot
from solver.planner import WarmTables, plan
from solver.search.children import Child, Failed, Stopped
from solver.search.options import Options, Reporter
from solver.workers.frames import ANSWER, QUESTION, READY, Question, Reply, packed, unknown, unpacked

COMMAND = (sys.executable, "-P", "-m", "solver.workers.child")
#: A child is ended so long after the deadline: seconds, and part of the time it had.
GRACE_S, GRACE_SHARE = 0.15, 0.05
#: Longest time for a child to start, in seconds; it counts as time of the question.
START_S = 30.0
#: Small questions have no more gangs than this, each with no more pods, groups, roles, and pairs of roles with a flow.
SMALL_GANGS, SMALL_PODS, SMALL_GROUPS, SMALL_ROLES, SMALL_PAIRS = 16, 64, 8, 8, 64


def is_small(gangs: Sequence[Gang]) -> bool:
    """Whether planning takes little, whatever the gangs say: a bound by what is counted quickly."""
    return len(gangs) <= SMALL_GANGS and all(map(_is_small, gangs))


def _is_small(gang: Gang) -> bool:
    groups, roles = list(gang.root.walk()), gang.roles
    pairs = sum(len(flow.senders) * len(flow.receivers) for flow in gang.flows)
    units = sum(group.replicas for group in groups)
    return (
        sum(len(role.pods) for role in roles) <= SMALL_PODS
        and units <= SMALL_GROUPS
        and len(roles) <= SMALL_ROLES
        and pairs + len(gang.reach) <= SMALL_PAIRS
    )


def _lacks_memory(limit_mib: int) -> Reason:
    text = f"planning takes more than the {limit_mib} MiB of memory that one question may take"
    return Reason(ReasonCode.TOO_LARGE, text, (), {"limit": limit_mib})


@dataclass
class _Worker:
    """A child and the snapshot that it has."""

    child: Child
    has: Snapshot | None = None


@dataclass
class Workers:
    """Up to `processes` questions at a time, each in a process that may use so much memory. Any thread may ask.

    A question that meets its end, is stopped, or makes its process die is answered as unknown.
    """

    processes: int
    memory_bytes: int = 1 << 30
    command: Sequence[str] = COMMAND
    _idle: list[_Worker] = field(default_factory=list)
    _warm: WarmTables = field(default_factory=WarmTables)
    _warm_lock: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.processes)

    def plan(
        self,
        snapshot: Snapshot,
        gangs: Sequence[Gang],
        options: Options,
        stop: Stop,
        reporter: Reporter | None = None,
        fair_before: datetime | None = None,
        batch: bool = False,
    ) -> Plan:
        """As `solver.planner.plan`, or with `batch` as `solver.batch.plan.plan_batch`.

        reporter: hears of questions that are planned by this thread. Raises InvalidRequest, and InternalError for a
        defect that a question met in its process.
        """
        if is_small(gangs) and self._warm_lock.acquire(blocking=False):
            try:
                return self._here(snapshot, gangs, options, stop, reporter, fair_before, batch)
            finally:
                self._warm_lock.release()
        budget = options.budget(stop)
        question = Question(None, tuple(gangs), options, budget.deadline, batch, fair_before)
        reply = self._asked(snapshot, question, budget)
        if reply.error:
            raise InvalidRequest(reply.error)
        if reply.fault:
            raise InternalError(reply.fault)
        if reply.lacks_memory:
            return unknown(gangs, _lacks_memory(self.memory_bytes >> 20))
        return reply.plan or unknown(gangs)

    def close(self) -> None:
        """End the processes; a later question starts another."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.child.kill(patience_s=1.0)

    def _here(
        self,
        snapshot: Snapshot,
        gangs: Sequence[Gang],
        options: Options,
        stop: Stop,
        reporter: Reporter | None,
        fair_before: datetime | None,
        batch: bool,
    ) -> Plan:
        if batch:
            return plan_batch(snapshot, gangs, options, reporter, self._warm, stop, fair_before=fair_before)
        return plan(snapshot, gangs, options, reporter, self._warm, stop)

    def _asked(self, snapshot: Snapshot, question: Question, budget: Budget) -> Reply:
        """The answer of a process; one without a plan where it was ended or died."""
        if not self._placed(budget):
            return Reply()
        try:
            worker = self._borrowed(budget)
            try:
                reply = self._answered(worker, snapshot, question, budget)
            except BaseException:
                worker.child.kill()
                raise
            if reply.lacks_memory:
                worker.child.kill()
            else:
                with self._lock:
                    self._idle.append(worker)
        except (Stopped, Failed, OSError):
            return Reply()
        finally:
            self._places.release()
        return reply

    def _placed(self, budget: Budget) -> bool:
        """Wait for one of the places."""
        while budget.left_s and not (budget.stop and budget.stop.is_set()):
            if self._places.acquire(timeout=min(0.05, budget.left_s)):
                return True
        return False

    def _borrowed(self, budget: Budget) -> _Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.child.process.poll() is None:
                    return worker
                worker.child.kill()
        return _Worker(Child.start(self.command, Budget(time.monotonic() + START_S, budget.stop), READY))

    def _answered(self, worker: _Worker, snapshot: Snapshot, question: Question, budget: Budget) -> Reply:
        if worker.has is not snapshot:
            question, worker.has = replace(question, snapshot=snapshot), snapshot
        data = packed(question)
        late = Budget(budget.deadline + GRACE_S + GRACE_SHARE * budget.left_s, budget.stop)
        head = worker.child.exchange(QUESTION.pack(self.memory_bytes, len(data)) + data, ANSWER.size, late)
        (size,) = ANSWER.unpack(head)
        found: Reply = unpacked(worker.child.exchange(b"", size, late))
        return found
