"""The search by exact tables: what it proves is the joint optimum, by brute force and by CP-SAT on counts."""

import random
import time
from dataclasses import replace

import pytest

from solver.batch.exact import place_exactly
from solver.batch.plan import plan_batch
from solver.batch.state import Site, State, first_state
from solver.bound.warm import WarmTables
from solver.domain.budget import Budget
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.planner import Options, plan
from solver.search.joint import place_together
from support.batches import joint_optimum, random_batch, worth_of
from support.builders import bound, cluster, flow, gang, node, queue, role

LIMIT = Options(time_limit_s=60)
BATCHES = 200


def nothing_together(*_: object) -> None:
    """In place of CP-SAT on counts: nothing is found in time."""


def placements(found: Plan) -> list[dict[str, str] | None]:
    """Pod → node of each gang, None where it is not admitted."""
    return [
        {item.pod: item.node for item in answer.assignments} if answer.status.placed else None for answer in found.gangs
    ]


@pytest.mark.parametrize("elastic", [False, True], ids=["rigid", "elastic"])
def test_what_is_proven_is_the_joint_optimum(elastic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CP-SAT on counts; nearly every batch is proven, also where some gangs are left out."""
    monkeypatch.setattr("solver.batch.improve.place_together", nothing_together)
    proven = left_out = 0
    for seed in range(60 if elastic else BATCHES):
        site, gangs = random_batch(random.Random(seed), elastic)
        found = plan_batch(site, gangs, LIMIT)
        assert found.batch is not None
        if all(each.value == each.bound for each in (*found.batch.admitted, *found.batch.objective)):
            proven += 1
            left_out += any(not answer.status.placed for answer in found.gangs)
            assert (seed, worth_of(site, gangs, placements(found))) == (seed, joint_optimum(site, gangs))
    assert proven >= (28 if elastic else 190), proven
    assert left_out >= 3, left_out


def middling_batch(rng: random.Random) -> tuple[Snapshot, list[Gang]]:
    """Two or three gangs of two to seven pods on six or eight nodes in two zones; some GPUs are in use."""
    count, per_rack = rng.choice([6, 8]), rng.choice([2, 2, 3])
    nodes = [
        node(f"n{at:02}", rng.choice([4, 4, 8]), rack=f"r{at // per_rack}", zone=f"z{at // (2 * per_rack)}")
        for at in range(count)
    ]
    used = [bound(f"p{at}", f"n{at:02}", rng.choice([1, 2])) for at in range(count) if rng.random() < 0.3]
    gangs = []
    for at in range(rng.choice([2, 2, 3])):
        size, prefill, decode = rng.choice([1, 1, 2]), rng.randint(1, 2), rng.randint(1, 3)
        roles = [role("p", prefill, size), role("d", decode, size, min=rng.choice([None, 1]))]
        flows = [flow("p", "d", gb=rng.choice([1, 2]), nearest=rng.random() < 0.3)]
        if rng.random() < 0.3:
            roles.insert(0, role("r", rng.randint(1, 2), 0, 1))
            flows.append(flow("r", "p", gb=0.1))
        if rng.random() < 0.3:
            roles[-1] = replace(roles[-1], spread=role("d", spread=[("host", 2)]).spread)
        pack = rng.choice([{}, {}, {"preferred": "rack"}, {"required": "zone"}, {"required": "rack"}])
        gangs.append(gang(*roles, name=f"ns/g{at}", flows=flows, **pack))
    queues = []
    if rng.random() < 0.3:
        queues = [queue("q", gpu=1000 * rng.randint(6, 20))]
        gangs = [replace(each, queue="q") for each in gangs]
    return cluster(*nodes, pods=used, queues=queues), gangs


def states_of(site: Snapshot, gangs: list[Gang]) -> State:
    """The sequential plan as a state."""
    return first_state(Site(site, gangs, WarmTables()), plan(site, gangs, LIMIT))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_both_searches_agree(part: int) -> None:
    """What is proven best from tables and from counts has the same values. Needs a quiet machine."""
    compared = improved = 0
    for seed in range(part * 24, (part + 1) * 24):
        site, gangs = middling_batch(random.Random(seed))
        start = states_of(site, gangs)
        if len(start.placed) < len(gangs):
            continue
        tree, unknown = start.site.tree(0), [None] * len(gangs)
        known = None if seed % 2 else start.values
        exact = place_exactly(start.site.snapshot, gangs, tree, unknown, known, Budget(time.monotonic() + 10))
        joint = place_together(start.site.snapshot, gangs, tree, Budget(time.monotonic() + 10))
        if joint is None or not joint.proven or not exact.proven:
            continue
        other = start.changed(dict(enumerate(joint.assignments)))
        mine = start if exact.assignments is None else start.changed(dict(enumerate(exact.assignments)))
        assert exact.assignments is None or exact.values == mine.values
        assert (seed, min(mine.values, start.values)) == (seed, other.values)
        compared += 1
        improved += other.values < start.values
    assert compared >= 6, compared
    assert improved >= 1, improved
