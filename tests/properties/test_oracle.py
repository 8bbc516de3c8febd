"""All engines against the brute force, on random small instances with an asserted mix."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from solver.domain.plan import Status
from solver.planner import Engine, Options, plan
from support import oracle
from support.strategies import classify, random_instance

ENGINES = tuple(Engine)
#: Share of the instances of a campaign that must carry a tag.
MIX = {
    "transfer": 0.35, "tight": 0.15, "nested": 0.20, "elastic": 0.20, "two_resources": 0.20, "collective": 0.10,
    "optional": 0.08, "empty": 0.01, "kept_without_pods": 0.05,
}  # fmt: skip


def check(seed: int) -> set[str]:
    """Every engine gives the brute force's status and values, with proof; returns the instance's tags."""
    snapshot, gang = random_instance(random.Random(seed))
    truth = oracle.solve(snapshot, gang)
    for engine in ENGINES:
        (answer,) = plan(snapshot, [gang], Options(engine, time_limit_s=120)).gangs
        if truth is None:
            assert (seed, engine, answer.status) == (seed, engine, Status.INFEASIBLE)
            assert answer.reasons
            assert not answer.assignments
        else:
            assert (seed, engine, answer.status) == (seed, engine, Status.OPTIMAL)
            assert (seed, engine, tuple(term.value for term in answer.objective)) == (seed, engine, truth.values)
            assert all(term.bound == term.value for term in answer.objective)
            placed = {item.pod: item.node for item in answer.assignments}
            assert oracle.allowed(snapshot, gang, placed) == []
    return classify(snapshot, gang, truth)


def campaign(seeds: Iterable[int]) -> None:
    """Check an instance of each seed, and the mix of what they exercise."""
    tags = {seed: check(seed) for seed in seeds}
    counts = Counter(tag for found in tags.values() for tag in found)
    shares = {tag: counts[tag] / len(tags) for tag in MIX}
    assert all(shares[tag] >= MIX[tag] for tag in MIX), shares


@pytest.mark.parametrize("part", range(4))
def test_bound_cpsat_and_brute_force_agree(part: int) -> None:
    """Tree = CP-SAT without bound or hint = brute force, on 250 instances in each of four parts, always the same."""
    campaign(range(250 * part, 250 * (part + 1)))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_bound_cpsat_and_brute_force_agree_at_length(part: int) -> None:
    """The same on 2,000 instances in each of twenty parts, others each time."""
    del part
    campaign(random.SystemRandom().sample(range(2**32), 2000))
