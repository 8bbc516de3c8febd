"""What to do next about one gang: a pure function of what is seen of it.

Nothing is remembered between two decisions but the Placement, so a restart goes on where it stopped. Rules are asked
in order; the first that has something to say decides.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from adapters.apply.minimum import can_be_enough, is_enough
from adapters.apply.observed import MOST_NAMED, Fixed, Member, Observed
from adapters.apply.settings import Settings
from adapters.apply.steps import Confirm, Forget, GiveUp, Nothing, Plan, Release, Replace, Step, Wait, Withdraw
from adapters.kubernetes.placements import Phase, PlacementRecord, Seat, Why
from solver.domain.naming import natural_key
from solver.domain.replicas import fewest_pods


def decide(seen: Observed, settings: Settings) -> Step:
    """The next step. Asked again after every step that did something, and whenever anything of the gang changed."""
    facts = _Facts(seen, settings)
    step = next((step for rule in _RULES if (step := rule(facts)) is not None), Nothing())
    if isinstance(step, Wait | Nothing):
        return replace(step, until=_soonest(step.until, seen.next_loss, facts.grace_end))
    return step


@dataclass(frozen=True)
class _Facts:
    """What is seen, sorted. Members that are leaving are in none of the groups."""

    seen: Observed
    settings: Settings

    @property
    def record(self) -> PlacementRecord | None:
        return self.seen.record

    @property
    def phase(self) -> Phase:
        """Pending without a Placement."""
        return self.seen.record.phase if self.seen.record else Phase.PENDING

    @property
    def gang_is_known(self) -> bool:
        return self.seen.live.gang is not None and not self.seen.live.problem

    @cached_property
    def members(self) -> tuple[Member, ...]:
        found = (member for member in self.seen.members if not member.leaving)
        return tuple(sorted(found, key=lambda member: natural_key(member.pod)))

    @cached_property
    def lost(self) -> tuple[Member, ...]:
        """Bound where nothing runs any more."""
        return tuple(member for member in self.members if member.lost)

    @cached_property
    def bound(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.node and not member.lost)

    @cached_property
    def freed(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.is_freed)

    @cached_property
    def held(self) -> tuple[Member, ...]:
        """Those that a plan may place."""
        return tuple(member for member in self.members if member.is_held and member.is_placeable)

    @cached_property
    def strays(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.is_stray)

    @cached_property
    def kept_back(self) -> tuple[Member, ...]:
        """Those that others hold too."""
        return tuple(member for member in self.members if member.is_held and not member.is_placeable)

    @cached_property
    def seats(self) -> Mapping[str, Seat]:
        """Seats that count, by uid."""
        if self.record is None or self.phase is Phase.PENDING:
            return {}
        return {seat.uid: seat for seat in self.record.seats}

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Uids of members that the plan has no seat for, on purpose."""
        return frozenset(self.record.left_out) if self.record and self.seats else frozenset()

    @cached_property
    def is_enough(self) -> bool:
        """Whether the bound members are as many as the gang needs; true of a gang that nobody can read."""
        gang = self.seen.live.gang
        return gang is None or is_enough(gang, [member.pod for member in self.bound])

    @cached_property
    def can_be_given_back(self) -> bool:
        """Whether somebody makes successors of what runs, or will."""
        return any(member.controlled for member in (*self.bound, *self.freed))

    @cached_property
    def resting(self) -> Phase:
        """The phase in which the gang waits for something."""
        if not self.bound and not self.freed:
            return Phase.PENDING
        if not self.gang_is_known and self.phase is not Phase.BOUND:
            return Phase.REPAIRING
        return Phase.BOUND if self.is_enough else Phase.REPAIRING

    @cached_property
    def moving(self) -> tuple[Member, ...]:
        """Let go to a node that is not their seat any more."""
        return tuple(
            member for member in self.freed if (seat := self.seats.get(member.uid)) and seat.node != member.pin
        )

    @cached_property
    def overdue(self) -> tuple[Member, ...]:
        """Let go too long ago, or tried in vain to be let go."""
        seated = [member for member in self.held if member.uid in self.seats]
        waiting = (*self.freed, *seated) if self.phase is Phase.RELEASING else self.freed
        return tuple(member for member in waiting if (due := self.due(member)) and self.seen.now >= due)

    def due(self, member: Member) -> datetime | None:
        """When a pod that was let go is given another place."""
        if self.record is None or self.record.released is None:
            return None
        wait_s = self.settings.refused_s if member.refused else self.settings.unheard_s
        return self.record.released + timedelta(seconds=wait_s)

    @cached_property
    def unseated(self) -> tuple[Member, ...]:
        """Those a plan has to be made for."""
        late = self.seen.unfit | {member.uid for member in self.overdue}
        moving = {member.uid for member in self.moving}
        return (
            *(member for member in self.held if member.uid not in self.seats and member.uid not in self.left_out),
            *(member for member in self.held if member.uid in self.seats and member.uid in late),
            *(member for member in self.freed if member.uid not in moving and member.uid in late),
        )

    @cached_property
    def plan(self) -> Plan:
        """The plan to ask for now."""
        away = {member.uid for member in (*self.unseated, *self.moving)}
        fixed = {member.pod: member.node for member in self.bound}
        fixed |= {member.pod: member.pin for member in self.freed if member.uid not in away}
        avoid = set(self.record.avoid) if self.record and self.phase is not Phase.PENDING else set()
        avoid |= {member.pin or self.seats[member.uid].node for member in self.overdue}
        return Plan(Fixed(tuple(sorted(fixed.items()))), tuple(sorted(avoid)))

    @cached_property
    def was_tried(self) -> bool:
        """Whether the plan to ask for now was tried and nothing has changed since."""
        tried, seen = self.seen.tried, self.seen
        if tried is None or seen.now >= tried.until:
            return False
        return tried.is_costly or (
            tried.room == seen.room
            and (tried.fixed, tried.avoid) == (self.plan.fixed, self.plan.avoid)
            and tried.gang == seen.live.gang
        )

    @cached_property
    def obstacles(self) -> tuple[Why, ...]:
        """Members that cannot be placed, whatever room there is."""
        found = []
        if missing := self.seen.live.missing:
            count = sum(missing.values())
            roles = ", ".join(f"{number} of {role}" for role, number in sorted(missing.items()))
            there = len(self.members)
            numbers = {"missing": count, "there": there}
            found.append(
                Why(
                    "pods_missing",
                    f"{_counted(count)} {'does' if count == 1 else 'do'} not exist yet: {roles}",
                    (),
                    numbers,
                )
            )
        for code, what, members in (
            ("not_held", "neither Huddle's gate nor its scheduler name holds", self.strays),
            ("other_gates", "scheduling gates of others hold", self.kept_back),
            ("node_lost", "their nodes are gone or silent:", self.lost),
        ):
            if members:
                found.append(Why(code, f"{what} {_names(members)}", _pods(members), {"pods": len(members)}))
        return tuple(found)

    @property
    def gathering(self) -> tuple[Why, ...]:
        """That more pods may be on their way, where nobody says how many there will be."""
        there = len(self.members)
        text = f"{_counted(there)} {'exists' if there == 1 else 'exist'}, and nothing says how many there will be"
        return (Why("gathering", text, (), {"there": len(self.members)}),) if self.seen.live.is_open else ()

    @property
    def grace_end(self) -> datetime | None:
        """When the grace ends, if that is still to come."""
        since = self.record.partial_since if self.record else None
        end = None if since is None else since + timedelta(seconds=self.settings.grace_s)
        return end if end is not None and end > self.seen.now else None

    @property
    def too_few(self) -> Why:
        """That fewer pods exist than the gang needs."""
        there, gang = len(self.members), self.seen.live.gang
        needed = fewest_pods(gang.root) if gang else None
        least = "" if needed is None else f", at least {needed} are needed"
        numbers = {"there": there, **({} if needed is None else {"needed": needed})}
        return Why("pods_missing", f"fewer pods exist than the gang needs: {_counted(there)} there{least}", (), numbers)

    def needs_owner(self, members: Iterable[Member]) -> tuple[Why, ...]:
        """The reason that some of them will not be replaced, since nobody would make their successors."""
        bare = [member for member in members if not member.controlled]
        if not bare:
            return ()
        text = f"nothing controls {_names(bare)}, so Huddle does not delete them"
        return (Why("needs_owner", text, _pods(bare), {"pods": len(bare)}),)


