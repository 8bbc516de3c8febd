"""Warm tables change no status and no value, redo only what changed, and stay inside their memory."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Status
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, WarmTables, plan
from support.builders import cluster, gang, group, node, role
from support.strategies import random_instance, seeds

FEW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
DELTAS = 6


def answer(snapshot: Snapshot, waiting: Gang, warm: WarmTables | None, engine: Engine = Engine.TREE) -> GangPlan:
    """The plan of one gang."""
    return plan(snapshot, [waiting], Options(engine, time_limit_s=120), warm=warm).gangs[0]


def disturbed(snapshot: Snapshot, rng: random.Random, step: int) -> Snapshot:
    """The next version: a pod arrives, capacity comes back, or a node closes or opens."""
    at = rng.randrange(len(snapshot.nodes))
    kind = rng.choice(["pod", "pod", "free", "cordon", "ready"])
    if kind == "pod":
        asked = Resources.of({"gpu": 1000 * rng.randint(0, 4), "cpu": 500 * rng.randint(0, 8)})
        return snapshot.with_pods([BoundPod(f"other/p{step}", snapshot.nodes[at], asked)])
    if kind == "free":
        free = snapshot.free.copy()
        free[at] = snapshot.allocatable[at]
        return replace(snapshot, version=snapshot.version + 1, free=free)
    name = "schedulable" if kind == "cordon" else "ready"
    mask = getattr(snapshot, name).copy()
    mask[at] = not mask[at]
    return replace(snapshot, version=snapshot.version + 1, **{name: mask})


@FEW
@given(seeds())
def test_warm_equals_cold_over_random_changes(seed: int) -> None:
    """After each of several changes, tables kept from before give what a cold call gives."""
    rng = random.Random(seed)
    snapshot, waiting = random_instance(rng)
    warm = WarmTables()
    for step in range(DELTAS):
        kept, cold = answer(snapshot, waiting, warm), answer(snapshot, waiting, None)
        assert kept.status is cold.status
        assert [term.value for term in kept.objective] == [term.value for term in cold.objective]
        snapshot = disturbed(snapshot, rng, step)


@FEW
@given(seeds())
def test_warm_tables_are_shared_by_gangs_of_one_shape_only(seed: int) -> None:
    """One store serves several gangs, in turn and in any order, without mixing them up."""
    rng = random.Random(seed)
    snapshot, first = random_instance(rng)
    others = [random_instance(rng)[1] for _ in range(3)]
    warm = WarmTables()
    for waiting in [first, *others, first, *reversed(others)]:
        if waiting.running or waiting.topology not in {"", *snapshot.topologies}:
            continue
        try:
            cold = answer(snapshot, waiting, None)
        except InvalidRequest:  # a level or rule that this cluster does not have
            continue
        kept = answer(snapshot, waiting, warm)
        assert kept.status is cold.status
        assert [term.value for term in kept.objective] == [term.value for term in cold.objective]


def site(racks: int = 24, nodes: int = 6) -> Snapshot:
    """An uneven site of zones, racks and nodes."""
    rng = random.Random(5)
    return cluster(
        *(
            node(f"n{rack}-{at}", rng.choice([1, 2, 3, 4]), zone=f"z{rack % 3}", rack=f"r{rack}")
            for rack in range(racks)
            for at in range(nodes)
        )
    )


def test_a_change_redoes_one_path_to_the_root() -> None:
    """A pod on one node of 144 redoes at most one domain a level; nothing is redone where nothing changed."""
    snapshot, waiting, warm = site(), gang(role("p", 3), role("d", 4)), WarmTables()
    height = 3  # zone, rack, host
    first = answer(snapshot, waiting, warm)
    assert first.stats.domains_recomputed == 1 + 3 + 24
    assert answer(snapshot, waiting, warm).stats.domains_recomputed == 0
    for step, at in enumerate([0, 77, 143]):
        snapshot = snapshot.with_pods([BoundPod(f"x/{step}", snapshot.nodes[at], Resources.of({"gpu": 1000}))])
        found = answer(snapshot, waiting, warm)
        assert 0 < found.stats.domains_recomputed <= height
        assert found.objective == answer(snapshot, waiting, None).objective


def test_a_budget_that_ends_midway_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tables stop, the next call goes on from there and gives what a cold call gives."""
    snapshot, waiting = site(), gang(role("p", 3), role("d", 4))
    cold, looks = answer(snapshot, waiting, None), Counter[str]()
    check = Budget.check

    def stops(budget: Budget) -> None:
        looks["made"] += 1
        if looks["made"] == looks["most"]:
            raise OutOfTime
        check(budget)

    monkeypatch.setattr(Budget, "check", stops)
    warm = WarmTables()
    for most in range(1, 200):
        looks["most"], looks["made"] = most, 0
        found = answer(snapshot, waiting, warm)
        assert found.status is Status.UNKNOWN or found.objective == cold.objective
        if looks["made"] < most:
            break
    assert most > 3
    assert found.objective == cold.objective


def test_memory_is_bounded() -> None:
    """Many shapes in a small store: the oldest go, and answers stay right."""
    snapshot, limit = site(), 50_000
    warm = WarmTables(max_bytes=limit)
    largest = 0
    for prefill in range(1, 5):
        for decode in range(1, 6):
            waiting = gang(group("g", role("p", prefill), role("d", decode), required="zone"))
            before = warm.size
            found = answer(snapshot, waiting, warm)
            largest = max(largest, warm.size - min(before, limit))
            assert found.objective == answer(snapshot, waiting, None).objective
            assert found.status is Status.OPTIMAL
    assert 0 < warm.shapes < 20
    assert warm.size <= limit + largest


def test_trees_are_shared_between_versions() -> None:
    """Versions that share their labels share one tree, other labels make another."""
    snapshot, warm = site(), WarmTables()
    spec = next(iter(snapshot.topologies.values()))
    tree = warm.tree(snapshot, spec)
    later = snapshot.with_pods([BoundPod("x/p", snapshot.nodes[0], Resources.of({"gpu": 1000}))])
    assert warm.tree(later, spec) is tree
    assert warm.tree(site(), spec) is not tree
    assert np.array_equal(tree.domain_of[1], warm.tree(site(), spec).domain_of[1])
