"""Questions answered by processes, which are ended when a question takes more than it may, whatever they do."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from solver.domain.budget import Budget, Stop
from solver.domain.errors import InternalError, InvalidRequest
from solver.domain.plan import Plan, Reason, ReasonCode
from solver.domain.snapshot import Snapshot
from solver.search.children import Child, Failed, Stopped
from solver.search.options import Reporter
from solver.workers.frames import ANSWER, QUESTION, READY, Asked, News, Reply, packed, unpacked
from solver.workers.question import Question, unknown

COMMAND = (sys.executable, "-P", "-m", "solver.workers.child")
#: A child is ended so long after the deadline: seconds, and part of the time it had.
GRACE_S, GRACE_SHARE = 0.15, 0.05
#: A child that was told to stop is ended so long afterwards, in seconds.
STOP_GRACE_S = 0.5
#: Longest time for a child to start, in seconds; it counts as time of the question.
START_S = 30.0


def _lacks_memory(limit_mib: int) -> Reason:
    text = f"planning takes more than the {limit_mib} MiB of memory that one question may take"
    return Reason(ReasonCode.TOO_LARGE, text, (), {"limit": limit_mib})


@dataclass
class _Worker:
    """A child, the snapshot that it has, and the number of its last question."""

    child: Child
    has: Snapshot | None = None
    number: int = 0


@dataclass
class _StopGently:
    """Tells a worker once that its question is to end, and is set when it has not done so in time."""

    worker: _Worker
    stop: Stop
    told_s: float | None = None

    def is_set(self) -> bool:
        """See Stop."""
        if self.told_s is None:
            if not self.stop.is_set():
                return False
            self.told_s = time.monotonic()
            with suppress(OSError):  # it is ended then
                os.write(self.worker.child.ends[0], QUESTION.pack(self.worker.number, 0, 0))
        return time.monotonic() > self.told_s + STOP_GRACE_S


@dataclass
class _Heard:
    """What a child tells before it replies. last: the newest plan so far."""

    reporter: Reporter | None
    last: Plan | None = None

    def take(self, news: News) -> None:
        """Hand it on."""
        if news.method == "planned":
            (self.last,) = news.arguments
        if self.reporter is not None:
            getattr(self.reporter, news.method)(*news.arguments)


@dataclass
class Processes:
    """Up to `most` questions at a time, each in a process that may use so much memory. Any thread may ask.

    A question that meets its end, is stopped, or makes its process die is answered with what was told before, else as
    unknown. keep: so many processes stay for later questions; None = all.
    """

    most: int
    memory_bytes: int = 1 << 30
    keep: int | None = None
    command: Sequence[str] = COMMAND
    _idle: list[_Worker] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.most)

    def plan(
        self, snapshot: Snapshot, question: Question, stop: Stop | None = None, reporter: Reporter | None = None
    ) -> Plan:
        """The answer. Raises InvalidRequest, and InternalError for a defect that a question met in its process."""
        heard = _Heard(reporter)
        reply = self._asked(snapshot, question, Budget(question.until, stop), heard)
        if reply.error:
            raise InvalidRequest(reply.error)
        if reply.fault:
            raise InternalError(reply.fault)
        if reply.lacks_memory:
            return heard.last or unknown(question.gangs, _lacks_memory(self.memory_bytes >> 20))
        return reply.plan or heard.last or unknown(question.gangs)

    def close(self) -> None:
        """End the processes that wait for questions, and the others once they have answered."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.child.kill(patience_s=1.0)

    def _asked(self, snapshot: Snapshot, question: Question, budget: Budget, heard: _Heard) -> Reply:
        """The answer of a process; one without a plan where it was ended or died."""
        if not self._placed(budget):
            return Reply()
        try:
            worker = self._borrowed(snapshot, budget)
            try:
                reply = self._answered(worker, snapshot, question, budget, heard)
            except BaseException:
                worker.child.kill()
                raise
            self._give_back(worker, reply)
        except (Stopped, Failed, OSError):
            return Reply()
        finally:
            self._places.release()
        return reply

    def _placed(self, budget: Budget) -> bool:
        """Wait for one of the places."""
        while budget.left_s:
            if self._places.acquire(timeout=min(0.05, budget.left_s)):
                return True
        return False

    def _borrowed(self, snapshot: Snapshot, budget: Budget) -> _Worker:
        """A process that waits, one that has the snapshot if there is one, else a new one."""
        with self._lock:
            self._idle.sort(key=lambda worker: worker.has is snapshot)
            while self._idle:
                worker = self._idle.pop()
                if worker.child.process.poll() is None:
                    return worker
                worker.child.kill()
        return _Worker(Child.start(self.command, Budget(time.monotonic() + START_S, budget.stop), READY))

    def _give_back(self, worker: _Worker, reply: Reply) -> None:
        with self._lock:
            full = self.keep is not None and len(self._idle) >= self.keep
            if not (full or self._closed or reply.lacks_memory):
                self._idle.append(worker)
                return
        worker.child.kill()

    def _answered(
        self, worker: _Worker, snapshot: Snapshot, question: Question, budget: Budget, heard: _Heard
    ) -> Reply:
        late = Budget(budget.deadline + GRACE_S + GRACE_SHARE * budget.left_s, budget.stop)
        self._send(worker, snapshot, question, late, heard.reporter)
        if budget.stop is not None:
            late = Budget(late.deadline, _StopGently(worker, budget.stop))
        while True:
            (size,) = ANSWER.unpack(worker.child.exchange(b"", ANSWER.size, late))
            found = unpacked(worker.child.exchange(b"", size, late))
            if isinstance(found, Reply):
                return found
            heard.take(found)

    def _send(
        self, worker: _Worker, snapshot: Snapshot, question: Question, late: Budget, reporter: Reporter | None
    ) -> None:
        news, plans = reporter is not None, reporter is not None and reporter.wants_plans
        asked = Asked(question, None if worker.has is snapshot else snapshot, news, plans)
        worker.has, worker.number = snapshot, worker.number + 1
        data = packed(asked)
        worker.child.exchange(QUESTION.pack(worker.number, self.memory_bytes, len(data)) + data, 0, late)
