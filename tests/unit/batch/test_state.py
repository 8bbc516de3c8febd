"""The state of a batch: what it is worth after any series of moves equals what the verifier says."""

import random
from dataclasses import replace
from fractions import Fraction

from solver.batch.plan import plan_batch
from solver.batch.state import Site, State, first_state
from solver.bound.warm import WarmTables
from solver.domain.constraints import UNSCHEDULABLE, Toleration
from solver.domain.holding import holding_running
from solver.domain.plan import Status
from solver.domain.snapshot import build_snapshot
from solver.planner import Options, plan
from solver.verify.checker import TERMS
from support.batches import random_batch
from support.builders import cluster, constraints, flow, gang, group, node, role

LIMIT = Options(time_limit_s=60)


def test_random_moves_keep_state_and_verifier_equal() -> None:
    """Gangs leave and come again in any order; worth, room and every single value are as if built anew."""
    moves = 0
    for seed in range(25):
        rng = random.Random(seed)
        site, gangs = random_batch(rng, elastic=seed % 2 == 1)
        first = plan(site, gangs, LIMIT)
        begin = state = first_state(Site(site, gangs, WarmTables()), first)
        for _ in range(6):
            chosen = rng.sample(range(len(gangs)), rng.choice([1, 2]))
            state = state.changed({at: begin.placed.get(at) if rng.random() < 0.5 else None for at in chosen})
            moves += state.placed != begin.placed
            _as_verified(state)
        back = state.changed({at: begin.placed.get(at) for at in range(len(gangs))})
        assert back.worth == begin.worth
        assert (back.full.free == begin.full.free).all()
        assert set(map(str, back.full.pods)) == set(map(str, begin.full.pods))
    assert moves > 50


def _as_verified(state: State) -> None:
    found = state.verified()
    assert found.keys() == state.placed.keys()
    admitted, (above, kept, *others) = state.worth if found else (state.admitted, (Fraction(0),) * 7)
    assert sum(admitted) == len(found)
    assert above == sum(verdict.objective[TERMS[0]] for verdict in found.values())
    assert kept == sum(verdict.kept_replicas for verdict in found.values())
    for term, value in zip(TERMS[1:], others, strict=True):
        assert -value == sum(verdict.objective[term] for verdict in found.values())


def test_each_gang_sees_the_nodes_that_are_open_to_it() -> None:
    """A node that one gang tolerates, and holds, is closed to the other; joint and single values agree."""
    where = constraints(tolerations=[Toleration(UNSCHEDULABLE.key, exists=True)], pool="old")
    site = cluster(node("a", 8, rack="r"), node("b", 8, rack="r", schedulable=False, pool="old"))
    gangs = [gang(role("w", 2, 2, where=where), name="ns/brave"), gang(role("w", 2, 1.5), name="ns/other")]
    state = first_state(Site(site, gangs, WarmTables()), plan(site, gangs, LIMIT))
    assert dict(state.fragmentation) == {0: 4 + 4 + 5, 1: 6 + 6}
    _as_verified(state)
    joint = plan_batch(site, gangs, LIMIT)
    assert [each.status.placed for each in joint.gangs] == [True, True]
    assert joint.batch is not None
    assert joint.batch.objective[-1].value == 4 + 4 + 5 + 6 + 6


def test_running_members_and_voids_count_in_fragmentation() -> None:
    """A gang with a running member beside one without, on nodes of which one lacks its rack."""
    site = cluster(node("a", 8, rack="r"), node("b", 8, rack="r"), node("c", 8))
    half = gang(role("w", 2, 2), name="ns/half", running={"ns/w-0": "c"})
    other = gang(group("g", role("p", 1, 1), role("d", 1, 3), required="rack"), name="ns/other", flows=[flow("p", "d")])
    gangs = [half, other]
    first = plan(site, gangs, LIMIT)
    state = first_state(Site(holding_running(site, gangs), gangs, WarmTables()), first)
    _as_verified(state)


def test_gangs_of_a_batch_share_the_levels_that_any_of_them_names() -> None:
    """Gangs packed by labels that nest are placed jointly; by labels that do not, one after another with a warning."""
    rows, halls = "example.com/row", "example.com/hall"
    sites = {
        labels: build_snapshot(
            replace(node(f"n{at}", 4), labels={rows: labels[at], halls: hall}) for at, hall in enumerate("aaab")
        )
        for labels in ("xxyz", "xyyx")
    }
    gangs = [
        gang(role("w", 2, 4), name="ns/one", required=rows),
        gang(role("w", 2, 2), name="ns/two", required=halls),
    ]
    nested = plan_batch(sites["xxyz"], gangs, LIMIT)
    assert [each.status for each in nested.gangs] == [Status.OPTIMAL, Status.OPTIMAL]
    assert nested.warnings == ()
    apart = plan_batch(sites["xyyx"], gangs, LIMIT)
    assert all(each.status.placed for each in apart.gangs)
    assert [notice.code for notice in apart.warnings] == ["not_joint"]
