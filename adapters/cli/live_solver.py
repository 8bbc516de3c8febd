"""The engine in this process, for whoever plans again and again."""

from collections.abc import Sequence
from datetime import datetime

from solver.batch.plan import plan_batch
from solver.domain.budget import Stop
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Options, WarmTables, plan


class LiveSolver:
    """Plans with tables that stay warm from one call to the next. For one thread at a time."""

    def __init__(self, time_limit_s: float) -> None:
        self._options, self._warm = Options(time_limit_s=time_limit_s), WarmTables()

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """One after another."""
        return plan(snapshot, gangs, self._options, warm=self._warm, stop=stop)

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Plan:
        """All together."""
        return plan_batch(snapshot, gangs, self._options, warm=self._warm, stop=stop, fair_before=fair_before)
