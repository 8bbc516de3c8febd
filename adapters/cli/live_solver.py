"""The engine of this machine, for callers that plan again and again."""

import time
from collections.abc import Sequence
from datetime import datetime

from solver.domain.budget import Stop
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Options
from solver.workers.question import Question
from solver.workers.workers import Workers

#: Name of the tables that are kept between questions.
_TABLES = "live"


class LiveSolver:
    """Plans in this process what is small, all else in processes that can be ended. For one thread at a time."""

    def __init__(self, time_limit_s: float, workers: Workers | None = None, memory_mib: int = 1024) -> None:
        """workers: shared with others; None = of its own. memory_mib: of one question."""
        self._options = Options(time_limit_s=time_limit_s, search_memory_mib=memory_mib)
        self._workers = workers or Workers(1, memory_mib << 20)

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """One after another."""
        return self._answered(snapshot, gangs, stop)

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Plan:
        """All together."""
        return self._answered(snapshot, gangs, stop, True, fair_before)

    def _answered(
        self,
        snapshot: Snapshot,
        gangs: Sequence[Gang],
        stop: Stop,
        batch: bool = False,
        fair_before: datetime | None = None,
    ) -> Plan:
        until = time.monotonic() + self._options.time_limit_s
        question = Question(tuple(gangs), self._options, until, batch, fair_before, _TABLES)
        return self._workers.plan(snapshot, question, stop)
