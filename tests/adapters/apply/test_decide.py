"""Decisions about one gang, situation by situation."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.apply.decide import decide
from adapters.apply.observed import Fixed, LiveGang, Member, Observed, Tried
from adapters.apply.settings import Settings
from adapters.apply.steps import Confirm, Forget, GiveUp, Nothing, Plan, Release, Replace, Step, Wait, Withdraw
from adapters.kubernetes.placements import Hand, Phase, PlacementRecord, Seat, Why
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Gang, Group, Role

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMES = Settings(grace_s=120, last_chance_s=10, refused_s=20, unheard_s=90, gather_s=3, back_off_s=5, look_s=1)
NO_ROOM = (Why("capacity", "no room"),)


def ago(seconds: float) -> datetime:
    """A moment before now."""
    return NOW - timedelta(seconds=seconds)


def held(name: str, **fields: Any) -> Member:
    """A gated pod."""
    return Member(f"ns/{name}", f"uid-{name}", "w", gated=True, created=ago(60), **fields)


def freed(name: str, node: str, **fields: Any) -> Member:
    """A pod that was let go to a node."""
    return Member(f"ns/{name}", f"uid-{name}", "w", pin=node, created=ago(60), **fields)


def bound(name: str, node: str, **fields: Any) -> Member:
    """A pod on a node."""
    return Member(f"ns/{name}", f"uid-{name}", "w", node=node, pin=node, created=ago(60), **fields)


def seats(**nodes: str) -> tuple[Seat, ...]:
    """Seats of pods."""
    return tuple(Seat(f"ns/{name}", f"uid-{name}", "w", node) for name, node in nodes.items())


def record(phase: Phase, **fields: Any) -> PlacementRecord:
    """A Placement of the gang."""
    return PlacementRecord("ns", "g", "ns/g", "uid-g", "7", phase=phase, since=ago(5), attempt=1, **fields)


def live(members: tuple[Member, ...], least: int, missing: Mapping[str, int] | None = None) -> LiveGang:
    """The gang of those members that are placeable, of which it needs so many."""
    there = [member for member in members if member.is_placeable]
    if not there:
        return LiveGang(None, missing or {}, is_own=True, is_declared=True)
    running = tuple(BoundMember(member.pod, member.node) for member in there if member.node)
    role = Role("w", len(there), least, pods=tuple(member.pod for member in there))
    return LiveGang(Gang("ns/g", Group("ns/g", (role,)), running=running), missing or {}, is_own=True, is_declared=True)


def seen(*members: Member, least: int | None = None, missing: int = 0, **fields: Any) -> Observed:
    """A gang of these members, which needs all of them and the missing ones unless `least` says otherwise."""
    need = len(members) + missing if least is None else least
    gang = live(members, need, {"w": missing} if missing else None)
    return Observed("ns/g", NOW, **{"live": gang, "members": members, **fields})


def tried(what: Observed, *fixed: tuple[str, str], avoid: tuple[str, ...] = ()) -> Observed:
    """The same after a plan with these fixed pods was tried in vain."""
    assert what.live.gang is not None
    return replace(
        what, tried=Tried(what.live.gang, Fixed(fixed), avoid, what.room, NOW + timedelta(seconds=60), NO_ROOM)
    )


def codes(step: Step) -> tuple[str, ...]:
    """Why it waits."""
    assert isinstance(step, Wait)
    return tuple(why.code for why in step.reasons)


def test_a_gang_that_is_gone_is_forgotten() -> None:
    """Nothing declares it and no pod of it is left."""
    gone = Observed("ns/g", NOW)
    assert decide(gone, TIMES) == Nothing()
    assert decide(replace(gone, record=record(Phase.BOUND)), TIMES) == Forget()
    leaving = bound("a", "n1", leaving=True)
    assert decide(replace(gone, record=record(Phase.BOUND), members=(leaving,)), TIMES) == Forget()


@pytest.mark.parametrize("member", [bound("a", "n1"), Member("ns/a", "uid-a", "w")])
def test_a_gang_of_others_is_left_alone(member: Member) -> None:
    """Nobody asks Huddle: no gate, no scheduler name, no Gang, no Placement."""
    what = seen(member)
    assert decide(replace(what, live=replace(what.live, is_own=False)), TIMES) == Nothing()


def test_pods_are_waited_for() -> None:
    """Fewer than the gang needs: the numbers are told. Enough: it waits a little for the others."""
    short = decide(seen(held("a"), missing=2), TIMES)
    assert isinstance(short, Wait)
    assert (short.phase, codes(short), short.reasons[0].numbers) == (
        Phase.PENDING, ("pods_missing",), {"missing": 2, "there": 1},
    )  # fmt: skip
    young = replace(held("a"), created=ago(1))
    enough = decide(seen(young, missing=2, least=1), TIMES)
    assert isinstance(enough, Wait)
    assert enough.until == ago(1) + timedelta(seconds=3)
    assert decide(seen(held("a"), missing=2, least=1), TIMES) == Plan(Fixed())


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (held("b", other_gates=("kueue.x-k8s.io/admission",)), "other_gates"),
        (Member("ns/b", "uid-b", "w"), "not_held"),
    ],
)
def test_nothing_is_let_go_while_a_member_cannot_be_placed(member: Member, code: str) -> None:
    """Somebody else's gate holds it, or nothing does."""
    step = decide(seen(held("a"), member), TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, codes(step)) == (Phase.PENDING, (code,))


