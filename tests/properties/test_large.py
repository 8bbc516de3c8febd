"""The way of gangs too large for exact tables, forced on random small ones and held against the brute force."""

import random
from collections import Counter

import pytest

from solver.compile import layout
from solver.domain.plan import GangPlan, Proof, Sense, Status
from solver.planner import Engine, Options, plan
from solver.search import large, solve
from solver.search.cpsat import Answer
from support import oracle
from support.builders import cluster, gang, node, role
from support.oracle import OracleAnswer
from support.strategies import random_instance

EXAMPLES = 120


@pytest.fixture(params=[0, 2], ids=["by-size", "unlisted"])
def all_large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[Answer, Proof]]:
    """Every gang counts as too large, once by its pairs alone and once with host states that are not listed either.

    Counts what became of the shapes.
    """
    monkeypatch.setattr(solve, "LARGE_PAIRS", 0)
    if request.param:
        monkeypatch.setattr(layout, "MAX_STATES", request.param)
    taken: Counter[tuple[Answer, Proof]] = Counter()

    def counted(*arguments: object, **options: object) -> large.Large:
        found = solve_large(*arguments, **options)  # type: ignore[arg-type]
        taken[found.answer, found.proof] += 1
        return found

    solve_large = large.solve_large
    monkeypatch.setattr(solve, "solve_large", counted)
    return taken


def check(answer: GangPlan, truth: OracleAnswer | None) -> None:
    """No claim of the answer is against the truth."""
    if truth is None:
        assert answer.status in (Status.INFEASIBLE, Status.UNKNOWN)
        return
    assert answer.status is not Status.INFEASIBLE
    values = tuple(term.value for term in answer.objective)
    if answer.status is Status.OPTIMAL:
        assert values == truth.values
    for term, value in zip(answer.objective, truth.values, strict=False):
        if term.bound is not None:
            assert term.bound >= value if term.sense is Sense.MAX else term.bound <= value
        if term.bound != term.value:
            break


@pytest.mark.parametrize("engine", [Engine.AUTO, Engine.TREE])
def test_everything_small_is_proven(all_large: Counter[tuple[Answer, Proof]], engine: Engine) -> None:
    """Bounds, sifted tables and CP-SAT agree with the brute force, and the merged tables prove every answer."""
    for seed in range(EXAMPLES):
        snapshot, gang = random_instance(random.Random(seed))
        truth = oracle.solve(snapshot, gang)
        (answer,) = plan(snapshot, [gang], Options(engine, time_limit_s=120)).gangs
        check(answer, truth)
        assert answer.status is (Status.INFEASIBLE if truth is None else Status.OPTIMAL)
        assert answer.stats.proof in (Proof.TREE, Proof.BOTH)
    assert all_large[Answer.OPTIMAL, Proof.TREE] >= EXAMPLES / 4
    assert all_large[Answer.INFEASIBLE, Proof.TREE] >= EXAMPLES / 10


def test_without_tables_of_sites_cpsat_closes_the_gap(
    all_large: Counter[tuple[Answer, Proof]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged bounds and CP-SAT alone still end with the brute force's values."""
    monkeypatch.setattr(large, "SITE_PAIRS", 0)
    for seed in range(1000, 1000 + EXAMPLES):
        snapshot, gang = random_instance(random.Random(seed))
        truth = oracle.solve(snapshot, gang)
        (answer,) = plan(snapshot, [gang], Options(time_limit_s=120)).gangs
        check(answer, truth)
        assert answer.status is (Status.INFEASIBLE if truth is None else Status.OPTIMAL)
    assert sum(all_large.values()) >= EXAMPLES / 2


def test_what_the_tree_alone_claims_without_tables_of_sites_is_true(
    all_large: Counter[tuple[Answer, Proof]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans filled in pod by pod carry true bounds; some gap is left, and some bound is met."""
    monkeypatch.setattr(large, "SITE_PAIRS", 0)
    statuses: Counter[Status] = Counter()
    for seed in range(2000, 2000 + EXAMPLES):
        snapshot, gang = random_instance(random.Random(seed))
        (answer,) = plan(snapshot, [gang], Options(Engine.TREE, time_limit_s=120)).gangs
        check(answer, oracle.solve(snapshot, gang))
        statuses[answer.status] += 1
    assert min(statuses[Status.OPTIMAL], statuses[Status.FEASIBLE], statuses[Status.INFEASIBLE]) >= 5, statuses
    assert all_large[Answer.OPTIMAL, Proof.TREE] >= 5


def test_a_gang_that_may_stay_empty_is_placed_where_nothing_fits(all_large: Counter[tuple[Answer, Proof]]) -> None:
    """No node takes a pod and none is needed: the empty plan is the best one, not infeasible."""
    (answer,) = plan(cluster(node("a", 1), node("b", 1)), [gang(role("w", 2, 2, min=0))]).gangs
    assert (answer.status, answer.assignments) == (Status.OPTIMAL, ())


def test_loose_merging_and_no_bound_at_all_change_no_answer(
    all_large: Counter[tuple[Answer, Proof]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all roles in one cluster, or with listings that are always too long, every claim stays true."""
    for pairs, listed in ((1, 10**6), (200_000, 1)):
        monkeypatch.setattr(large, "MERGED_PAIRS", pairs)
        monkeypatch.setattr("solver.compile.listing.MAX_LISTED", listed)
        for seed in range(3000, 3000 + EXAMPLES // 2):
            snapshot, gang = random_instance(random.Random(seed))
            truth = oracle.solve(snapshot, gang)
            (answer,) = plan(snapshot, [gang], Options(time_limit_s=120)).gangs
            check(answer, truth)
            assert answer.status is (Status.INFEASIBLE if truth is None else Status.OPTIMAL)
    assert sum(all_large.values()) >= EXAMPLES / 2
