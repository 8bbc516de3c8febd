"""Which gangs an object is about, whatever numbers it declares."""

from typing import Any

import pytest

from adapters.kubernetes.gang_index import GangIndex
from adapters.kubernetes.gang_keys import is_replica
from adapters.kubernetes.occupancy import Store
from adapters.kubernetes.resources import LEADER_WORKER_SETS, MIRRORED, PLACEMENTS, PODS

Body = dict[str, Any]


def lws(replicas: int | None, name: str = "llm") -> Body:
    """A LeaderWorkerSet of the namespace prod."""
    return {"metadata": {"namespace": "prod", "name": name}, "spec": {} if replicas is None else {"replicas": replicas}}


def index(*replicas: int, placed: tuple[str, ...] = ()) -> GangIndex:
    """An index of a LeaderWorkerSet's pods, one of each of these replicas, and of Placements of the gangs `placed`."""
    store: Store = {resource: {} for resource in MIRRORED}
    for gang in placed:
        store[PLACEMENTS]["prod", gang] = {"metadata": {"namespace": "prod", "name": gang}, "spec": {"gang": gang}}
    found = GangIndex(store)
    for at in replicas:
        labels = {"leaderworkerset.sigs.k8s.io/name": "llm", "leaderworkerset.sigs.k8s.io/group-index": str(at)}
        body = {"metadata": {"namespace": "prod", "name": f"llm-{at}", "labels": labels}, "spec": {}}
        store[PODS]["prod", f"llm-{at}"] = body
        found.note_pod(("prod", f"llm-{at}"), None, body)
    return found


@pytest.mark.parametrize("replicas", [5, 2**31 - 1])
def test_a_set_is_about_the_replicas_that_exist(replicas: int) -> None:
    """Those with a pod or a Placement, without a step for any other, however many are declared."""
    gangs = index(0, 3, placed=("llm-4", "llm-x", "other-1")).keys_of(LEADER_WORKER_SETS, None, lws(replicas))
    assert gangs == {"prod/llm-0", "prod/llm-3", "prod/llm-4"}


def test_a_set_that_shrinks_is_about_what_it_had() -> None:
    """Replicas that are declared no more are looked at once more."""
    found = index(0, 7)
    assert found.keys_of(LEADER_WORKER_SETS, lws(9), lws(1)) == {"prod/llm-0", "prod/llm-7"}
    assert found.keys_of(LEADER_WORKER_SETS, None, lws(None)) == {"prod/llm-0"}


@pytest.mark.parametrize(
    ("key", "is_its"),
    [
        ("prod/llm-0", True),
        ("prod/llm-2", True),
        ("prod/llm-3", False),
        ("prod/llm-02", False),
        ("prod/llm-", False),
        ("prod/llm", False),
        ("prod/llm-x", False),
        ("prod/llm-1-1", False),
        ("test/llm-1", False),
        ("prod/llm-99999999999999999999", False),
    ],
)
def test_replicas_are_told_by_name(key: str, is_its: bool) -> None:
    """Namespace, name and a number below that of the replicas, written as one writes numbers."""
    assert is_replica(lws(3), key) is is_its