def _nobody_there(facts: _Facts) -> Step | None:
    """A gang that is gone, or that was never Huddle's."""
    live, record = facts.seen.live, facts.record
    if not facts.members and not live.is_declared:
        return Nothing() if record is None else Forget()
    if not facts.members and facts.phase is Phase.BOUND:
        return Nothing()  # its pods have ended, or new ones are on their way
    if record is None and not live.is_own and not facts.held and not facts.kept_back:
        return Nothing()
    return None


def _giving_back(facts: _Facts) -> Step | None:
    """Once begun, everything bound or let go is given back."""
    if facts.phase is not Phase.EVICTING or facts.record is None:
        return None
    out = tuple(member for member in (*facts.bound, *facts.lost, *facts.freed) if member.controlled)
    if out:
        return Replace(out)
    failures = facts.record.failures + 1
    return Withdraw(failures, facts.seen.now + facts.settings.back_off(failures))


def _given_twice(facts: _Facts) -> Step | None:
    """A gang of which a pod came last to a node that was given away twice makes room, whole, and is planned anew."""
    if not facts.seen.overcommitted or facts.record is None or not facts.bound or not facts.can_be_given_back:
        return None
    return GiveUp(facts.seen.overcommitted)


def _lost_members(facts: _Facts) -> Step | None:
    """Members whose node is gone make room for their successors."""
    out = tuple(member for member in facts.lost if member.controlled)
    return Replace(out) if out else None


