"""Costs through every state of every domain against all placements, one by one."""

import random
from functools import partial
from itertools import product

import numpy as np
import pytest

from solver.bound.lanes import INFINITE, plan_lanes
from solver.bound.support import Support
from solver.bound.tables import TreeTables
from solver.compile.frame import build_frame
from solver.compile.links import NO_LINK
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import shapes_of
from solver.compile.structure import build_structure
from solver.domain.budget import UNLIMITED
from solver.domain.snapshot import Ints
from solver.rules.registry import allowed_states
from solver.terms.registry import terms_of
from solver.topology.tree import build_tree
from support.builders import cluster, flow, gang, group, node, role


def drawn(rng: random.Random) -> Problem:
    """One gang of up to five pods on four nodes in two racks."""
    nodes = [node(f"n{at}", rng.choice([1, 2, 3]), rack=rng.choice("ab"), zone=rng.choice("xy")) for at in range(4)]
    site = cluster(*nodes)
    roles = [role("p", rng.choice([1, 2]), 1), role("d", rng.choice([1, 2, 3]), 1)]
    children = [roles[0], roles[1]] if rng.random() < 0.6 else [group("g", *roles, required="rack")]
    packed = rng.choice([{}, {"preferred": "rack"}, {"required": "zone"}])
    one = gang(*children, flows=[flow("p", "d", nearest=rng.random() < 0.5)], **packed)
    tree = build_tree(site, site.topologies[""])
    structure = build_structure(one, site, tree)
    assert structure.root is not None
    return build_problem(build_frame(structure, shapes_of(structure.root)[0]))


def least_by_state(tables: TreeTables, problem: Problem) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """The least cost of all placements by (level, domain, state of it)."""
    tree, spaces = problem.tree, problem.layout.spaces
    nodes = np.flatnonzero(problem.node_class >= 0).tolist()
    fits = [np.flatnonzero(problem.classes[int(problem.node_class[at])].fits).tolist() for at in nodes]
    found: dict[tuple[int, int, int], tuple[int, ...]] = {}
    for states in product(*fits):
        for where, cost in _placements(tables, problem, dict(zip(nodes, states, strict=True))):
            if where[0, 0] == problem.final:
                for (level, domain), state in where.items():
                    key = (level, domain, state)
                    found[key] = min(found.get(key, cost), cost)
    assert all(len(spaces) > level and len(tree.parent[level]) > domain for level, domain, _ in found)
    return found


def _placements(
    tables: TreeTables, problem: Problem, hosts: dict[int, int]
) -> list[tuple[dict[tuple[int, int], int], tuple[int, ...]]]:
    """Every choice of the states above some states of the hosts, with its cost."""
    tree, height = problem.tree, problem.tree.height
    partial_: list[tuple[dict[tuple[int, int], int], Ints]] = [({}, np.zeros(tables.pool.lanes, dtype=np.int64))]
    partial_ = _with_costs(tables, problem, height, partial_, {at: [state] for at, state in hosts.items()})
    for level in range(height - 1, -1, -1):
        index, space = tables.index(level), problem.layout.spaces[level + 1]
        later: list[tuple[dict[tuple[int, int], int], Ints]] = []
        for where, cost in partial_:
            sums: dict[int, Ints] = {}
            for (at, domain), state in where.items():
                if at == level + 1:
                    parent = int(tree.parent[at][domain])
                    sums[parent] = sums.get(parent, np.zeros(len(space.dims), dtype=np.int64)) + space.counts_at(state)
            options = {
                parent: np.flatnonzero(index == space.state_of(counts)).tolist()
                if (counts < np.array(space.shape)).all()
                else []
                for parent, counts in sums.items()
            }
            later += _with_costs(tables, problem, level, [(where, cost)], options)
        partial_ = later
    return [(where, tuple(cost.tolist())) for where, cost in partial_]


def _with_costs(
    tables: TreeTables,
    problem: Problem,
    level: int,
    known: list[tuple[dict[tuple[int, int], int], Ints]],
    options: dict[int, list[int]],
) -> list[tuple[dict[tuple[int, int], int], Ints]]:
    for domain, states in options.items():
        own = tables.own_costs.of(level, int(problem.tree.path_bits[level][domain]), NO_LINK)
        known = [
            ({**where, (level, domain): state}, cost + own[:, state])
            for where, cost in known
            for state in states
            if own[0, state] < INFINITE // 2
        ]
    return known


@pytest.mark.parametrize("part", range(4))
def test_costs_through_states_are_exact(part: int) -> None:
    """Of every state of every domain the least cost of all placements through it, infinite where there is none."""
    placed = 0
    for seed in range(part * 10, part * 10 + 10):
        problem = drawn(random.Random(seed))
        terms = tuple(term for term in terms_of(problem) if not term.holes)
        tables = TreeTables(problem, terms, plan_lanes(terms), partial(allowed_states, problem), UNLIMITED)
        if tables.root is None or not tables.may_be(problem.final):
            continue
        support, expected = Support(tables, problem.final), least_by_state(tables, problem)
        for level, domain in support.domains():
            costs = support.through(level, domain)
            for state in range(costs.shape[1]):
                least = expected.get((level, domain, state))
                assert (costs[0, state] < INFINITE) == (least is not None), (seed, level, domain, state)
                assert least is None or tuple(costs[:, state].tolist()) == least, (seed, level, domain, state)
        best = support.through(0, 0)[:, problem.final]
        everything = sorted(set(expected.values()))
        assert tuple(best.tolist()) == everything[0]
        beyond = support.beyond(best)
        assert (None if beyond is None else tuple(beyond.tolist())) == next(iter(everything[1:]), None)
        for level, domain in support.domains():
            within = {
                state
                for (at, d, state), least in expected.items()
                if (at, d) == (level, domain) and least == everything[0]
            }
            assert set(support.within(level, domain, best).tolist()) == within
        placed += 1
    assert placed >= 5, placed
