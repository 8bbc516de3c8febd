"""A node that two schedulers gave away is seen, told of, and left by the gang whose pod came last."""

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.apply.metrics import Metrics
from adapters.apply.overcommits import AGAIN_S, HOLD_S, Overcommit, Overcommits
from adapters.apply.settings import Settings
from adapters.kubernetes.resources import NODES, PODS
from support.apply_world import NAMESPACE, Lagging, Runner, Wish, World, four_nodes, later

TIMES = Settings(grace_s=60, last_chance_s=5, gather_s=0, back_off_s=5)
PAIR = Wish({"w": (2, 2)}, gpus=4, binds=True)


@pytest.fixture
def world() -> World:
    """Four nodes of four GPUs in two racks."""
    return four_nodes()


@pytest.fixture
def runner(world: World) -> Iterator[Runner]:
    """A reconciler in it."""
    runner = Runner(world, TIMES)
    yield runner
    runner.close()


def placed(world: World, runner: Runner, wish: Wish = PAIR) -> dict[str, str]:
    """A gang is bound: pod → node."""
    world.add_gang("a", wish)
    for _ in range(3):
        world.controllers()
        runner.turn()
        world.scheduler()
    assert status(world)["phase"] == "Bound"
    return world.bound("a")


def status(world: World) -> dict[str, Any]:
    """What the Placement says."""
    found: dict[str, Any] = (world.placement("a") or {})["status"]
    return found


def bound_at(world: World, name: str, seconds: int) -> None:
    """The API server says when a pod was bound."""
    moment = f"2026-01-01T01:00:{seconds:02}Z"
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment}
    world.objects[PODS][NAMESPACE, name].setdefault("status", {})["conditions"] = [condition]


def look(world: World) -> list[Overcommit]:
    """What a look finds."""
    return list(Overcommits(Lagging(world), lambda: world.now).look())


def test_a_gang_that_came_last_goes_and_is_planned_anew(world: World, runner: Runner) -> None:
    """Whole, after it was so for a while; another scheduler's pod stays where it is."""
    first = placed(world, runner)
    pod, node = sorted(first.items())[0]
    world.foreign("thief", node, 4, heeds=False)
    bound_at(world, "thief", 1)
    bound_at(world, pod, 2)
    runner.look_for_overcommits()
    runner.turn()
    assert len(world.bound("a")) == 2
    later(world, HOLD_S)
    runner.look_for_overcommits()
    runner.turn()
    assert world.bound("a") == {}
    assert status(world)["reasons"][0]["code"] == "overcommitted"
    assert node in status(world)["reasons"][0]["message"]
    assert look(world) == []
    runner.settle()
    assert status(world)["phase"] == "Bound"
    assert node not in world.bound("a").values()
    assert (NAMESPACE, "thief") in world.objects[PODS]


def test_a_pod_of_another_scheduler_is_only_reported(world: World, runner: Runner) -> None:
    """Where it came last, nothing of the gang's is touched."""
    first = placed(world, runner)
    later(world, 10)
    world.foreign("thief", sorted(first.values())[0], 4, heeds=False)
    for _ in range(5):
        runner.look_for_overcommits()
        runner.turn()
        later(world, HOLD_S)
    assert world.bound("a") == first
    (found,) = look(world)
    assert (found.pod, found.gang, found.taken, found.room) == (f"{NAMESPACE}/thief", "", 8000, 4000)
    assert found.message.endswith("take 8 GPUs of 4: it was given away twice; pod test/thief came last")


def test_a_pod_that_nobody_makes_again_stays(world: World, runner: Runner) -> None:
    """An event, no eviction."""
    first = placed(world, runner, Wish({"w": (2, 2)}, gpus=4, binds=True, controlled=False))
    pod, node = sorted(first.items())[0]
    world.foreign("thief", node, 4, heeds=False)
    bound_at(world, "thief", 1)
    bound_at(world, pod, 2)
    for _ in range(5):
        runner.look_for_overcommits()
        runner.turn()
        later(world, HOLD_S)
    assert world.bound("a") == first


