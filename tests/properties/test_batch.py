"""Joint batches against the brute force: equal to the joint optimum, never worse than one after another."""

import random
from dataclasses import replace

import pytest

from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.plan import Plan, Status
from solver.planner import Engine, Options, plan
from support.batches import joint_optimum, random_batch, worth_of
from support.builders import cluster, gang, node, queue, role

BATCHES = 200
LIMIT = Options(time_limit_s=60)


def placements(found: Plan) -> list[dict[str, str] | None]:
    """Pod → node of each gang, None where it is not admitted."""
    return [
        {item.pod: item.node for item in answer.assignments} if answer.status.placed else None for answer in found.gangs
    ]


@pytest.mark.parametrize("part", range(4))
def test_batches_reach_the_joint_optimum(part: int) -> None:
    """Fifty random batches a part: the joint optimum, proven; better than sequential on many, worse on none."""
    better = 0
    for seed in range(part * BATCHES // 4, (part + 1) * BATCHES // 4):
        site, gangs = random_batch(random.Random(seed))
        found = plan_batch(site, gangs, LIMIT)
        worth = worth_of(site, gangs, placements(found))
        one_by_one = worth_of(site, gangs, placements(plan(site, gangs, LIMIT)))
        assert (seed, worth) == (seed, joint_optimum(site, gangs))
        assert worth >= one_by_one
        assert all(answer.status is not Status.FEASIBLE for answer in found.gangs)
        better += worth > one_by_one
    assert better >= 8, better


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
