"""Rule `bandwidth` against the brute force: every engine, exact tables and merged ones, on random small trees."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from solver.domain.plan import Status
from solver.planner import Engine, Options, plan
from solver.search import solve
from support import oracle
from support.strategies import classify, random_instance

#: Instances of one of the four parts, and of the way of large gangs.
EXAMPLES, LARGE = 250, 80


@pytest.mark.parametrize("part", range(4))
def test_engines_and_brute_force_agree(part: int) -> None:
    """Links stated and requests counted in every instance: same status and values, and the rule matters in some."""
    seen: Counter[str] = Counter()
    for seed in range(part * EXAMPLES, (part + 1) * EXAMPLES):
        snapshot, gang = random_instance(random.Random(seed), limited=1.0)
        truth = oracle.solve(snapshot, gang)
        free = oracle.solve(snapshot, replace(gang, requests_per_second=None))
        for engine in Engine:
            (answer,) = plan(snapshot, [gang], Options(engine, time_limit_s=120)).gangs
            if truth is None:
                assert (seed, engine, answer.status) == (seed, engine, Status.INFEASIBLE)
                assert answer.reasons
                continue
            assert (seed, engine, answer.status) == (seed, engine, Status.OPTIMAL)
            assert (seed, engine, tuple(term.value for term in answer.objective)) == (seed, engine, truth.values)
            placed = {item.pod: item.node for item in answer.assignments}
            assert oracle.allowed(snapshot, gang, placed) == []
        seen["served"] += "served" in classify(snapshot, gang, truth)
        seen["forbidden"] += truth is None and free is not None
        seen["changed"] += truth is not None and free is not None and truth.values != free.values
    assert seen["served"] >= EXAMPLES / 2, seen
    assert min(seen["forbidden"], seen["changed"]) >= EXAMPLES / 100, seen


@pytest.mark.parametrize("engine", [Engine.AUTO, Engine.TREE])
def test_merged_tables_keep_the_rule(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gang counts as too large: every answer is the brute force's, whatever links of one level differ in."""
    monkeypatch.setattr(solve, "LARGE_PAIRS", 0)
    for seed in range(5000, 5000 + LARGE):
        snapshot, gang = random_instance(random.Random(seed), limited=1.0)
        truth = oracle.solve(snapshot, gang)
        (answer,) = plan(snapshot, [gang], Options(engine, time_limit_s=60)).gangs
        assert (seed, answer.status) == (seed, Status.INFEASIBLE if truth is None else Status.OPTIMAL)
        if truth is not None:
            assert (seed, tuple(term.value for term in answer.objective)) == (seed, truth.values)