def test_a_gang_that_cannot_be_read_waits() -> None:
    """Its problem is the reason; a gang that nothing describes says so."""
    what = seen(held("a"))
    assert codes(decide(replace(what, live=LiveGang(problem="min is 7")), TIMES)) == ("invalid",)
    assert codes(decide(replace(what, live=LiveGang()), TIMES)) == ("gang_missing",)


def test_a_whole_gang_is_planned() -> None:
    """All members exist, none has a seat."""
    assert decide(seen(held("a"), held("b")), TIMES) == Plan(Fixed())


def test_what_was_tried_is_not_tried_again_before_something_changes() -> None:
    """Room, time, or the gang itself."""
    what = tried(seen(held("a"), held("b")))
    step = decide(what, TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, step.reasons) == (Phase.PENDING, NO_ROOM)
    assert decide(replace(what, room=1), TIMES) == Plan(Fixed())
    assert decide(replace(what, now=NOW + timedelta(seconds=61)), TIMES) == Plan(Fixed())
    grown = seen(held("a"), held("b"), held("c"))
    assert decide(replace(grown, tried=what.tried), TIMES) == Plan(Fixed())


def test_a_reserved_plan_is_released() -> None:
    """Pods are let go to their seats; a successor without a seat is planned with the others first."""
    reserved = record(Phase.RESERVED, seats=seats(a="n1", b="n2"))
    assert decide(seen(held("a"), held("b"), record=reserved), TIMES) == Release(seats(a="n1", b="n2"))
    new = replace(held("b"), uid="uid-b-2")
    assert decide(seen(held("a"), new, record=reserved), TIMES) == Plan(Fixed())


def test_a_seat_that_is_taken_is_planned_again() -> None:
    """Before anything is let go, all of the gang may move."""
    reserved = record(Phase.RESERVED, seats=seats(a="n1", b="n2"))
    what = seen(held("a"), held("b"), record=reserved, unfit=frozenset({"uid-b"}))
    assert decide(what, TIMES) == Plan(Fixed())
    step = decide(tried(what), TIMES)
    assert isinstance(step, Wait)
    assert step.phase is Phase.PENDING


def test_releasing_goes_on_where_it_stopped() -> None:
    """Those that are held still are let go, whatever was done before; then all are waited for."""
    releasing = record(Phase.RELEASING, seats=seats(a="n1", b="n2"), released=ago(1), partial_since=ago(1))
    half = seen(freed("a", "n1"), held("b"), record=releasing)
    assert decide(half, TIMES) == Release(seats(b="n2"))
    all_free = seen(freed("a", "n1"), bound("b", "n2"), record=releasing)
    assert decide(all_free, TIMES) == Nothing(NOW + timedelta(seconds=1))


def test_a_gang_that_is_bound_is_confirmed() -> None:
    """Once, with seats where the pods are."""
    where = seats(a="n1", b="n2")
    releasing = record(Phase.RELEASING, seats=where, released=ago(1), partial_since=ago(1))
    what = seen(bound("a", "n1"), bound("b", "n2"), record=releasing)
    assert decide(what, TIMES) == Confirm(where)
    assert decide(replace(what, record=record(Phase.BOUND, seats=where)), TIMES) == Nothing()
    elsewhere = seen(bound("a", "n1"), bound("b", "n3"), record=releasing)
    assert decide(elsewhere, TIMES) == Confirm(seats(a="n1", b="n3"))


