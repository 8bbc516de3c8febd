"""The checker counts nominated room by itself: for whom, of what, and in which term."""

from dataclasses import replace

import pytest

from support import oracle
from support.builders import apart, bound, cluster, constraints, gang, node, queue, role
from tests.unit.verify.verifying import broken, verdict

WAITING = replace(gang(role("w", 1, 2)), priority=3)


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (bound("x", "a", 3, nominated=3), ["capacity"]),
        (bound("x", "a", 3, nominated=4), ["capacity"]),
        (bound("x", "a", 3, nominated=2), []),
        (bound("x", "a", 2, nominated=3), []),
        (bound("x", "b", 3, nominated=3), []),
        (bound("w-0", "a", 3, nominated=3), []),
        (bound("x", "a", 3, gang="default/llama", nominated=3), []),
        (bound("x", "a", nominated=3, repels=[apart("kubernetes.io/hostname")]), ["eligible"]),
        (bound("x", "a", nominated=2, repels=[apart("kubernetes.io/hostname")]), []),
    ],
)
def test_rules(pod: object, found: list[str]) -> None:
    """A plan on the node of a nominated pod breaks the rules that it would break if the pod were bound there."""
    snapshot = cluster(node("a", 4), node("b", 4), pods=[pod])  # type: ignore[list-item]
    assert broken(snapshot, WAITING, "w-0@a") == found
    assert oracle.allowed(snapshot, WAITING, {"default/w-0": "a"}) == found


def test_own_anti_affinity_counts_it_too() -> None:
    """Against the labels of a pod that is only nominated."""
    where = constraints(anti_affinity=[apart("kubernetes.io/hostname", app="db")])
    waiting = gang(role("w", 1, 2, where=where))
    for priority, found in ((0, ["eligible"]), (-1, [])):
        snapshot = cluster(node("a", 4), pods=[bound("x", "a", nominated=priority, app="db")])
        assert broken(snapshot, waiting, "w-0@a") == found


def test_queues_do_not() -> None:
    """What a pod only waits for is nothing that its queue holds."""
    pods = [bound("x", "a", 2, queue="team", nominated=9)]
    snapshot = cluster(node("a", 8), pods=pods, queues=[queue("team", gpu=2000)])
    assert broken(snapshot, replace(WAITING, queue="team"), "w-0@a") == []


@pytest.mark.parametrize(("priority", "left"), [(2, 6), (3, 3)])
def test_fragmentation(priority: int, left: int) -> None:
    """GPUs that are spoken for are not wholly free."""
    snapshot = cluster(node("a", 8), pods=[bound("x", "a", 3, nominated=priority)])
    assert verdict(snapshot, WAITING, "w-0@a").objective["fragmentation"] == left
    assert oracle.terms_of(snapshot, WAITING, {"default/w-0": "a"})["fragmentation"] == left


def test_a_promised_place_is_not_counted_twice() -> None:
    """The seat of a pod that is nominated as well is its only one."""
    promised = replace(bound("x", "a", 2), uid="promise/x")
    snapshot = cluster(node("a", 4), pods=[bound("x", "a", 2, nominated=9), promised])
    assert broken(snapshot, WAITING, "w-0@a") == []
