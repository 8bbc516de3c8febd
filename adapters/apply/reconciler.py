"""The reconciler: looks at every gang that may have changed, decides, acts, and looks again.

plan → reserve → release → confirm or repair. What it knows beside the Placements (what was tried, which writes the
mirror does not show yet) only saves work: after a restart it finds the same again.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog

from adapters.apply import outcome
from adapters.apply.decide import decide
from adapters.apply.fits import Fits
from adapters.apply.hands import Hands
from adapters.apply.memory import Memory
from adapters.apply.naming_node import NO_EXTENDER, Extended
from adapters.apply.noticing import folded
from adapters.apply.observed import Tried
from adapters.apply.observing import GangReader, Observer, Sight
from adapters.apply.overcommit_repair import OvercommitRepair
from adapters.apply.overcommits import HOLD_S, Overcommit, Overcommits
from adapters.apply.own_writes import OwnWrites
from adapters.apply.planning import Planning
from adapters.apply.promised import Promised
from adapters.apply.reporter import Reporter
from adapters.apply.round import Found, Solver, Wanted
from adapters.apply.settings import Settings
from adapters.apply.shown import Shown
from adapters.apply.steps import Confirm, Forget, GiveUp, Nothing, Plan, Release, Replace, Step, Wait, Withdraw
from adapters.apply.telling import Telling
from adapters.apply.telling_pods import TellingPods
from adapters.apply.timers import Timers
from adapters.apply.writes import Calls, Placements
from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound
from adapters.kubernetes.placement_objects import bound_text
from adapters.kubernetes.placements import Phase, PlacementRecord
from adapters.kubernetes.resources import GANGS, NODES, PLACEMENTS, PODS
from solver.domain.errors import HuddleError, InvalidRequest
from solver.domain.plan import Notice
from solver.domain.pods import BoundPod

Body = Mapping[str, Any]

#: Gangs looked at at once; steps about one gang before others have a turn.
WORKERS, MOST_STEPS = 8, 12
#: Room that is gained is waited for so long to become more, in seconds.
ROOM_PAUSE_S = 0.2
#: Until a gang is tried again without any change, and until an action is repeated, in seconds; doubled up to the most.
RETRY_S, MOST_RETRY_S = 15.0, 300.0
REPEAT_S, MOST_REPEAT_S = 0.2, 30.0
#: The same where there is no namespace, or no kind, to write a Placement to, up to MOST_RETRY_S.
GONE_S = 5.0
#: Changed numbers in a reason are written at most so often, in seconds.
RESTATE_S = 30.0
#: Most that people are being told at a time; what is more they are not told.
MOST_TOLD = 1000
#: Names of timers that are no gang's.
_ROOM, _OVERCOMMITS = "room", "overcommits"
#: Seconds from a change until it is looked whether nodes were given away twice: many changes come together.
LOOK_FOR_OVERCOMMITS_S = 0.25

_log = structlog.get_logger("huddle.apply")


class Reconciler:
    """Brings gangs of one cluster to their nodes. In one event loop.

    Of another thread only `record`, `newest`, `wrote`, `promised` and `claims` may be used.
    """

    def __init__(
        self,
        mirror: Shown,
        calls: Calls,
        read_gang: GangReader,
        solver: Solver,
        settings: Settings | None = None,
        reporter: Reporter | None = None,
        instance: str = "huddle",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        extended: Extended = NO_EXTENDER,
        others: Sequence[Solver] = (),
    ) -> None:
        """solver, others: see `Planning`."""
        self._mirror, self._settings, self._now = mirror, settings or Settings(), now
        self._reporter = reporter or Reporter()
        self._own_pods, self._own_placements = OwnWrites(), OwnWrites()
        self._fits, self._promised = Fits(mirror.held), Promised(mirror.held)
        self._observer = Observer(
            mirror, read_gang, self._fits, self._settings, self._own_pods, self._own_placements, now, extended
        )
        self._placements = Placements(calls, self._own_placements)
        self._hands, self._telling = Hands(calls, self._own_pods), Telling(calls, instance)
        self._telling_pods = TellingPods(calls, instance, now)
        self._overcommits = OvercommitRepair(
            Overcommits(mirror, now),
            self.record,
            mirror.gang_keys,
            self._tell_overcommit,
            lambda gang: self.mark([gang]),
        )
        self.planning = Planning(
            mirror.held,
            solver,
            self._settle,
            room=lambda: self._room,
            is_quiet=lambda: not self._dirty,
            now=now,
            fair_after_s=self._settings.fair_after_s,
            solved=self._reporter.solved,
            others=others,
        )
        #: Held while a thread looks whether there is room and takes it, so that no other takes it in between.
        self.claims = threading.Lock()
        self._room = 0
        self._memory: defaultdict[str, Memory] = defaultdict(Memory)
        self._dirty: dict[str, None] = {}
        self._news = asyncio.Event()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._timers = Timers()
        self._told: set[asyncio.Task[None]] = set()
        mirror.on_change(PLACEMENTS, lambda _, before, now: self._own_placements.shown(before, now))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._mirror.synced()
        await self.learn()
        for resource in (PODS, NODES):  # what others bind is no news to any gang
            self._mirror.on_change(resource, self._may_be_overcommitted)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self.planning.run())
                tasks.create_task(self._telling_pods.run())
                for _ in range(WORKERS):
                    tasks.create_task(self._work())
        finally:
            self.close()

    def close(self) -> None:
        """Let no timer go off any more."""
        self._timers.close()

    async def learn(self) -> None:
        """Know what was promised before, so that nothing is promised twice: at the start, before anything is done."""
        for key in self._mirror.gang_keys():
            try:
                self._look(key)
            except InvalidRequest as error:
                _log.warning("placement_makes_no_sense", gang=key, problem=str(error))
            await asyncio.sleep(0)  # others have a turn too

    def mark(self, keys: Iterable[str]) -> None:
        """Look at these gangs soon."""
        for key in keys:
            self._dirty[key] = None
        if self._dirty:
            self._news.set()

    def record(self, key: str) -> PlacementRecord | None:
        """The Placement of a gang, with what was written here. Raises InvalidRequest when it makes no sense."""
        return self._observer.record(key)

    def newest(self, pod: Body) -> Body | None:
        """A pod that the mirror shows like this, with what was written here; None when it is known to be gone."""
        return self._own_pods.newest(pod)

    def wrote(self, pod: Body) -> None:
        """A pod was seen to be like this, which the mirror may show later."""
        self._own_pods.wrote(pod)

    def promised(self) -> Iterable[BoundPod]:
        """Pods that capacity is held for, each on its node."""
        return self._promised.pods()

    def room_came(self) -> None:
        """Gangs that wait for room may fit now."""
        self._room += 1
        self.mark([key for key, memory in self._memory.items() if memory.waits])

    async def reconcile(self, key: str) -> None:
        """Do what there is to do about a gang now, as far as it goes without waiting."""
        async with self._lock(key):
            for _ in range(MOST_STEPS):
                sight = self._look(key)
                step = decide(sight.seen, self._settings)
                if not isinstance(step, Plan):
                    self.planning.drop(key)
                if not await self._act(key, sight, step):
                    return
            self._later(key, 0.0)

    async def attempt(self, key: str) -> None:
        """Reconcile, unless it failed lately in a way that only time can change; what fails is tried again later."""
        if not self._rests(key):
            await self._trying(key, self.reconcile(key))

    async def _listen(self) -> None:
        subscription = self._mirror.subscribe()
        while True:
            news = await subscription.next()
            self.mark(news.gangs)
            if news.room:
                self._gained()

    def _may_be_overcommitted(self, *_: object) -> None:
        self._timers.after(_OVERCOMMITS, LOOK_FOR_OVERCOMMITS_S, self.look_for_overcommits)

    def look_for_overcommits(self) -> None:
        """See which nodes were given away twice; as long as there are any, look again."""
        found = self._overcommits.look()
        self._reporter.overcommitted(found)
        if found:
            self._timers.after(_OVERCOMMITS, HOLD_S, self.look_for_overcommits)

    def _tell_overcommit(self, overcommit: Overcommit) -> None:
        self._background(self._telling.overcommitted(overcommit, self._now()))

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            key = next((key for key in self._dirty if not self._lock(key).locked()), None)
            if key is None:
                self._news.clear()  # whoever has the lock sets it again
                continue
            del self._dirty[key]
            await self.attempt(key)
            await asyncio.sleep(0)  # there may have been nothing to wait for, and others have a turn too

    def _rests(self, key: str) -> bool:
        """Whether what would be written about a gang has no place to be; it is looked at again later."""
        until = self._memory[key].rests_until if key in self._memory else None
        return until is not None and self._now() < until

    async def _trying(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a gang; what goes wrong is tried again later."""
        try:
            await work
        except Conflict as error:
            _log.debug("changed_meanwhile", gang=key, problem=str(error))
            self._later(key, REPEAT_S)
        except NotFound as error:  # its namespace is gone, or Huddle's own kinds are: nothing here can change that
            memory = self._memory[key]
            memory.nowhere += 1
            pause_s = min(GONE_S * 2.0 ** min(memory.nowhere - 1, 20), MOST_RETRY_S)
            memory.rests_until = self._now() + timedelta(seconds=pause_s)
            self._reporter.failed(key, str(error))
            _log.warning("nothing_to_write_to", gang=key, problem=str(error), again_after_s=pause_s)
            self._later(key, pause_s)
        except Exception as error:  # one gang must not end the work for all
            failures = self._memory[key].failures = self._memory[key].failures + 1
            self._reporter.failed(key, str(error))
            is_ours = not isinstance(error, HuddleError)
            _log.warning("tried_again_later", gang=key, problem=str(error) or repr(error), exc_info=is_ours)
            self._later(key, min(REPEAT_S * 2.0 ** min(failures, 20), MOST_REPEAT_S))
        else:
            if key in self._memory:
                self._memory[key].failures = 0
        finally:
            if self._dirty:
                self._news.set()

    def _look(self, key: str) -> Sight:
        """The gang as it is now; what it is promised is what its Placement says."""
        memory = self._memory[key]
        sight = self._observer.look(key, memory.tried, self._room)
        overcommitted = self._overcommits.reasons(key, sight.seen.members)
        if overcommitted:
            sight = replace(sight, seen=replace(sight.seen, overcommitted=overcommitted))
        self._tell_state(key, sight.seen.record, sight)
        return sight

    def _tell_state(self, key: str, record: PlacementRecord | None, sight: Sight, is_written: bool = True) -> None:
        if self._promised.know(key, record, sight.waiting, is_written):
            self._gained()

    async def _act(self, key: str, sight: Sight, step: Step) -> bool:
        """Do a step; whether to look again at once."""
        if isinstance(step, Nothing):
            return self._rest(key, sight, step.until)
        if isinstance(step, Wait):
            if step.phase is Phase.PENDING:
                await self._hands.take_back(sight.seen.members, sight.bodies)
            await self._write(sight, outcome.waiting(sight.seen, step))
            return self._rest(key, sight, step.until)
        if isinstance(step, Plan):
            return self._want(key, sight, step)
        if isinstance(step, Release):
            return await self._release(key, sight, step)
        if isinstance(step, Replace):
            return await self._replace(key, sight, step)
        if isinstance(step, Forget):
            return await self._forget(key, sight)
        writes: dict[type[Step], Callable[..., PlacementRecord]] = {
            Confirm: outcome.confirmed,
            GiveUp: outcome.giving_up,
            Withdraw: outcome.withdrawn,
        }
        await self._write(sight, writes[type(step)](sight.seen, step))
        self._overcommits.done(key)
        if isinstance(step, Confirm):
            self._confirmed(key, sight, step)
        return True

    def _rest(self, key: str, sight: Sight, until: datetime | None) -> bool:
        """Nothing to do for now."""
        if sight.seen.record is None and not sight.seen.members:
            self._drop(key)
        elif until is not None:
            self._later(key, (until - self._now()).total_seconds())
        return False

    def _want(self, key: str, sight: Sight, step: Plan) -> bool:
        gang = self._observer.gang(sight, step.fixed.node_of)
        if gang is None:
            return self._rest(key, sight, self._now() + timedelta(seconds=RETRY_S))
        memory, record = self._memory[key], sight.seen.record
        if sight.problem != memory.problem:
            memory.problem = sight.problem
            if sight.problem:
                _log.info("plan_does_not_hold", gang=key, problem=sight.problem)
        alone = bool(step.fixed.nodes or step.avoid) or self._promised.is_holding(key)
        # Part of a gang that was there before this controller had a look at it has waited all the time.
        since = record.partial_since if record and record.partial_since and memory.tried is None else self._now()
        self.planning.want(Wanted(key, step, gang, since, alone))
        return False

    async def _settle(self, found: Found) -> None:
        """Reserve what was found, or remember that nothing was."""
        await self._trying(found.wanted.key, self._settling(found))

    async def _settling(self, found: Found) -> None:
        async with self._lock(found.wanted.key):
            await self._settled(found.wanted.key, found)

    async def _settled(self, key: str, found: Found) -> None:
        sight, asked = self._look(key), found.wanted
        is_current = decide(sight.seen, self._settings) == asked.step
        if not is_current or self._observer.gang(sight, asked.step.fixed.node_of) != asked.gang:
            self.mark([key])
            return
        plan = found.plan
        if plan is None or not plan.status.placed or not plan.assignments:
            self._remember(key, sight, found)
            self.mark([key])
            return
        record = outcome.planned(sight.seen, asked.step, plan, found.version)
        with self.claims:
            problem = self._fits.problem(asked.gang, plan.assignments)
            if not problem:
                self._tell_state(key, record, sight, is_written=False)  # before the extender can give it away
        if problem:
            _log.info("plan_is_old", gang=key, problem=problem)
            self._later(key, REPEAT_S)
            return
        record = await self._placements.write_plan(record)
        self.planning.drop(key)
        memory = self._memory[key]
        memory.tries, memory.waits, memory.overruns, memory.nowhere = 0, False, 0, 0
        self._tell_state(key, record, sight)
        self._entered(key, sight.seen.record, record)
        self._say(record, sight)
        self._warn(record, (*folded(memory.fresh(sight.seen.live.notices)), *plan.warnings))
        self.mark([key])

    def _remember(self, key: str, sight: Sight, found: Found) -> None:
        """What was tried in vain, so that it is not tried again before something has changed."""
        memory, gang = self._memory[key], sight.seen.live.gang
        if gang is None:
            return
        memory.overruns = memory.overruns + 1 if found.is_costly else 0
        is_same_state = memory.tried is not None and memory.tried.room == found.room
        # One that could not even be asked about is not tried more and more rarely.
        memory.tries, memory.waits = memory.tries + 1 if is_same_state and not found.is_away else 1, True
        pause_s = min(RETRY_S * 2.0 ** min(max(memory.tries, memory.overruns) - 1, 20), MOST_RETRY_S)
        until = self._now() + timedelta(seconds=pause_s)
        step, reasons = found.wanted.step, outcome.not_placed(found)
        if found.is_costly:
            reasons = (*reasons, outcome.backing_off(pause_s, memory.overruns))
        memory.tried = Tried(gang, step.fixed, step.avoid, found.room, until, reasons, found.is_costly)

    async def _release(self, key: str, sight: Sight, step: Release) -> bool:
        seen, memory = sight.seen, self._memory[key]
        if seen.record is None or seen.record.phase is not Phase.RELEASING:
            await self._write(sight, outcome.releasing(seen))
            memory.acted.clear()
        members = {member.uid: member for member in seen.members}
        due = memory.due(Release, (seat.uid for seat in step.seats), self._now())
        seats = [seat for seat in step.seats if seat.uid in due]
        try:
            bodies = await self._hands.announce(seats, members, sight.bodies)
            problems = await self._hands.let_go(seats, members, bodies)
        except ApiError:
            memory.acted.clear()
            raise
        for pod, problem in problems.items():
            _log.info("pod_not_let_go", gang=key, pod=pod, problem=problem)
        self._later(key, self._settings.look_s)
        return False

    async def _replace(self, key: str, sight: Sight, step: Replace) -> bool:
        memory = self._memory[key]
        due = memory.due(Replace, (member.uid for member in step.members), self._now())
        members = [member for member in step.members if member.uid in due]
        try:
            for pod, problem in (await self._hands.give_back(members)).items():
                _log.info("pod_not_given_back", gang=key, pod=pod, problem=problem)
        except ApiError:
            memory.acted.clear()
            raise
        self._reporter.given_back(key, len(members))
        self._later(key, self._settings.look_s)
        return False

    async def _forget(self, key: str, sight: Sight) -> bool:
        record = sight.seen.record
        if record is not None:
            await self._placements.forget(record)
            self._entered(key, record, None)
        self._tell_state(key, None, sight)
        self._drop(key)
        return False

    async def _write(self, sight: Sight, after: PlacementRecord) -> None:
        """Write a Placement and tell of it, if it says anything new."""
        before, memory = sight.seen.record, self._memory[sight.seen.key]
        is_due = memory.told_at is None or self._now() >= memory.told_at + timedelta(seconds=RESTATE_S)
        if outcome.says_the_same(before, after, numbers=is_due):
            self._warn(after, folded(memory.fresh(sight.seen.live.notices)))
            return
        record = await self._placements.write(before, after, sight.bound, sight.wanted)
        memory.told_at, memory.nowhere = self._now(), 0
        self._tell_state(sight.seen.key, record, sight)
        self._entered(sight.seen.key, before, record)
        if before is None or not outcome.is_same_news(before, record):
            self._say(record, sight)
        self._warn(record, folded(memory.fresh(sight.seen.live.notices)))

    def _entered(self, key: str, before: PlacementRecord | None, now: PlacementRecord | None) -> None:
        """The phase of a gang may have changed."""
        was, phase = before.phase if before else None, now.phase if now else None
        if was is phase:
            return
        self._reporter.phase(key, was, phase)
        why = outcome.sentence(now) if now and now.reasons else None
        told = {"attempt": now.attempt if now else None, "why": why}
        said = {name: value for name, value in told.items() if value}
        _log.info("phase", gang=key, before=was, now=phase or "forgotten", **said)

    def _say(self, record: PlacementRecord, sight: Sight) -> None:
        """Tell people, without waiting for it."""
        self._telling_pods.news(record, [sight.bodies[member.uid] for member in sight.seen.members])
        gang = self._mirror.get(GANGS, *record.gang.split("/", 1))
        bound = bound_text(record, sight.bound, sight.wanted)
        self._background(self._telling.tell(record, self._now(), gang, bound))

    def _background(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tell people something, unless they are being told too much already."""
        if len(self._told) >= MOST_TOLD:
            telling.close()
            return
        task = asyncio.create_task(telling)
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    def _warn(self, record: PlacementRecord, notices: Sequence[Notice]) -> None:
        """Tell people what is doubtful about a gang, without waiting for it."""
        for notice in notices:
            _log.warning("doubtful", gang=record.gang, code=notice.code, field=notice.field, problem=notice.message)
        if notices:
            self._background(self._telling.warn(record, notices, self._now()))

    def _confirmed(self, key: str, sight: Sight, step: Confirm) -> None:
        memory, record = self._memory[key], sight.seen.record
        memory.tries, memory.acted = 0, {}
        if record is not None and record.phase is Phase.BOUND:
            return  # only who they are has changed
        gang = sight.seen.live.gang
        created = gang.created if gang else None
        waited_s = (self._now() - created).total_seconds() if created else None
        self._reporter.bound(key, len(step.seats), waited_s)

    def _gained(self) -> None:
        """There may be room for those that wait: they are looked at once more room had time to come."""
        self._timers.after(_ROOM, ROOM_PAUSE_S, self.room_came)

    def _lock(self, key: str) -> asyncio.Lock:
        """Held by whoever acts on the gang."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    def _later(self, key: str, seconds: float) -> None:
        """Look at a gang again after so long at the latest."""
        self._timers.cancel(key)
        self._timers.after(key, max(seconds, 0.01), partial(self.mark, (key,)))

    def _drop(self, key: str) -> None:
        """Remember nothing of a gang that is gone."""
        self._memory.pop(key, None)
        self._overcommits.done(key)
        self._telling_pods.drop(key)
        self._observer.forget(key)
        self._timers.cancel(key)
