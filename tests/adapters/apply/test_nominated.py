"""What the controller makes of room that others hold by nomination."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.apply.fits import Fits
from adapters.apply.observed import Fixed
from adapters.apply.planning import Planning
from adapters.apply.round import Found, Wanted
from adapters.apply.steps import Plan
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.plan import Plan as Answer
from solver.domain.snapshot import Snapshot
from solver.planner import plan
from solver.service.state import HeldCluster
from support.builders import bound, cluster, gang, node, role


def of(priority: int, **more: Any) -> Gang:
    """A gang of one pod with two GPUs."""
    return replace(gang(role("w", 1, 2), **more), priority=priority)


def fits(snapshot: Snapshot) -> tuple[HeldCluster, Fits]:
    """Who is asked whether seats hold."""
    held = HeldCluster("prod")
    held.put("b", snapshot)
    return held, Fits(held)


@pytest.mark.parametrize(("priority", "is_free"), [(3, False), (4, False), (5, True)])
def test_seats_in_nominated_room_hold_for_higher_priority_alone(priority: int, is_free: bool) -> None:
    """Both before the pods are let go and while they wait to be bound."""
    _, asked = fits(cluster(node("n", 2), pods=[bound("x", "n", 1, nominated=4)]))
    waiting = replace(bound("w-0", "n", 2), uid="u")
    assert (asked.unfit("default/llama", [waiting], of(priority)) == frozenset()) == is_free
    problem = asked.problem(of(priority), [Assignment("default/w-0", "w", "n")])
    assert (problem == "") == is_free


class Solver:
    """The real one."""

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Any) -> Answer:
        return plan(snapshot, gangs)


def test_gangs_of_one_round_have_the_room_that_those_before_them_leave() -> None:
    """The first gang's pod was nominated to the only node the second can use; it got its seat elsewhere."""
    waiting = bound("v-0", "a", 2, gang="default/first", nominated=9)
    held, _ = fits(cluster(node("a", 2), node("b", 4), pods=[waiting]))
    first = replace(gang(role("v", 1, 4), name="default/first"), priority=9)
    settled: list[Found] = []

    async def settle(found: Found) -> None:
        settled.append(found)

    planning = Planning(
        held,
        Solver(),  # type: ignore[arg-type]
        settle,
        room=lambda: 0,
        is_quiet=lambda: True,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        fair_after_s=60.0,
        solved=lambda *_: None,
    )
    for each in (first, of(0)):
        planning.want(Wanted(each.name, Plan(Fixed()), each, datetime(2026, 1, 1, tzinfo=UTC), False))
    asyncio.run(planning.round())
    found = {each.wanted.key: each.plan for each in settled}
    nodes = {key: [item.node for item in each.assignments] for key, each in found.items() if each}
    assert nodes == {"default/first": ["b"], "default/llama": ["a"]}
