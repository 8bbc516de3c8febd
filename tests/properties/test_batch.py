"""Joint batches against the brute force: equal to the joint optimum, never worse than one after another."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from solver.batch.exact import Exact
from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Plan, ReasonCode, Sense, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from support.batches import Worth, joint_optimum, random_batch, worth_of
from support.builders import cluster, flow, gang, node, queue, role

BATCHES = 200
LIMIT = Options(time_limit_s=60)


def placements(found: Plan) -> list[dict[str, str] | None]:
    """Pod → node of each gang, None where it is not admitted."""
    return [
        {item.pod: item.node for item in answer.assignments} if answer.status.placed else None for answer in found.gangs
    ]


@pytest.mark.parametrize("by", ["tables", "counts"])
@pytest.mark.parametrize("part", range(4))
def test_batches_reach_the_joint_optimum(part: int, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty random batches a part: the joint optimum, proven; better than sequential on many, worse on none."""
    if by == "counts":
        monkeypatch.setattr("solver.batch.improve.place_exactly", nothing_exactly)
    better = 0
    for seed in range(part * BATCHES // 4, (part + 1) * BATCHES // 4):
        site, gangs = random_batch(random.Random(seed))
        found = plan_batch(site, gangs, LIMIT)
        worth = worth_of(site, gangs, placements(found))
        one_by_one = worth_of(site, gangs, placements(plan(site, gangs, LIMIT)))
        best = joint_optimum(site, gangs)
        assert (seed, worth) == (seed, best)
        assert worth >= one_by_one
        assert all(answer.status is not Status.FEASIBLE for answer in found.gangs)
        assert stated(found) == (*best[0], *shown(best))
        assert all(each.value == each.bound for each in found.batch.admitted)
        assert all(term.value == term.bound for term in found.batch.objective)
        better += worth > one_by_one
    assert better >= 8, better


def shown(worth: Worth) -> tuple[Fraction, ...]:
    """The terms of a worth as an answer states them; none where no gang is admitted."""
    above, _, *others = worth[1]
    return (above, *(-value for value in others)) if any(worth[0]) else ()


def stated(found: Plan) -> tuple[Fraction | int, ...]:
    """What an answer says that the batch is worth."""
    assert found.batch is not None
    return (*(each.value for each in found.batch.admitted), *(term.value for term in found.batch.objective))


def nothing_together(*_: object) -> None:
    """In place of CP-SAT: nothing is found in time."""


def nothing_exactly(*_: object) -> Exact:
    """In place of the search by exact tables: nothing is found in time."""
    return Exact(None, None, False)


@pytest.mark.parametrize("elastic", [False, True], ids=["rigid", "elastic"])
def test_bounds_hold_where_the_optimum_is_not_known(elastic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CP-SAT no bound is better than the joint optimum allows, gang by gang and for the batch as a whole."""
    monkeypatch.setattr("solver.batch.improve.place_together", nothing_together)
    monkeypatch.setattr("solver.batch.improve.place_exactly", nothing_exactly)
    missed = closed = 0
    for seed in range(60 if elastic else BATCHES):
        site, gangs = random_batch(random.Random(seed), elastic)
        found = plan_batch(site, gangs, LIMIT)
        worth, best = worth_of(site, gangs, placements(found)), joint_optimum(site, gangs)
        assert worth_of(site, gangs, placements(plan(site, gangs, LIMIT))) <= worth <= best
        assert stated(found) == (*worth[0], *shown(worth))
        assert found.batch is not None
        for each, most in zip(found.batch.admitted, best[0], strict=True):
            assert (seed, each.value <= each.bound, most <= each.bound) == (seed, True, True)
        for term, value in zip(found.batch.objective, shown(best), strict=False):
            if term.bound is not None:
                assert best[0] == worth[0]
                assert value <= term.bound if term.sense is Sense.MAX else value >= term.bound, seed
                closed += term.bound == term.value
        missed += worth < best
        assert found.batch.objective == () or found.batch.objective[-1].bound is None  # depends on all gangs
    assert missed >= 5, missed
    assert closed >= 50, closed


def test_older_gangs_are_a_class_of_their_own() -> None:
    """With ages drawn at random the answer is the joint optimum of batches in which age is part of the priority."""
    border = datetime(2026, 1, 1, tzinfo=UTC)
    ages = [None, border, border - timedelta(seconds=1), border + timedelta(hours=1), border - timedelta(days=9)]
    changed = 0
    for seed in range(60):
        rng = random.Random(seed)
        site, gangs = random_batch(rng)
        gangs = [replace(each, created=rng.choice(ages)) for each in gangs]
        older = [each.created is not None and each.created < border for each in gangs]
        parted = [replace(each, priority=2 * each.priority + old) for each, old in zip(gangs, older, strict=True)]
        found = plan_batch(site, gangs, LIMIT, fair_before=border)
        assert found.batch is not None
        assert [(2 * each.priority + each.waited) for each in found.batch.admitted] == sorted(
            {each.priority for each in parted}, reverse=True
        )
        best = joint_optimum(site, parted)
        assert (seed, worth_of(site, parted, placements(found))) == (seed, best)
        changed += best[0] != worth_of(site, parted, placements(plan_batch(site, gangs, LIMIT)))[0]
    assert changed >= 3, changed


def test_the_order_of_the_input_changes_nothing() -> None:
    """Shuffled batches, of which some cannot be placed whole, get the same answer gang by gang, in their own order."""
    for seed in range(30):
        rng = random.Random(seed)
        site, gangs = random_batch(rng)
        shuffled = rng.sample(gangs, len(gangs))
        first, second = plan_batch(site, gangs, LIMIT), plan_batch(site, shuffled, LIMIT)
        assert [answer.name for answer in second.gangs] == [each.name for each in shuffled]
        assert first.batch == second.batch
        found = [{each.name: (each.status, each.assignments) for each in answer.gangs} for answer in (first, second)]
        assert found[0] == found[1]


def test_exactly_as_old_is_not_older() -> None:
    """A gang created at the very moment belongs to the others; a second earlier it comes first."""
    border = datetime(2026, 1, 1, tzinfo=UTC)
    site = cluster(node("a", 2))
    dear, cheap = (gang(role("p"), role("d"), name=f"ns/{gb}", flows=[flow("p", "d", gb=gb)]) for gb in (2, 1))
    for created, winner in ((border, cheap), (border - timedelta(seconds=1), dear), (None, cheap)):
        found = plan_batch(site, [replace(dear, created=created), cheap], LIMIT, fair_before=border)
        assert [answer.name for answer in found.gangs if answer.status.placed] == [winner.name]


def test_a_waiting_gang_makes_others_move() -> None:
    """On a large cluster: the small gang leaves the only rack that the waiting one fits into, at a higher cost."""
    nodes = [node(f"n{at:03}", 0, rack=f"r{at // 2:03}") for at in range(100)]
    racks = [node("x0", 4, rack="x"), node("x1", 4, rack="x"), node("y", 3, rack="y"), node("z", 3, rack="z")]
    site = cluster(*nodes, *racks)
    small = gang(role("p", 2, 2), role("d", 2, 1), name="ns/first", flows=[flow("p", "d")])
    large = gang(role("w", 2, 4), name="ns/second", required="rack")
    assert [answer.status.placed for answer in plan(site, [small, large], LIMIT).gangs] == [True, False]
    found = plan_batch(site, [small, large], LIMIT)
    assert [answer.status.placed for answer in found.gangs] == [True, True]
    assert found.batch is not None
    assert [(each.value, each.bound) for each in found.batch.admitted] == [(2, 2)]


def test_large_clusters_are_improved_on_the_domains_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the whole cluster is too large, a few gangs at a time move among the racks they use or would use."""
    monkeypatch.setattr("solver.batch.improve.WHOLE_NODES", 0)
    better = 0
    for seed in range(25):
        site, gangs = random_batch(random.Random(seed))
        found = plan_batch(site, gangs, LIMIT)
        worth = worth_of(site, gangs, placements(found))
        one_by_one = worth_of(site, gangs, placements(plan(site, gangs, LIMIT)))
        assert worth >= one_by_one
        better += worth > one_by_one
        for answer in found.gangs:
            for term in answer.objective[1:]:
                assert term.bound is None or term.bound <= term.value
    assert better >= 3, better


def test_a_batch_of_one_claims_no_more_than_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without proof the only gang stays feasible, with the bounds that plan() gives it."""

    def unproven(*_: object, **__: object) -> Plan:
        (answer,) = plan(site, [lone]).gangs
        return Plan((replace(answer, status=Status.FEASIBLE),))

    site, lone = cluster(node("a", 4)), gang(role("w", 2), name="ns/lone")
    monkeypatch.setattr("solver.batch.plan.plan", unproven)
    assert plan_batch(site, [lone]).status is Status.FEASIBLE


def test_a_batch_without_cpsat_is_refused() -> None:
    """Engine tree leaves out what places gangs jointly."""
    with pytest.raises(InvalidRequest, match="jointly by CP-SAT"):
        plan_batch(cluster(node("a", 4)), [], Options(Engine.TREE))


def test_an_empty_batch_is_an_empty_plan() -> None:
    """Nothing to place is no error."""
    assert plan_batch(cluster(node("a", 4)), []).gangs == ()


def test_tightest_fit_first_is_not_enough() -> None:
    """Racks of 5 and 3 free GPUs, gangs of 2, 3 and 3, each in one rack: all three fit together."""
    site = cluster(node("a", 5, rack="a"), node("b", 3, rack="b"))
    gangs = [gang(role("w", size), name=f"ns/g{at}", required="rack") for at, size in enumerate((2, 3, 3))]
    found = plan_batch(site, gangs, LIMIT)
    assert [answer.status for answer in found.gangs] == [Status.OPTIMAL] * 3
    assert plan(site, gangs, LIMIT).status is Status.INFEASIBLE


def test_a_higher_class_comes_strictly_first() -> None:
    """One gang of a higher class wins against two of a lower one."""
    site = cluster(node("a", 4))
    low = [gang(role("w", 2), name=f"ns/low{at}") for at in range(2)]
    high = replace(gang(role("w", 3), name="ns/high"), priority=10)
    found = plan_batch(site, [*low, high], LIMIT)
    assert [answer.status.placed for answer in found.gangs] == [False, False, True]


def test_gangs_of_one_queue_share_its_limit() -> None:
    """Three gangs of two GPUs, a limit of four: two are admitted."""
    site = cluster(node("a", 8), queues=[queue("q", gpu=4000)])
    gangs = [gang(role("w", 2), name=f"ns/g{at}", queue="q") for at in range(3)]
    found = plan_batch(site, gangs, LIMIT)
    assert sum(answer.status.placed for answer in found.gangs) == 2


def crowded(rng: random.Random) -> tuple[Snapshot, list[Gang]]:
    """A random batch with one gang more than it had, so that admission is what matters."""
    site, gangs = random_batch(rng)
    asked = role("w", rng.choice([2, 3]), rng.choice([1, 2]))
    more = gang(asked, name="ns/more", required=rng.choice(["rack", "host"]))
    return site, [*gangs, replace(more, priority=rng.choice([0, 5]))]


def test_admission_of_small_batches_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gangs are not placed all at once, CP-SAT counts them: bounds are those of the oracle where all are met.

    No gang is unknown then: those without a place name the gangs that hold the room, or why they fit nowhere.
    """
    monkeypatch.setattr("solver.batch.improve.place_together", nothing_together)
    monkeypatch.setattr("solver.batch.improve.place_exactly", nothing_exactly)
    exact = refused = 0
    for seed in range(30):
        site, gangs = crowded(random.Random(seed))
        found = plan_batch(site, gangs, LIMIT)
        best = joint_optimum(site, gangs)
        assert found.batch is not None
        for each, most in zip(found.batch.admitted, best[0], strict=True):
            assert (seed, each.bound >= most) == (seed, True)
            if each.value < each.bound:
                assert each.bound == most, seed  # CP-SAT has counted them
                break
        if all(each.value == each.bound for each in found.batch.admitted):
            exact += 1
            statuses = {answer.status for answer in found.gangs}
            assert Status.UNKNOWN not in statuses
            placed = {answer.name for answer in found.gangs if answer.status.placed}
            for answer in found.gangs:
                if answer.status is Status.INFEASIBLE:
                    assert answer.reasons
                    reasons = [reason for reason in answer.reasons if reason.code is ReasonCode.TAKEN]
                    takers = {name for reason in reasons for name in reason.objects}
                    assert takers <= placed
                    refused += bool(takers)
    assert exact >= 15, exact
    assert refused >= 6, refused


def test_eight_gangs_are_placed_all_at_once_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many for the first try: the joint optimum is proven with bounds from each gang alone."""
    monkeypatch.setattr("solver.batch.improve.ALL_AT_ONCE_GANGS", 0)
    monkeypatch.setattr("solver.batch.improve.place_exactly", nothing_exactly)
    for seed in range(20):
        site, gangs = random_batch(random.Random(seed), elastic=seed % 4 == 0)
        found = plan_batch(site, gangs, LIMIT)
        assert (seed, worth_of(site, gangs, placements(found))) == (seed, joint_optimum(site, gangs))
        assert found.batch is not None
        assert all(each.value == each.bound for each in found.batch.admitted)
        assert all(term.value == term.bound for term in found.batch.objective)


def test_sums_beyond_64_bits_are_not_minimised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the gangs' transfer times have no common unit that fits, the plan stands without a joint search."""
    monkeypatch.setattr("solver.search.joint.MOST_SUM", 1)
    site = cluster(node("a", 4, rack="a"), node("b", 4, rack="b"))
    gangs = [gang(role("p", 2), role("d"), name=f"ns/g{at}", flows=[flow("p", "d")]) for at in range(2)]
    found = plan_batch(site, gangs, Options(Engine.CPSAT, 20))
    assert [answer.status for answer in found.gangs] == [Status.FEASIBLE] * 2


def test_a_gang_that_ran_out_of_time_is_taken_once_admission_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequential plan knows nothing of the last gang; counting says that no more fit than are placed."""
    real = plan

    def hurried(*arguments: Any, **options: Any) -> Plan:
        found = real(*arguments, **options)
        late = replace(found.gangs[-1], status=Status.UNKNOWN, reasons=())
        return replace(found, gangs=(*found.gangs[:-1], late))

    monkeypatch.setattr("solver.batch.plan.plan", hurried)
    monkeypatch.setattr("solver.batch.improve.place_together", nothing_together)
    site = cluster(node("a", 4))
    gangs = [gang(role("w", size), name=f"ns/g{size}") for size in (1, 3, 4)]
    *placed, late = plan_batch(site, gangs, LIMIT).gangs
    assert [answer.status.placed for answer in placed] == [True, True]
    assert late.status is Status.INFEASIBLE
    assert [(reason.code, reason.objects) for reason in late.reasons] == [(ReasonCode.TAKEN, ("ns/g1", "ns/g3"))]
