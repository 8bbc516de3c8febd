"""Who is planned next, and with whom: rounds, each in a thread, and beside them those that take long.

A gang that takes longer than PATIENCE_S lets the others go on: it is planned beside them, by another solver. All gangs
of its namespace wait for it. When it came to nothing, they are planned beside the rounds for BESIDE_S, one at a time:
a namespace that asks much keeps only itself waiting.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.apply.round import Found, Round, Solver, Wanted
from solver.service.state import HeldCluster

#: Gangs that are planned together at most.
MOST_TOGETHER = 16
#: Gangs that want to be planned gather until no others are being looked at, which is asked so often and waited for so
#: long, in seconds: otherwise whoever is looked at first would go before those with higher priority.
GATHER_S, MOST_GATHER_S = 0.02, 0.5
#: Every other round is for those that have waited so long to be planned, in seconds, in the order in which they came:
#: gangs of higher priority that find no room ask again whenever something has changed, and would be planned for ever.
TURN_S = 5.0

#: Others go on without a gang that has been being planned for so long, in seconds; it is looked at so often.
PATIENCE_S, LOOK_S = 1.0, 0.05
#: Gangs of a namespace are planned beside the others for so long after one of them took long for nothing, in seconds.
BESIDE_S = 60.0


@dataclass
class Planning:
    """Gangs that wait to be planned. In one event loop.

    solver: of the rounds at first. others: further ones, for what takes long; each plans in one thread at a time.
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
    others: Sequence[Solver] = ()
    patience_s: float = PATIENCE_S
    _wanted: dict[str, Wanted] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _running: set[Round] = field(default_factory=set)
    _beside: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by namespace
    _costly_until_s: dict[str, float] = field(default_factory=dict)  # by namespace
    _is_for_overdue: bool = False

    def __post_init__(self) -> None:
        self._free = [*self.others, self.solver]

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
            for running in self._running:
                running.stop.set()
            for task in self._beside.values():
                task.cancel()

    async def round(self) -> None:
        """Plan those whose turn it is, and settle what came of it."""
        self._begin_beside()
        if not self._free:
            self._news.clear()  # set again when what is being stopped has ended
            return
        chosen = self._next()
        if not any(self._has_turn(wanted) for wanted in self._wanted.values()):
            self._news.clear()  # set again when a gang beside the rounds has ended
        if not chosen:
            return
        running, began = self._prepared(chosen), time.monotonic()
        found = await self._waited(running)
        placed = sum(each.is_placed for each in found)
        if found:
            self.solved(len(found), placed, time.monotonic() - began)
        await asyncio.gather(*(self.settle(each) for each in found))

    async def beside_ended(self) -> None:
        """Wait until nothing is planned beside the rounds."""
        await asyncio.gather(*self._beside.values())

    async def _gathered(self) -> None:
        """Wait until those that want to be planned have said so."""
        loop = asyncio.get_running_loop()
        end = loop.time() + MOST_GATHER_S
        await asyncio.sleep(GATHER_S)
        while not self.is_quiet() and loop.time() < end:
            await asyncio.sleep(GATHER_S)

    def _next(self) -> list[Wanted]:
        """The first in order alone, or with those after it that can be planned together; they are wanted no more."""
        order = sorted((wanted for wanted in self._wanted.values() if not self._is_costly(wanted)), key=_rank)
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

    def _prepared(self, chosen: Sequence[Wanted]) -> Round:
        view = self.held.view([wanted.key for wanted in chosen])
        fair_before = self.now() - timedelta(seconds=self.fair_after_s)
        return Round(view.snapshot, view.version, self.room(), chosen, fair_before)

    async def _waited(self, running: Round) -> list[Found]:
        """What came of a round, or of as much of it as had ended when a gang took too long."""
        task = self._begin(running)
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_S if self.others else None)
            slow = None if task.done() or not self.others else running.slow(self.patience_s)
            before = running.leave(slow) if slow else None
            if slow is not None and before is not None:
                self._again(running.after(slow))
                self._leave(running, slow, task)
                return before
        return task.result()

    def _begin(self, running: Round) -> "asyncio.Task[list[Found]]":
        """Start a round with a solver that is free."""
        self._running.add(running)
        return asyncio.create_task(self._with_solver(running, self._free.pop()))

    async def _with_solver(self, running: Round, solver: Solver) -> list[Found]:
        try:
            return await asyncio.to_thread(running.solve, solver)
        finally:
            self._running.discard(running)
            self._free.append(solver)

    def _leave(self, running: Round, slow: Wanted, task: "asyncio.Task[list[Found]]") -> None:
        """Let a gang go on by itself; where no solver is left for the others, it is stopped and comes later."""
        space = _namespace(slow)
        if self._free:
            self._beside[space] = asyncio.create_task(self._beside_of(space, task))
            return
        self._costly_until_s[space] = time.monotonic() + BESIDE_S
        self._again([slow])
        running.stop.set()
        self._beside[space] = asyncio.create_task(self._stopped(space, task))

    def _begin_beside(self) -> None:
        """Start what is planned beside the rounds, as long as a solver is left for those."""
        for wanted in sorted(self._wanted.values(), key=_rank):
            if len(self._free) < 2:
                return
            space = _namespace(wanted)
            if self._is_costly(wanted) and space not in self._beside:
                del self._wanted[wanted.key]
                task = self._begin(self._prepared([wanted]))
                self._beside[space] = asyncio.create_task(self._beside_of(space, task))

    async def _beside_of(self, space: str, task: "asyncio.Task[list[Found]]") -> None:
        """Settle what comes of a gang that is planned beside the rounds."""
        began = time.monotonic()
        try:
            found = await task
            for each in found:
                self.solved(1, each.is_placed, time.monotonic() - began)
                if each.is_costly:
                    self._costly_until_s[space] = time.monotonic() + BESIDE_S
                await self.settle(each)
        finally:
            del self._beside[space]
            self._news.set()

    async def _stopped(self, space: str, task: "asyncio.Task[list[Found]]") -> None:
        """Wait until a gang that was stopped has ended."""
        try:
            await task
        finally:
            del self._beside[space]
            self._news.set()

    def _again(self, wanted: Sequence[Wanted]) -> None:
        """Plan these later, unless they are wanted anew."""
        self._wanted = {**{each.key: each for each in wanted}, **self._wanted}
        self._news.set()

    def _is_costly(self, wanted: Wanted) -> bool:
        """Whether it is planned beside the rounds, if at all now."""
        space = _namespace(wanted)
        return space in self._beside or self._costly_until_s.get(space, 0.0) > time.monotonic()

    def _has_turn(self, wanted: Wanted) -> bool:
        """Whether it could be planned now."""
        is_free = len(self._free) > 1 and _namespace(wanted) not in self._beside
        return is_free or not self._is_costly(wanted)


def _namespace(wanted: Wanted) -> str:
    return wanted.key.partition("/")[0]


def _rank(wanted: Wanted) -> tuple[int, bool, datetime, str]:
    """Higher priority first; then those that are under way, then those that wait longest."""
    return (-wanted.gang.priority, not wanted.is_alone, wanted.gang.created or wanted.since, wanted.key)