def _too_long(facts: _Facts) -> Step | None:
    """Part of a gang must not hold capacity for longer than the grace, but for one try to make it whole."""
    record, seen, settings = facts.record, facts.seen, facts.settings
    if record is None or record.partial_since is None or facts.is_enough or facts.strays:
        return None
    if not facts.bound and not (facts.freed and facts.unseated):
        return None
    if facts.grace_end is not None:
        return None
    end = record.partial_since + timedelta(seconds=settings.grace_s)
    last = timedelta(seconds=settings.last_chance_s)
    if facts.unseated:
        # Seats that were let go after the grace were the one try, however many more plans could be found; and where one
        # controller follows another, each of which could have its own, time ends them all.
        may_come = seen.live.gang is not None and can_be_enough(seen.live.gang) and seen.now < end + last
        has_a_chance = may_come and seen.tried is None and (record.released is None or record.released < end)
    else:
        is_fresh = record.released is not None and seen.now < record.released + last
        has_a_chance = facts.phase is Phase.RESERVED or (facts.phase is Phase.RELEASING and is_fresh)
    if has_a_chance or not facts.can_be_given_back:
        return None
    return GiveUp(record.reasons or facts.obstacles)


def _all_bound(facts: _Facts) -> Step | None:
    """No member waits for a node."""
    if facts.held or facts.freed or facts.kept_back or facts.strays or not facts.bound:
        return None
    if not facts.is_enough:
        bare = facts.lost or (() if facts.can_be_given_back else facts.bound)
        return Wait(Phase.REPAIRING, (*(facts.obstacles or (facts.too_few,)), *facts.needs_owner(bare)))
    seats = tuple(Seat(member.pod, member.uid, member.role, member.node) for member in facts.bound)
    if facts.record and facts.phase is Phase.BOUND and facts.record.seats == seats and not facts.record.reasons:
        return Nothing()
    return Confirm(seats)


def _unreadable(facts: _Facts) -> Step | None:
    """A gang that makes no sense, or that nothing describes."""
    live = facts.seen.live
    if live.problem:
        return Wait(facts.resting, (Why("invalid", live.problem),))
    if live.gang is None and not facts.obstacles:
        text = f"nothing describes gang {facts.seen.key}, or it asks for no pod"
        return Wait(facts.resting, (Why("gang_missing", text, (facts.seen.key,)),))
    return None


def _backing_off(facts: _Facts) -> Step | None:
    """After an eviction the gang lets others go first."""
    record, seen = facts.record, facts.seen
    if record is None or record.not_before is None or facts.bound or facts.freed or seen.now >= record.not_before:
        return None
    wait_s = round((record.not_before - (record.since or seen.now)).total_seconds())
    text = f"it was given back {record.failures} times in a row and is tried again after {wait_s} s"
    return Wait(Phase.PENDING, (Why("backing_off", text, (), {"failures": record.failures}),), record.not_before)


