"""Merged tables never say more than the truth: against exact tables, on random small instances."""

import random
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from solver.bound.clusters import every_role, projection_within
from solver.bound.flows import flow_bound
from solver.bound.merged import Relaxation, relax
from solver.bound.prices import Steering, fair_prices, no_prices
from solver.bound.projection import Projection
from solver.bound.solve import TreeAnswer, solve_shape
from solver.bound.vectors import VectorTables
from solver.compile.frame import build_frame
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import shapes_of
from solver.compile.structure import build_structure
from solver.domain.budget import Budget
from solver.domain.gang import Gang
from solver.domain.resources import MAX_AMOUNT
from solver.domain.snapshot import Ints, Snapshot
from solver.planner import choose_topology, holding_running
from solver.terms.registry import terms_of
from solver.topology.tree import build_tree
from support.builders import cluster, flow, gang, node, role
from support.strategies import random_instance


def patience() -> Budget:
    """Far more time than any test here takes."""
    return Budget(time.monotonic() + 120)


def problems(snapshot: Snapshot, of: Gang, most: int, rng: random.Random) -> Iterator[Problem]:
    """Up to `most` shapes of a gang with pods, each over the snapshot."""
    snapshot = holding_running(snapshot, [of])
    spec, _ = choose_topology(snapshot, of)
    structure = build_structure(of, snapshot, build_tree(snapshot, spec))
    shapes = [] if structure.root is None else shapes_of(structure.root)
    for shape in rng.sample(shapes, min(most, len(shapes))):
        problem = build_problem(build_frame(structure, shape)) if shape.pods else None
        if problem is not None and not problem.impossible:
            yield problem


def cases(seeds: range) -> Iterator[tuple[random.Random, Problem, VectorTables, TreeAnswer | None]]:
    """Problems of random instances, with the answer of exact tables."""
    for seed in seeds:
        rng = random.Random(seed)
        for problem in problems(*random_instance(rng), 3, rng):
            yield rng, problem, VectorTables(problem, terms_of, patience()), exact(problem)


def exact(problem: Problem) -> TreeAnswer | None:
    """Exact tables' answer."""
    return solve_shape(problem, terms_of(problem), patience())


def listed_in(vectors: VectorTables) -> int:
    """Number of count vectors over all levels."""
    levels = range(vectors.problem.tree.height + 1)
    return sum(one.pods.shape[1] for level in levels for one in vectors.at(level))


def random_projection(problem: Problem, rng: random.Random) -> Projection:
    """Roles in random clusters with random weights."""
    roles = len(problem.totals)
    weights = np.zeros((rng.randint(1, roles), roles), dtype=np.int64)
    for at in range(roles):
        weights[rng.randrange(len(weights)), at] = rng.randint(1, 3)
    return Projection(weights, problem.totals)


def random_prices(vectors: VectorTables, rng: random.Random) -> Ints:
    """Prices of all signs and sizes, now and then none."""
    prices = no_prices(vectors)
    scale = rng.choice([0, 1, 7, 1000, 10**6])
    return np.array([rng.randint(-scale, scale) for _ in range(prices.size)], dtype=np.int64).reshape(prices.shape)


@pytest.mark.parametrize("part", range(2))
def test_no_placement_is_better_than_the_bound(part: int) -> None:
    """Whatever is merged and priced, the bound is at most the optimum, and no placement exists where it has none."""
    seen: Counter[str] = Counter()
    for rng, problem, vectors, truth in cases(range(200 * part, 200 * (part + 1))):
        found = relax(vectors, random_projection(problem, rng), random_prices(vectors, rng), patience())
        if truth is None:
            seen["refuted" if found is None else "missed"] += 1
        else:
            assert found is not None
            assert found.sums <= truth.sums
            seen["met" if found.sums == truth.sums else "below"] += 1
    assert min(seen["refuted"], seen["met"], seen["below"]) >= 40, seen


def test_nothing_merged_is_exact() -> None:
    """With every role by itself bound and verdict are those of exact tables, at any prices, and there is no surplus."""
    seen: Counter[bool] = Counter()
    for rng, problem, vectors, truth in cases(range(1000, 1150)):
        found = relax(vectors, every_role(problem), random_prices(vectors, rng), patience())
        seen[truth is None] += 1
        if truth is None or found is None:
            assert found is truth is None
        else:
            assert found.sums == truth.sums
            assert not found.surplus.any()
            assert found.pods.sum(axis=1).tolist() == list(problem.totals)
    assert min(seen.values()) >= 80, seen