def test_a_placement_that_was_lost_is_made_again() -> None:
    """Of bound pods, of pods let go, and of both."""
    assert decide(seen(bound("a", "n1")), TIMES) == Confirm(seats(a="n1"))
    assert decide(seen(bound("a", "n1"), freed("b", "n2")), TIMES) == Release(())
    assert decide(seen(bound("a", "n1"), held("b")), TIMES) == Plan(Fixed((("ns/a", "n1"),)))


def test_bound_pods_that_all_end_leave_nothing_to_do() -> None:
    """New ones may come."""
    settled = record(Phase.BOUND, seats=seats(a="n1", b="n2"))
    assert decide(Observed("ns/g", NOW, live((), 2, {"w": 2}), (), settled), TIMES) == Nothing()


def test_a_gang_whose_pods_go_and_do_not_come_back_is_given_back_after_the_grace() -> None:
    """From the moment on that too few run; also when a successor came and another did not."""
    settled = record(Phase.BOUND, seats=seats(a="n1", b="n2"))
    what = seen(bound("a", "n1"), missing=1, record=settled)
    step = decide(what, TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, codes(step)) == (Phase.REPAIRING, ("pods_missing",))
    broken = record(Phase.REPAIRING, seats=seats(a="n1", b="n2"), partial_since=ago(119))
    step = decide(replace(what, record=broken), TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, step.until) == (Phase.REPAIRING, NOW + timedelta(seconds=1))
    over = replace(broken, partial_since=ago(120))
    for members in ((bound("a", "n1"),), (bound("a", "n1"), held("b2"))):
        step = decide(seen(*members, missing=1, record=over), TIMES)
        assert isinstance(step, GiveUp)
        assert [why.code for why in step.reasons] == ["pods_missing"]
    assert decide(seen(bound("a", "n1"), missing=1, least=1, record=settled), TIMES) == Confirm(seats(a="n1"))


def test_a_gang_that_nobody_makes_successors_for_says_so() -> None:
    """It is not given back: nothing would come again."""
    over = record(Phase.REPAIRING, seats=seats(a="n1", b="n2"), partial_since=ago(500))
    step = decide(seen(bound("a", "n1", controlled=False), missing=1, record=over), TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, codes(step)) == (Phase.REPAIRING, ("pods_missing", "needs_owner"))


def test_a_successor_is_planned_next_to_what_runs() -> None:
    """Only it is placed; while there is no room the gang is being repaired."""
    settled = record(Phase.BOUND, seats=seats(a="n1", b="n2"))
    what = seen(bound("a", "n1"), held("b2"), record=settled)
    step = decide(what, TIMES)
    assert codes(step) == ("unplaced",)
    assert isinstance(step, Wait)
    assert (step.phase, step.until) == (Phase.REPAIRING, NOW)
    what = replace(what, record=record(Phase.REPAIRING, seats=seats(a="n1", b="n2"), partial_since=NOW))
    assert decide(what, TIMES) == Plan(Fixed((("ns/a", "n1"),)))
    step = decide(tried(what, ("ns/a", "n1")), TIMES)
    assert isinstance(step, Wait)
    assert step.phase is Phase.REPAIRING


def test_scaling_up_without_room_leaves_the_gang_bound() -> None:
    """It has all that it needs; the reasons say why it has no more."""
    settled = record(Phase.BOUND, seats=seats(a="n1"))
    what = seen(bound("a", "n1"), held("b"), least=1, record=settled)
    step = decide(tried(what, ("ns/a", "n1")), TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, step.reasons) == (Phase.BOUND, NO_ROOM)


def test_members_that_a_plan_left_out_are_tried_when_the_others_are_bound() -> None:
    """Not before, and not again without a change."""
    reserved = record(Phase.RESERVED, seats=seats(a="n1"), left_out=("uid-b",))
    assert decide(seen(held("a"), held("b"), least=1, record=reserved), TIMES) == Release(seats(a="n1"))
    there = seen(bound("a", "n1"), held("b"), least=1, record=replace(reserved, phase=Phase.RELEASING))
    assert decide(there, TIMES) == Confirm(seats(a="n1"))
    settled = replace(there, record=replace(reserved, phase=Phase.BOUND))
    assert decide(settled, TIMES) == Plan(Fixed((("ns/a", "n1"),)))
    step = decide(tried(settled, ("ns/a", "n1")), TIMES)
    assert isinstance(step, Wait)
    assert step.phase is Phase.BOUND


