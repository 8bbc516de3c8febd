"""Who is planned next, and with whom: one solve at a time, in a thread of its own."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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
from solver.service.state import HeldCluster

#: Gangs that are planned together at most.
MOST_TOGETHER = 16
#: Gangs that want to be planned gather until no others are being looked at, which is asked so often and waited for so
#: long, in seconds: otherwise whoever is looked at first would go before those with higher priority.
GATHER_S, MOST_GATHER_S = 0.02, 0.5
#: Every other round is for those that have waited so long to be planned, in seconds, in the order in which they came:
#: gangs of higher priority that find no room ask again whenever something has changed, and would be planned for ever.
TURN_S = 5.0

_log = structlog.get_logger("huddle.apply")


class Solver(Protocol):
    """Plans gangs. Called from one thread at a time."""

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Answer:
        """One after another, as `solver.planner.plan`."""

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Answer:
        """All together, as `solver.batch.plan.plan_batch`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A gang that wants seats. step: what was decided. gang: with the fixed members running. since: when it came.

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
    be asked. is_crowded_out: the plan is one that others of the same round leave no room for.
    """

    wanted: Wanted
    version: int
    room: int
    plan: GangPlan | None = None
    problem: str = ""
    is_away: bool = False
    is_crowded_out: bool = False

    @property
    def is_placed(self) -> bool:
        """Whether there is a plan."""
        return self.plan is not None and self.plan.status.placed


@dataclass
class Planning:
    """Gangs that wait to be planned. In one event loop.

    settle: what is done with an answer. room: how often capacity was gained so far. is_quiet: whether no gang is about
    to be looked at. fair_after_s: gangs that waited so long go before others of their priority.
    """

    held: HeldCluster
    solver: Solver
    settle: Callable[[Found], Awaitable[None]]
    room: Callable[[], int]
    is_quiet: Callable[[], bool]
    now: Callable[[], datetime]
    fair_after_s: float
    solved: Callable[[int, int, float], None]
    _wanted: dict[str, Wanted] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _is_for_overdue: bool = False

    def want(self, wanted: Wanted) -> None:
        """Plan a gang when it is its turn, instead of what was wanted for it before."""
        before = self._wanted.get(wanted.key)
        self._wanted[wanted.key] = wanted if before is None else replace(wanted, since=before.since)
        self._news.set()

    def drop(self, key: str) -> None:
        """A gang needs no plan any more."""
        self._wanted.pop(key, None)

    def __len__(self) -> int:
        return len(self._wanted)

    async def run(self) -> None:
        """Plan until cancelled."""
        try:
            while True:
                await self._news.wait()
                await self._gathered()
                await self.round()
        finally:
            self._stop.set()

    async def round(self) -> None:
        """Plan those whose turn it is, and settle what came of it."""
        chosen = self._next()
        if not self._wanted:
            self._news.clear()
        if not chosen:
            return
        room = self.room()
        view = self.held.view([wanted.key for wanted in chosen])
        fair_before = self.now() - timedelta(seconds=self.fair_after_s)
        began = time.monotonic()
        found = await asyncio.to_thread(self._solve, view.snapshot, view.version, room, chosen, fair_before)
        placed = sum(each.is_placed for each in found)
        self.solved(len(found), placed, time.monotonic() - began)
        await asyncio.gather(*(self.settle(each) for each in found))

    async def _gathered(self) -> None:
        """Wait until those that want to be planned have said so."""
        loop = asyncio.get_running_loop()
        end = loop.time() + MOST_GATHER_S
        await asyncio.sleep(GATHER_S)
        while not self.is_quiet() and loop.time() < end:
            await asyncio.sleep(GATHER_S)

    def _next(self) -> list[Wanted]:
        """The first in order alone, or with those after it that can be planned together; they are wanted no more."""
        order = sorted(self._wanted.values(), key=_rank)
        if self._is_for_overdue:
            end = self.now() - timedelta(seconds=TURN_S)
            order.sort(key=lambda wanted: min(wanted.since, end))  # all that are not overdue are alike
        self._is_for_overdue = not self._is_for_overdue
        chosen: list[Wanted] = []
        for wanted in order[:MOST_TOGETHER]:
            if chosen and (wanted.is_alone or chosen[0].is_alone):
                break
            chosen.append(wanted)
        for wanted in chosen:
            del self._wanted[wanted.key]
        return sorted(chosen, key=_rank)

    def _solve(
        self, snapshot: Snapshot, version: int, room: int, chosen: Sequence[Wanted], fair_before: datetime
    ) -> list[Found]:
        """In the thread: one after another, and together where that left out somebody who would fit alone."""
        found, state = [], snapshot
        for wanted in chosen:
            each = Found(wanted, version, room)
            now = self._alone(state, each)
            if not now.is_placed and state is not snapshot:
                now = self._alone(snapshot, each)
                now = replace(now, is_crowded_out=now.is_placed)
            elif now.plan is not None and now.plan.status.placed:
                state = holding_planned(state, wanted.gang, now.plan.assignments)
            found.append(now)
        if any(each.is_crowded_out for each in found):
            return self._together(snapshot, found, fair_before)
        return found

    def _alone(self, snapshot: Snapshot, asked: Found) -> Found:
        wanted = asked.wanted
        for member in wanted.gang.running:
            if member.node not in snapshot.node_idx:  # by the time it is looked at again it is no member any more
                return replace(asked, problem=f"node {member.node} of running pod {member.pod} is gone")
        try:
            plan = self.solver.plan(without_nodes(snapshot, wanted.step.avoid), [wanted.gang], self._stop).gangs[0]
        except SourceUnavailable as error:
            return replace(asked, problem=str(error), is_away=True)
        except HuddleError as error:
            return replace(asked, problem=str(error))
        except Exception as error:  # a fault of ours must not stop all other gangs
            _log.exception("planning_failed", gang=wanted.key)
            return replace(asked, problem=f"planning failed: {error!r}")
        return replace(asked, plan=plan)

    def _together(self, snapshot: Snapshot, found: Sequence[Found], fair_before: datetime) -> list[Found]:
        """All that have a plan alone, jointly; the others stay as they are."""
        gangs = [each.wanted.gang for each in found if each.is_placed]
        try:
            answer = self.solver.plan_jointly(snapshot, gangs, self._stop, fair_before).gangs
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


def _rank(wanted: Wanted) -> tuple[int, bool, datetime, str]:
    """Higher priority first; then those that are under way, then those that wait longest."""
    return (-wanted.gang.priority, not wanted.is_alone, wanted.gang.created or wanted.since, wanted.key)