def test_sifting_keeps_the_optimum() -> None:
    """What is left after sifting holds the optimum, for any prices and any goal that is not better than it."""
    fewer = 0
    for rng, problem, vectors, truth in cases(range(2000, 2150)):
        if truth is None:
            continue
        relaxation = Relaxation(vectors, random_projection(problem, rng), random_prices(vectors, rng), patience())
        goal = (*truth.sums[:2], truth.sums[2] + rng.choice([0, 0, 10**6, 10**12]), *truth.sums[3:])
        sifted = relaxation.sifted(goal)
        found = relax(sifted, every_role(problem), no_prices(sifted), patience())
        assert found is not None
        assert found.sums == truth.sums
        fewer += listed_in(sifted) < listed_in(vectors)
    assert fewer >= 15


def test_steering_never_makes_a_false_bound() -> None:
    """Along the whole way of prices from the fair ones on, bounds stay at or below the optimum; some rise."""
    risen = 0
    for _, problem, vectors, truth in cases(range(3000, 3120)):
        if truth is None:
            continue
        projection = projection_within(problem, 1)
        steering = Steering(fair_prices(vectors, projection))
        bounds = []
        for _ in range(6):
            found = relax(vectors, projection, steering.prices, patience())
            assert found is not None
            assert found.sums <= truth.sums
            bounds.append(found.sums)
            if not steering.move(found, truth.sums):
                break
        risen += max(bounds) > bounds[0]
    assert risen >= 5


def test_flows_added_up_are_at_most_the_transfer() -> None:
    """The bound flow by flow is at most the optimum's transfer, often equal, and refutes only what cannot be placed."""
    seen: Counter[str] = Counter()
    for _, problem, _, truth in cases(range(4000, 4220)):
        found = flow_bound(problem, patience())
        if found is None:
            assert truth is None
            seen["refuted"] += 1
        elif truth is not None:
            assert found.transfer <= truth.sums[2]
            seen["met" if found.transfer == truth.sums[2] else "below"] += 1
    assert min(seen["refuted"], seen["met"], seen["below"]) >= 5, seen


def two_racks() -> Problem:
    """Sixteen alike nodes in two racks, and a gang of 16 + 48 pods that fills them, which talk all to all."""
    site = cluster(*(node(f"n{at}", gpus=4, rack=f"r{at % 2}") for at in range(16)))
    both = gang(role("prefill", 16), role("decode", 48), flows=[flow("prefill", "decode")])
    (problem,) = problems(site, both, 1, random.Random(0))
    return problem


def test_prices_bring_back_the_proportions() -> None:
    """Merged into one count, half the gang's traffic looks free; at fair prices the bound is almost the optimum."""
    problem = two_racks()
    vectors, truth = VectorTables(problem, terms_of, patience()), exact(problem)
    projection = projection_within(problem, 1)
    assert truth is not None
    assert projection.caps == (64,)
    loose, tight = (
        relax(vectors, projection, prices, patience())
        for prices in (no_prices(vectors), fair_prices(vectors, projection))
    )
    assert loose is not None
    assert tight is not None
    assert loose.sums[2] < 0.99 * truth.sums[2]
    assert 0.999 * truth.sums[2] <= tight.sums[2] <= truth.sums[2]


def test_alike_roles_are_merged_first() -> None:
    """Roles of one hardware and flow go together, counted by their GPUs, before those that differ."""
    site = cluster(*(node(f"n{at}") for at in range(4)))
    four = gang(
        role("router", 3, gpus=0, cpu=1), role("prefill-a", 4, gpus=2), role("prefill-b", 4, gpus=4), role("decode", 8)
    )
    (problem,) = problems(site, four, 1, random.Random(0))
    coarse = projection_within(problem, 50_000)
    assert sorted(map(tuple, coarse.weights.tolist())) == [(0, 0, 0, 1), (0, 1, 2, 0), (1, 0, 0, 0)]
    assert coarse.caps == tuple(coarse.weights @ np.array(problem.totals))
    assert projection_within(problem, 1).weights.tolist() == [[1, 2, 4, 1]]


def test_amounts_beyond_53_bits_are_added_exactly() -> None:
    """A rack's memory is the exact sum of its nodes'; one byte less than the gang asks is a proof against it."""
    amounts = (MAX_AMOUNT - 1, MAX_AMOUNT, MAX_AMOUNT, MAX_AMOUNT)
    site = cluster(*(node(f"n{at}", more={"fast": amount}, rack="r0") for at, amount in enumerate(amounts)))
    for least, fits in ((MAX_AMOUNT - 1, True), (MAX_AMOUNT, False)):
        both = gang(role("a", 3, more={"fast": MAX_AMOUNT}), role("b", 1, more={"fast": least}), required="rack")
        (problem,) = problems(site, both, 1, random.Random(0))
        vectors = VectorTables(problem, terms_of, patience())
        found = relax(vectors, projection_within(problem, 1), no_prices(vectors), patience())
        assert (found is not None) is fits
