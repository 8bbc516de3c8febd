"""The engine of this machine, for callers that plan again and again."""

from collections.abc import Sequence
from datetime import datetime

from solver.domain.budget import Stop
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Options
from solver.workers.workers import Workers


class LiveSolver:
    """Plans in this process what is small, all else in processes that can be ended. For one thread at a time."""

    def __init__(self, time_limit_s: float, workers: Workers | None = None) -> None:
        """workers: shared with others; None = of its own."""
        self._options, self._workers = Options(time_limit_s=time_limit_s), workers or Workers(1)

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """One after another."""
        return self._workers.plan(snapshot, gangs, self._options, stop)

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Plan:
        """All together."""
        return self._workers.plan(snapshot, gangs, self._options, stop, fair_before=fair_before, batch=True)
