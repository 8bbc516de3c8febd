"""One round of planning, in a thread: gangs one after another, and together where that leaves out one that would fit.

A caller that waits for a round may leave it while one gang takes too long: what was found before is given at once,
the gang goes on by itself, and those after it are not begun.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import structlog

from adapters.apply.steps import Plan
from solver.domain.budget import Stop
from solver.domain.errors import HuddleError, SourceUnavailable
from solver.domain.gang import Gang
from solver.domain.holding import holding_planned
from solver.domain.plan import GangPlan, Status
from solver.domain.plan import Plan as Answer
from solver.domain.snapshot import Snapshot, frozen

_log = structlog.get_logger("huddle.apply")


class Solver(Protocol):
    """Plans gangs. Called from one thread at a time."""

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Answer:
        """One after another, as `solver.planner.plan`."""

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Answer:
        """All together, as `solver.batch.plan.plan_batch`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A gang that is to be planned. step: what was decided. gang: with the fixed members running. since: when it came.

    is_alone: whether it has to be planned by itself, since something is held for it already.
    """

    key: str
    step: Plan
    gang: Gang
    since: datetime
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it.

    version: of the state; room: the count at that time. problem: why there is no answer. is_away: because nobody could
    be asked. is_crowded_out: the plan is one that others of the same round leave no room for. has_failed: by a fault of
    ours.
    """

    wanted: Wanted
    version: int
    room: int
    plan: GangPlan | None = None
    problem: str = ""
    is_away: bool = False
    is_crowded_out: bool = False
    has_failed: bool = False

    @property
    def is_placed(self) -> bool:
        """Whether there is a plan."""
        return self.plan is not None and self.plan.status.placed

    @property
    def is_costly(self) -> bool:
        """Whether planning it took more than it may, so that nothing is known, or failed."""
        return self.has_failed or (self.plan is not None and self.plan.status is Status.UNKNOWN)


@dataclass(eq=False)
class Round:
    """One round. chosen: in order. stop: ends it early, so that what is being planned is not known."""

    snapshot: Snapshot
    version: int
    room: int
    chosen: Sequence[Wanted]
    fair_before: datetime
    stop: threading.Event = field(default_factory=threading.Event)
    _found: list[Found] = field(default_factory=list)
    _at: int = 0
    _began_s: float | None = None
    _is_left: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def solve(self, solver: Solver) -> list[Found]:
        """In the thread: what came of each; once it is left, of the one that was being planned alone."""
        state = self.snapshot
        for at, wanted in enumerate(self.chosen):
            if not self._begin(at):
                return []
            each = Found(wanted, self.version, self.room)
            now = self._alone(solver, state, each)
            if not now.is_placed and state is not self.snapshot and not self.stop.is_set():
                now = self._alone(solver, self.snapshot, each)
                now = replace(now, is_crowded_out=now.is_placed)
            elif now.plan is not None and now.plan.status.placed:
                state = holding_planned(state, wanted.gang, now.plan.assignments)
            if not self._ended(now):
                return [replace(now, is_crowded_out=False)]
        if any(each.is_crowded_out for each in self._found):
            return self._together(solver, self._found)
        return self._found

    def slow(self, patience_s: float) -> Wanted | None:
        """Who has been being planned for longer than that."""
        with self._lock:
            is_slow = self._began_s is not None and time.monotonic() - self._began_s > patience_s
            return self.chosen[self._at] if is_slow else None

    def leave(self, slow: Wanted) -> list[Found] | None:
        """Wait no longer for it: what was found before, and `solve` begins nothing more. None if it has ended."""
        with self._lock:
            if self._began_s is None or self.chosen[self._at] is not slow:
                return None
            self._is_left = True
            return list(self._found)

    def after(self, wanted: Wanted) -> Sequence[Wanted]:
        """Those that would have come later."""
        return self.chosen[self.chosen.index(wanted) + 1 :]

    def _begin(self, at: int) -> bool:
        with self._lock:
            self._at, self._began_s = at, time.monotonic()
            return not self._is_left

    def _ended(self, found: Found) -> bool:
        """Keep what was found, unless nobody waits for it with the others any more."""
        with self._lock:
            self._began_s = None
            if not self._is_left:
                self._found.append(found)
            return not self._is_left

    def _alone(self, solver: Solver, snapshot: Snapshot, asked: Found) -> Found:
        wanted = asked.wanted
        for member in wanted.gang.running:
            if member.node not in snapshot.node_idx:  # by the time it is looked at again it is no member any more
                return replace(asked, problem=f"node {member.node} of running pod {member.pod} is gone")
        try:
            plan = solver.plan(without_nodes(snapshot, wanted.step.avoid), [wanted.gang], self.stop).gangs[0]
        except SourceUnavailable as error:
            return replace(asked, problem=str(error), is_away=True)
        except HuddleError as error:
            return replace(asked, problem=str(error))
        except Exception as error:  # a fault of ours must not stop all other gangs
            _log.exception("planning_failed", gang=wanted.key)
            return replace(asked, problem=f"planning failed: {error!r}", has_failed=True)
        return replace(asked, plan=plan)

    def _together(self, solver: Solver, found: Sequence[Found]) -> list[Found]:
        """All that have a plan alone, jointly; the others stay as they are."""
        gangs = [each.wanted.gang for each in found if each.is_placed]
        try:
            answer = solver.plan_jointly(self.snapshot, gangs, self.stop, self.fair_before).gangs
        except Exception as error:
            is_ours = not isinstance(error, HuddleError)
            names = [gang.name for gang in gangs]
            _log.warning("joint_planning_failed", gangs=names, problem=str(error) or repr(error), exc_info=is_ours)
            answer = tuple(GangPlan(each.wanted.gang.name, Status.UNKNOWN) for each in found if each.is_crowded_out)
        plans = {plan.name: plan for plan in answer}
        return [replace(each, plan=plans.get(each.wanted.gang.name, each.plan)) for each in found]


def without_nodes(snapshot: Snapshot, names: Sequence[str]) -> Snapshot:
    """The snapshot with nothing left on these nodes, so that no new pod goes there, whatever it tolerates."""
    idcs = [snapshot.node_idx[name] for name in names if name in snapshot.node_idx]
    if not idcs:
        return snapshot
    rows = np.array(idcs)
    allocatable, free = snapshot.allocatable.copy(), snapshot.free.copy()
    free[rows] -= allocatable[rows]
    allocatable[rows] = 0
    return replace(snapshot, allocatable=frozen(allocatable), free=frozen(free))
