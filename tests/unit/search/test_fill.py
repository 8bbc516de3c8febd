"""Plans put together pod by pod: rules kept, replicas whole, worth as the model sees it."""

import time

import numpy as np
import pytest

from solver.compile.frame import build_frame
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import shapes_of
from solver.compile.structure import build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.gang import Gang
from solver.domain.snapshot import Snapshot
from solver.planner import choose_topology
from solver.search.fill import Placed, filled
from solver.search.worth import worth
from solver.terms.registry import terms_of
from solver.topology.tree import build_tree
from support.builders import cluster, flow, gang, group, node, role, with_running


def problem_of(snapshot: Snapshot, of: Gang) -> Problem:
    """The only shape of a gang over a snapshot."""
    spec, _ = choose_topology(snapshot, of)
    structure = build_structure(of, snapshot, build_tree(snapshot, spec))
    assert structure.root is not None
    (shape,) = shapes_of(structure.root)
    return build_problem(build_frame(structure, shape))


def fill(snapshot: Snapshot, of: Gang, mixed: bool = True) -> tuple[Problem, Placed | None]:
    """Fill with nodes in input order."""
    problem = problem_of(snapshot, of)
    order = np.flatnonzero(problem.node_class >= 0)
    return problem, filled(problem, terms_of, order, Budget(time.monotonic() + 60), mixed)


def held(problem: Problem, placed: Placed) -> dict[str, list[int]]:
    """Node → pods by role."""
    space = problem.layout.spaces[-1]
    return {
        problem.snapshot.nodes[at]: (space.role_matrix @ space.counts_at(state)).tolist()
        for at, state in placed.states.items()
    }


def test_roles_take_turns_in_proportion() -> None:
    """Each of two full nodes gets the gang's mixture of one prefill to three decodes."""
    site = cluster(node("n0", gpus=4), node("n1", gpus=4))
    problem, placed = fill(site, gang(role("prefill", 2), role("decode", 6), flows=[flow("prefill", "decode")]))
    assert placed is not None
    assert held(problem, placed) == {"n0": [1, 3], "n1": [1, 3]}
    assert placed.sums == worth(problem, terms_of, placed.states)


def test_largest_first_wastes_no_room() -> None:
    """A small pod that takes its turn between two large ones takes the second's node; last it takes the small node."""
    site = cluster(node("n0", gpus=4), node("n1", gpus=4), node("n2", gpus=1))
    both = gang(role("large", 2, gpus=4), role("small", 1, gpus=1))
    assert fill(site, both, mixed=True)[1] is None
    problem, placed = fill(site, both, mixed=False)
    assert placed is not None
    assert held(problem, placed) == {"n0": [1, 0], "n1": [1, 0], "n2": [0, 1]}


def test_required_groups_go_whole_into_one_domain() -> None:
    """A replica that the first rack cannot take whole leaves nothing behind there."""
    site = cluster(node("n0", gpus=3, rack="r0"), node("n1", gpus=4, rack="r1"), node("n2", gpus=4, rack="r2"))
    unit = group("unit", role("prefill", 1), role("decode", 3), replicas=2, required="rack")
    problem, placed = fill(site, gang(unit))
    assert placed is not None
    assert held(problem, placed) == {"n1": [1, 3], "n2": [1, 3]}


def test_spread_limits_are_kept() -> None:
    """At most one pod a rack, counted with the one that runs."""
    site = cluster(*(node(f"n{at}", rack=f"r{at // 2}") for at in range(4)))
    site, waiting = with_running(site, gang(role("a", 2, spread=[("rack", 1)])), {"default/a-0": "n0"})
    problem, placed = fill(site, waiting)
    assert placed is not None
    assert held(problem, placed) == {"n0": [1], "n2": [1]}


def test_running_members_hold_their_group() -> None:
    """A required group goes where its members run, although another rack comes first."""
    site = cluster(node("n0", rack="r0"), node("n1", rack="r1"))
    site, waiting = with_running(site, gang(role("a", 3), required="rack"), {"default/a-1": "n1"})
    problem, placed = fill(site, waiting)
    assert placed is not None
    assert held(problem, placed) == {"n1": [3]}


def test_a_broken_rule_is_worth_nothing() -> None:
    """A placement with too few pods, or one that tears a required group apart, has no worth."""
    site = cluster(node("n0", rack="r0"), node("n1", rack="r1"))
    problem = problem_of(site, gang(role("a", 2)))
    space = problem.layout.spaces[-1]
    one = space.state_of(np.array([1]))
    assert worth(problem, terms_of, {0: one, 1: one}) is not None
    assert worth(problem, terms_of, {0: one}) is None
    packed = problem_of(site, gang(role("a", 2), required="rack"))
    assert worth(packed, terms_of, {0: one, 1: one}) is None


def test_no_time_is_said() -> None:
    """Without time the filling raises instead of answering that nothing fits."""
    problem = problem_of(cluster(node("n0")), gang(role("a", 2)))
    with pytest.raises(OutOfTime):
        filled(problem, terms_of, np.array([0]), Budget(time.monotonic() - 1))