def _incomplete(facts: _Facts) -> Step | None:
    """Too few pods exist, or more of them may be on their way."""
    gang = facts.seen.live.gang
    if gang is None or not can_be_enough(gang):
        return Wait(facts.resting, facts.obstacles or (facts.too_few,))
    lacking = facts.obstacles or facts.gathering
    if facts.bound or facts.freed or facts.seats or not lacking:
        return None
    last = max((member.created for member in facts.members if member.created is not None), default=None)
    until = None if last is None else last + timedelta(seconds=facts.settings.gather_s)
    return Wait(Phase.PENDING, lacking, until) if until and facts.seen.now < until else None


def _broken(facts: _Facts) -> Step | None:
    """A gang that was whole and is not any more says so before it is planned: from now on its grace counts."""
    if facts.phase is not Phase.BOUND or not facts.bound or facts.is_enough or not facts.unseated:
        return None
    text = f"a node is being looked for, for {_names(facts.unseated)}"
    why = Why("unplaced", text, _pods(facts.unseated), {"pods": len(facts.unseated)})
    return Wait(Phase.REPAIRING, (why,), facts.seen.now)


def _unplaced(facts: _Facts) -> Step | None:
    """Members without a seat, or with one that does not take them."""
    if not facts.unseated:
        return None
    tried = facts.seen.tried
    if tried is None or not facts.was_tried:
        return facts.plan
    record = facts.record
    if facts.resting is Phase.PENDING and record is not None and facts.plan.avoid:
        failures = record.failures + 1
        return Withdraw(failures, facts.seen.now + facts.settings.back_off(failures))
    return Wait(facts.resting, (*tried.reasons, *facts.needs_owner((*facts.overdue, *facts.lost))), tried.until)


def _misplaced(facts: _Facts) -> Step | None:
    """Pods let go to a node that is not their seat any more go, so that successors take the seats."""
    out = tuple(member for member in facts.moving if member.controlled)
    if out:
        return Replace(out)
    if facts.moving:
        return Wait(facts.resting, facts.needs_owner(facts.moving))
    return None


def _let_go(facts: _Facts) -> Step | None:
    """Members whom their seats wait for."""
    ready = tuple(facts.seats[member.uid] for member in facts.held if member.uid in facts.seats)
    if not ready and (not facts.freed or facts.phase is Phase.RELEASING):
        return None
    return Release(ready)


def _on_their_way(facts: _Facts) -> Step | None:
    """Pods let go that are not bound yet."""
    if not facts.freed:
        return None
    look = facts.seen.now + timedelta(seconds=facts.settings.look_s)
    return Nothing(_soonest(look, *(facts.due(member) for member in facts.freed)))


def _spare(facts: _Facts) -> Step | None:
    """All members with a seat are bound; there may be room now for those the plan left out."""
    if not facts.bound or not facts.is_enough:
        return Wait(facts.resting, facts.obstacles) if facts.obstacles else None
    seats = tuple(Seat(member.pod, member.uid, member.role, member.node) for member in facts.bound)
    if facts.record is None or facts.phase is not Phase.BOUND or facts.record.seats != seats:
        return Confirm(seats)
    if not facts.held:
        return Wait(Phase.BOUND, facts.obstacles)
    tried = facts.seen.tried
    if tried is None or not facts.was_tried:
        return facts.plan
    return Wait(Phase.BOUND, tried.reasons, tried.until)


_RULES: tuple[Callable[[_Facts], Step | None], ...] = (
    _nobody_there,
    _giving_back,
    _given_twice,
    _lost_members,
    _too_long,
    _all_bound,
    _unreadable,
    _backing_off,
    _incomplete,
    _broken,
    _unplaced,
    _misplaced,
    _let_go,
    _on_their_way,
    _spare,
)


def _soonest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _counted(pods: int) -> str:
    return "1 pod" if pods == 1 else f"{pods} pods"


def _pods(members: Iterable[Member]) -> tuple[str, ...]:
    return tuple(member.pod for member in members)[:MOST_NAMED]


def _names(members: Iterable[Member]) -> str:
    """Up to three names, and how many more there are."""
    names = [member.pod for member in members]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
