"""Changes of the pods a snapshot holds."""

import random

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.pods import BoundPod, Pods
from support.builders import apart, bound, cluster, node


def many(count: int) -> list[BoundPod]:
    """Pods with different names on one node."""
    return [BoundPod(f"default/p-{at}", "n0", uid=f"uid-{at}" if at % 2 else "") for at in range(count)]


def test_random_changes_equal_a_plain_dictionary() -> None:
    """Whatever arrives and departs, a dictionary would hold the same; earlier versions stay as they were."""
    rng = random.Random(7)
    stock = many(3000)
    held = {pod.key: pod for pod in stock[:1500]}
    pods = Pods(held.values())
    kept = []
    for _ in range(200):
        gone = rng.sample(sorted(held.values(), key=lambda pod: pod.name), rng.randint(0, 12))
        for pod in gone:
            del held[pod.key]
        added = [pod for pod in rng.sample(stock, 12) if pod.key not in held]
        held.update((pod.key, pod) for pod in added)
        pods = pods.changed(added, gone)
        kept.append((pods, dict(held)))
    for version, expected in kept:
        assert len(version) == len(expected)
        assert {pod.key: pod for pod in version} == expected
        assert all(version.get(pod.key) == expected.get(pod.key) for pod in stock)
        assert version == Pods(expected.values())


def test_a_pod_is_there_once() -> None:
    """A repeated pod is refused, whether at first or later; a successor with another uid is another pod."""
    pod, successor = BoundPod("default/p", "n0", uid="a"), BoundPod("default/p", "n0", uid="b")
    with pytest.raises(InvalidRequest, match="appears twice"):
        Pods([pod, pod])
    with pytest.raises(InvalidRequest, match="appears twice"):
        Pods([pod]).changed([pod], ())
    with pytest.raises(InvalidRequest, match="is not there"):
        Pods([pod]).changed((), [successor])
    assert set(map(id, Pods([pod]).changed([successor], ()))) == {id(pod), id(successor)}


def test_a_changed_pod_is_replaced() -> None:
    """Gone and added in one change: the later form counts."""
    before, after = BoundPod("default/p", "n0", uid="a"), BoundPod("default/p", "n0", queue="q", uid="a")
    pods = Pods([before]).changed([after], [before])
    assert list(pods) == [after]
    assert before not in pods


def test_departures_give_back_what_arrivals_took() -> None:
    """Free capacity, anti-affinity and pods are as they were; the version is not."""
    snapshot = cluster(node("n0"), node("n1"))
    pods = [bound("a", "n0", 2), bound("b", "n1", 8, repels=[apart("zone", app="x")])]
    fuller = snapshot.with_changes(pods, ())
    assert [pod.name for pod in fuller.repelling] == ["default/b"]
    emptier = fuller.with_changes((), pods)
    assert (emptier.free == snapshot.free).all()
    assert not (fuller.free == snapshot.free).all()
    assert (emptier.repelling, len(emptier.pods), emptier.version) == ((), 0, 2)