def test_members_on_lost_nodes_are_replaced() -> None:
    """Several at once, if somebody makes their successors."""
    settled = record(Phase.BOUND, seats=seats(a="n1", b="n2", c="n3"))
    gone = (bound("b", "n2", lost=True, stranded=True), bound("c", "n3", lost=True))
    assert decide(seen(bound("a", "n1"), *gone, record=settled), TIMES) == Replace(gone)
    bare = bound("b", "n2", lost=True, stranded=True, controlled=False)
    step = decide(seen(bound("a", "n1"), bare, record=settled), TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, codes(step)) == (Phase.REPAIRING, ("node_lost", "needs_owner"))


def test_a_pod_that_cannot_be_bound_gets_another_place() -> None:
    """After a while that depends on whether its scheduler refused it; the node is kept away from."""
    where = seats(a="n1", b="n2")
    fresh = record(Phase.RELEASING, seats=where, released=ago(30), partial_since=ago(30))
    silent = seen(bound("a", "n1"), freed("b", "n2"), record=fresh)
    assert decide(silent, TIMES) == Nothing(NOW + timedelta(seconds=1))
    refused = seen(bound("a", "n1"), freed("b", "n2", refused="no room"), record=fresh)
    assert decide(refused, TIMES) == Plan(Fixed((("ns/a", "n1"),)), ("n2",))
    late = replace(fresh, released=ago(91))
    assert decide(replace(silent, record=late), TIMES) == Plan(Fixed((("ns/a", "n1"),)), ("n2",))


def test_a_pod_let_go_to_a_node_that_is_not_its_seat_is_replaced() -> None:
    """By its owner; without one the Placement says so."""
    moved = record(Phase.RESERVED, seats=seats(a="n1", b="n3"), released=ago(5), partial_since=ago(5))
    out = freed("b", "n2")
    assert decide(seen(bound("a", "n1"), out, record=moved), TIMES) == Replace((out,))
    step = decide(seen(bound("a", "n1"), replace(out, controlled=False), record=moved), TIMES)
    assert codes(step) == ("needs_owner",)


def test_a_pod_whose_node_is_full_is_planned_with_the_others_fixed() -> None:
    """Bound ones and those on a good way stay."""
    going = record(Phase.RELEASING, seats=seats(a="n1", b="n2", c="n3"), released=ago(1), partial_since=ago(1))
    what = seen(
        bound("a", "n1"), freed("b", "n2"), freed("c", "n3"), record=going, unfit=frozenset({"uid-c"})
    )  # fmt: skip
    assert decide(what, TIMES) == Plan(Fixed((("ns/a", "n1"), ("ns/b", "n2"))))


def test_part_of_a_gang_is_given_back_after_the_grace() -> None:
    """Not before, and not while the last pods let go have a chance."""
    stuck = record(Phase.REPAIRING, seats=seats(a="n1"), partial_since=ago(119), reasons=NO_ROOM)
    fixed = ("ns/a", "n1")
    what = tried(seen(bound("a", "n1"), held("b"), record=stuck), fixed)
    step = decide(what, TIMES)
    assert isinstance(step, Wait)
    assert step.until == NOW + timedelta(seconds=1)
    over = replace(what, record=replace(stuck, partial_since=ago(120)))
    assert decide(over, TIMES) == GiveUp(NO_ROOM)
    first_look = replace(over, tried=None)
    assert decide(first_look, TIMES) == Plan(Fixed((fixed,)))
    too_late = replace(first_look, record=replace(stuck, partial_since=ago(130)))
    assert decide(too_late, TIMES) == GiveUp(NO_ROOM)
    had_its_try = replace(first_look, record=replace(stuck, partial_since=ago(125), released=ago(4)))
    assert decide(had_its_try, TIMES) == GiveUp(NO_ROOM)
    before_the_end = replace(first_look, record=replace(stuck, partial_since=ago(125), released=ago(6)))
    assert decide(before_the_end, TIMES) == Plan(Fixed((fixed,)))
    going = record(Phase.RELEASING, seats=seats(a="n1", b="n2"), partial_since=ago(300), released=ago(9))
    assert isinstance(decide(seen(bound("a", "n1"), freed("b", "n2"), record=going), TIMES), Nothing)
    tired = replace(going, released=ago(10))
    assert isinstance(decide(seen(bound("a", "n1"), freed("b", "n2"), record=tired), TIMES), GiveUp)