def test_a_pod_in_the_place_of_another_is_seen(world: World) -> None:
    """Although the node is taken as before."""
    for at, name in enumerate(("first", "second")):
        world.foreign(name, "n0", 4, heeds=False)
        bound_at(world, name, at)
    mirror = Lagging(world)
    overcommits = Overcommits(mirror, lambda: world.now)
    assert [found.pod for found in overcommits.look()] == [f"{NAMESPACE}/second"]
    del world.objects[PODS][NAMESPACE, "second"]
    world.foreign("third", "n0", 4, heeds=False)
    bound_at(world, "third", 2)
    mirror.catch_up()
    assert [found.pod for found in overcommits.look()] == [f"{NAMESPACE}/third"]


def test_a_node_is_left_alone_for_a_while_after_a_gang_went(world: World) -> None:
    """However many gangs came too many: the next one goes only when the first has had time to."""
    for name in ("one", "two", "three"):
        world.foreign(name, "n0", 4, heeds=False)
    overcommits = Overcommits(Lagging(world), lambda: world.now)
    (found,) = overcommits.look()
    assert not overcommits.is_due(found)
    later(world, HOLD_S)
    overcommits.look()
    assert overcommits.is_due(found)
    overcommits.acted(found)
    overcommits.look()
    assert not overcommits.is_due(found)
    later(world, AGAIN_S)
    assert overcommits.is_due(found)


@pytest.mark.parametrize(
    ("one", "two", "last"),
    [((1, 2), (2, 1), "b"), ((2, 1), (1, 2), "a"), ((1, 1), (1, 1), "b"), ((None, 1), (None, 2), "b")],
    ids=["bound later", "bound earlier", "alike: by name", "made later"],
)
def test_who_came_last(world: World, one: tuple[Any, int], two: tuple[Any, int], last: str) -> None:
    """By when it was bound, when it was made, and its name."""
    for name, (bound, made) in {"a": one, "b": two}.items():
        world.foreign(name, "n0", 4, heeds=False)
        world.objects[PODS][NAMESPACE, name]["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{made:02}Z"
        if bound is not None:
            bound_at(world, name, bound)
    (found,) = look(world)
    assert found.pod == f"{NAMESPACE}/{last}"


def test_pods_that_have_ended_or_are_leaving_count_nothing(world: World) -> None:
    """What is about to be free is not given away twice."""
    world.foreign("a", "n0", 4)
    world.foreign("b", "n0", 4, heeds=False)
    world.objects[PODS][NAMESPACE, "a"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert look(world) == []


@pytest.mark.parametrize(("allocatable", "capacity"), [("3", "4"), ("0", "4"), ("0", "0")])
def test_devices_that_fail_were_not_given_away_twice(world: World, allocatable: str, capacity: str) -> None:
    """The pods came when they were there."""
    world.foreign("a", "n0", 4)
    amounts = world.objects[NODES]["", "n0"]["status"]
    amounts["allocatable"] = {**amounts["allocatable"], "nvidia.com/gpu": allocatable}
    amounts["capacity"] = {**amounts["capacity"], "nvidia.com/gpu": capacity}
    assert look(world) == []


def test_pods_are_counted_too(world: World) -> None:
    """A node takes only so many."""
    amounts = world.objects[NODES]["", "n0"]["status"]
    amounts["allocatable"] = {**amounts["allocatable"], "pods": "1"}
    world.foreign("a", "n0", 1)
    world.foreign("b", "n0", 1)
    (found,) = look(world)
    assert (found.resource, found.taken, found.room) == ("pods", 2, 1)


def test_the_metric_counts_nodes() -> None:
    """As many as there are now."""
    metrics = Metrics()
    metrics.overcommitted(3)
    assert b"huddle_controller_overcommitted_nodes 3.0" in metrics.page()
