"""What must not change an answer: names, order, repetition, wrong hints, loose bounds, the way the model is written."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from solver.bound.solve import TreeAnswer, solve_shape
from solver.compile.frame import build_frame
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import shapes_of
from solver.compile.structure import build_structure
from solver.domain.budget import Budget
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Status
from solver.domain.snapshot import Snapshot
from solver.model import build as model_module
from solver.planner import Engine, Options, plan
from solver.search.cpsat import Answer
from solver.search.stages import solve_staged
from solver.terms.base import Term
from solver.terms.registry import terms_of
from solver.topology.choice import choose_topology
from solver.topology.tree import build_tree
from support.strategies import random_instance, renamed, seeds

FEW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def instance(seed: int) -> tuple[Snapshot, Gang]:
    """The random instance of a seed."""
    return random_instance(random.Random(seed))


def answer(snapshot: Snapshot, gang: Gang, engine: Engine = Engine.AUTO) -> GangPlan:
    """The plan of one gang, with time enough."""
    return plan(snapshot, [gang], Options(engine, time_limit_s=120)).gangs[0]


def worth(found: GangPlan) -> tuple[Status, tuple[Fraction, ...]]:
    """Status and values."""
    return found.status, tuple(term.value for term in found.objective)


@FEW
@given(seeds())
def test_names_and_order_change_no_value(seed: int) -> None:
    """Renaming nodes, pods, roles and groups and shuffling every input order leaves status and values alone."""
    snapshot, gang = instance(seed)
    other = renamed(snapshot, gang, random.Random(seed + 1))
    assert worth(answer(*other)) == worth(answer(snapshot, gang))


@FEW
@given(seeds())
def test_same_input_same_output(seed: int) -> None:
    """A second call gives the same assignments, pod by pod."""
    snapshot, gang = instance(seed)
    first, second = answer(snapshot, gang), answer(snapshot, gang)
    assert first.assignments == second.assignments
    assert worth(first) == worth(second)


@FEW
@given(seeds())
def test_more_capacity_never_hurts(seed: int) -> None:
    """With twice the free capacity on every node a feasible gang stays feasible with as many pods at least."""
    snapshot, gang = instance(seed)
    before = answer(snapshot, gang, Engine.TREE)
    assume(before.status is Status.OPTIMAL)
    free = np.maximum(snapshot.free, 0) * 2
    after = answer(replace(snapshot, free=free), gang, Engine.TREE)
    assert after.status is Status.OPTIMAL
    assert after.objective[0].value >= before.objective[0].value


def solved_problems(seed: int) -> Iterator[tuple[Problem, tuple[Term, ...], TreeAnswer]]:
    """Up to two shapes of an instance that the tree can place."""
    snapshot, gang = instance(seed)
    spec, _ = choose_topology(snapshot, gang)
    structure = build_structure(gang, snapshot, build_tree(snapshot, spec))
    shapes = shapes_of(structure.root)[:2] if structure.root else []
    for shape in shapes:
        if shape.pods:
            problem = build_problem(build_frame(structure, shape))
            terms = terms_of(problem)
            found = solve_shape(problem, terms, Budget(time.monotonic() + 60))
            if found is not None:
                yield problem, terms, found


@FEW
@given(seeds())
def test_a_wrong_hint_and_a_low_bound_change_no_answer(seed: int) -> None:
    """CP-SAT with a nonsense plan as hint and bounds far too low finds the tree's optimum all the same."""
    rng = random.Random(seed)
    for problem, terms, found in solved_problems(seed):
        usable = [int(node) for node in np.flatnonzero(problem.node_class >= 0)]
        top = problem.layout.spaces[-1].size - 1
        wrong = {node: rng.randint(1, top) for node in rng.sample(usable, k=min(2, len(usable))) if top}
        low = [value - rng.choice([1, 1000, 10**6]) for value in found.sums]
        staged = solve_staged(problem, terms, Budget(time.monotonic() + 60), bounds=low, hint=wrong)
        assert (staged.answer, staged.sums) == (Answer.OPTIMAL, found.sums)


@FEW
@given(seeds())
def test_the_bounds_own_domains_prove_the_bound(seed: int) -> None:
    """With the tree's bound and plan the restricted model proves the optimum without widening."""
    for problem, terms, found in solved_problems(seed):
        staged = solve_staged(problem, terms, Budget(time.monotonic() + 60), bounds=found.sums, hint=found.states)
        assert (staged.answer, staged.sums, staged.widened) == (Answer.OPTIMAL, found.sums, False)


@FEW
@given(seeds())
def test_counts_by_node_model_the_same_as_patterns(seed: int) -> None:
    """Where patterns would explode, nodes carry counts with capacity rows; the optimum is the same."""
    for problem, terms, found in solved_problems(seed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model_module, "MAX_PATTERNS", 0)
            staged = solve_staged(problem, terms, Budget(time.monotonic() + 60))
        assert (staged.answer, staged.sums) == (Answer.OPTIMAL, found.sums)


@FEW
@given(seeds())
def test_without_tables_cpsat_takes_over(seed: int) -> None:
    """A gang whose state space is too large for tables is solved by CP-SAT to the same values."""
    snapshot, gang = instance(seed)
    usual = answer(snapshot, gang)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solver.compile.layout.MAX_STATES", 2)
        assert worth(answer(snapshot, gang)) == worth(usual)