@pytest.mark.parametrize(
    "members",
    [
        (bound("a", "n1", controlled=False), held("b")),
        (bound("a", "n1"), held("b"), Member("ns/c", "uid-c", "w")),
    ],
    ids=["nobody makes successors", "a stray is in the way"],
)
def test_what_would_not_come_back_is_not_given_back(members: tuple[Member, ...]) -> None:
    """It waits instead."""
    stuck = record(Phase.REPAIRING, seats=seats(a="n1"), partial_since=ago(500), reasons=NO_ROOM)
    what = tried(seen(*members, record=stuck), ("ns/a", "n1"))
    assert isinstance(decide(what, TIMES), Wait)


def test_giving_back_ends_with_everything_given_back() -> None:
    """Bound, lost and freed pods go; bare ones stay; then the gang is pending for longer each time."""
    out = record(Phase.EVICTING, seats=seats(a="n1", b="n2"), partial_since=ago(200), failures=2)
    a, b, c = bound("a", "n1"), freed("b", "n2"), bound("c", "n3", controlled=False)
    assert decide(seen(a, b, c, held("d"), record=out), TIMES) == Replace((a, b))
    assert decide(seen(held("a2"), held("b2"), c, record=out), TIMES) == Withdraw(3, NOW + timedelta(seconds=20))


def test_after_an_eviction_others_go_first() -> None:
    """Until the time has come."""
    waits = record(Phase.PENDING, failures=1, not_before=NOW + timedelta(seconds=5))
    what = seen(held("a"), held("b"), record=waits)
    step = decide(what, TIMES)
    assert isinstance(step, Wait)
    assert (step.phase, codes(step), step.until) == (Phase.PENDING, ("backing_off",), waits.not_before)
    assert decide(replace(what, now=NOW + timedelta(seconds=5)), TIMES) == Plan(Fixed())


def test_a_gang_for_which_no_node_is_left_to_try_starts_anew() -> None:
    """What was learnt about nodes is forgotten after a pause."""
    left = record(Phase.RESERVED, seats=seats(a="n1"), avoid=("n2",))
    what = tried(seen(replace(held("a"), uid="new"), record=left), avoid=("n2",))
    assert decide(what, TIMES) == Withdraw(1, NOW + timedelta(seconds=5))


def test_a_node_that_may_be_lost_is_looked_at_in_time() -> None:
    """Even if nothing else is to be done."""
    settled = record(Phase.BOUND, seats=seats(a="n1"))
    soon = NOW + timedelta(seconds=40)
    assert decide(seen(bound("a", "n1"), record=settled, next_loss=soon), TIMES) == Nothing(soon)


def test_pods_that_huddle_binds_are_never_freed() -> None:
    """They are held until they are bound, whatever their gates; too late, they get another node."""
    a = replace(held("a"), gated=False, hand=Hand.BIND)
    going = record(Phase.RELEASING, seats=seats(a="n1"), released=ago(5), partial_since=ago(5))
    assert decide(seen(a, record=going), TIMES) == Release(seats(a="n1"))
    late = replace(going, released=ago(91))
    assert decide(seen(a, record=late), TIMES) == Plan(Fixed(), ("n1",))


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 10), (5, 80), (7, 300), (5000, 300)])
def test_the_pause_after_evictions_doubles(failures: int, seconds: float) -> None:
    """Up to the longest."""
    assert Settings().back_off(failures) == timedelta(seconds=seconds)


def test_times_are_not_negative() -> None:
    """One line says which is."""
    with pytest.raises(InvalidRequest, match="grace_s: -1"):
        Settings(grace_s=-1)


def test_a_plan_that_took_too_much_is_not_tried_again_before_its_time() -> None:
    """Whatever changes: the gang, the room there is, or where its pods are. Then it is."""
    before = tried(seen(held("a"), held("b")))
    assert before.tried is not None
    assert before.live.gang is not None
    changed = replace(
        before, room=before.room + 1, live=replace(before.live, gang=replace(before.live.gang, priority=7))
    )
    assert isinstance(decide(changed, TIMES), Plan)
    costly = replace(changed, tried=replace(before.tried, is_costly=True))
    step = decide(costly, TIMES)
    assert isinstance(step, Wait)
    assert step.until == before.tried.until
    assert isinstance(decide(replace(costly, now=before.tried.until), TIMES), Plan)
