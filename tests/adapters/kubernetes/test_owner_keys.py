"""Pods by gang: by the name they carry, else by their owner."""

from typing import Any

import pytest

from adapters.kubernetes.gang_index import GangIndex
from adapters.kubernetes.gang_keys import gang_key, is_held, owner_key, split_owner_key
from adapters.kubernetes.placement_objects import placement_name
from adapters.kubernetes.resources import DEPLOYMENTS, MIRRORED, PLACEMENTS, PODS, Resource

Body = dict[str, Any]
GATED = {"schedulingGates": [{"name": "huddle.scheduler/gang"}]}


def pod(name: str = "p", owner: str = "", labels: Body | None = None, **spec: Any) -> Body:
    """A pod of ns. owner: API version, kind and name of its controller."""
    metadata: Body = {"namespace": "ns", "name": name, "labels": labels or {}}
    if owner:
        version, kind, named = owner.split(" ")
        metadata["ownerReferences"] = [{"apiVersion": version, "kind": kind, "name": named, "controller": True}]
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("owner", "labels", "key"),
    [
        ("apps/v1 ReplicaSet web-7d9", {"pod-template-hash": "7d9"}, "ns/deployment.apps:web"),
        ("apps/v1 ReplicaSet web-7d9", {}, "ns/replicaset.apps:web-7d9"),
        ("apps/v1 StatefulSet web", {}, "ns/statefulset.apps:web"),
        ("batch/v1 Job web", {}, "ns/job.batch:web"),
        ("batch/v1 Job web-a-0", {"jobset.sigs.k8s.io/jobset-name": "web"}, "ns/jobset.jobset.x-k8s.io:web"),
        ("batch.volcano.sh/v1alpha1 Job web", {}, "ns/job.batch.volcano.sh:web"),
        ("ray.io/v1 RayCluster web", {}, "ns/raycluster.ray.io:web"),
        ("v1 ReplicationController web", {}, "ns/replicationcontroller:web"),
        ("apps/v1 DaemonSet web", {}, ""),
        ("v1 Node n", {}, ""),
        ("", {}, "ns/pod:p"),
    ],
)
def test_key_of_an_owner(owner: str, labels: Body, key: str) -> None:
    """It tells kind, API group and name of the topmost controller that the pod itself tells of."""
    assert owner_key(pod(owner=owner, labels=labels)) == key


def test_keys_of_long_names_are_cut() -> None:
    """Two long names that begin alike have different keys, which fit into a Placement."""
    one, other = (owner_key(pod(owner=f"apps/v1 StatefulSet {'a' * 240}{end}")) for end in "xy")
    assert one != other
    assert max(map(len, (one, other))) < 253


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"huddle.scheduler/gang": "llm"}},
        {"annotations": {"pod-group-name": "other/llm"}},
        {"annotations": {"scheduling.k8s.io/group-name": "other/llm"}},
        {"labels": {"nvidia.com/dynamo-component": "w", "nvidia.com/dynamo-namespace": "other-llm"}},
        {"labels": {"leaderworkerset.sigs.k8s.io/name": "llm", "leaderworkerset.sigs.k8s.io/group-index": "0"}},
    ],
)
def test_names_join_nothing_of_another_namespace(metadata: Body) -> None:
    """Whatever a pod says its gang is called: it is one of the pod's own namespace, which has no slash in its name."""
    key = gang_key({"metadata": {"namespace": "ns", "name": "p", **metadata}, "spec": {}})
    assert key.partition("/")[0] == "ns"
    assert key.endswith(("llm", "llm-0"))


def test_only_keys_of_owners_are_split() -> None:
    """Names of gangs have no colon."""
    assert split_owner_key("ns/job.batch:x") == ("job.batch", "x")
    assert split_owner_key("ns/x") is None


@pytest.mark.parametrize(
    ("spec", "phase", "held"),
    [
        (GATED, "Pending", True),
        ({"schedulerName": "huddle"}, "Pending", True),
        ({"schedulerName": "huddle", "nodeName": "n"}, "Running", False),
        ({"schedulerName": "huddle"}, "Failed", False),
        ({"schedulingGates": [{"name": "other"}]}, "Pending", False),
        ({}, "Pending", False),
    ],
)
def test_who_waits_for_huddle(spec: Body, phase: str, held: bool) -> None:
    """Those with its gate or its scheduler name, until they are bound or have ended."""
    assert is_held({**pod(**spec), "status": {"phase": phase}}) is held


class Known:
    """An index and the objects it is about."""

    def __init__(self) -> None:
        self.store: dict[Resource, dict[tuple[str, str], Body]] = {resource: {} for resource in MIRRORED}
        self.index = GangIndex(self.store)

    def put(self, body: Body) -> set[str]:
        """A pod is like this now; the gangs that may have changed."""
        key = "ns", body["metadata"]["name"]
        before = self.store[PODS].get(key)
        self.store[PODS][key] = body
        self.index.note_pod(key, before, body)
        return self.index.keys_of(PODS, before, body)

    def drop(self, name: str) -> set[str]:
        """A pod goes."""
        before = self.store[PODS].pop(("ns", name))
        self.index.note_pod(("ns", name), before, None)
        return self.index.keys_of(PODS, before, None)


OWNER, KEY = "apps/v1 ReplicaSet web-7d9", "ns/deployment.apps:web"
HASH = {"pod-template-hash": "7d9"}


def test_workloads_of_others_are_no_gangs() -> None:
    """Without a pod that waits for Huddle, neither pods nor the workload itself are about a gang."""
    known = Known()
    assert known.put(pod("a", OWNER, HASH, nodeName="n")) == set()
    assert known.index.keys() == frozenset()
    workload = {"metadata": {"namespace": "ns", "name": "web"}}
    assert known.index.keys_of(DEPLOYMENTS, None, workload) == set()


def test_a_gated_pod_makes_its_workload_a_gang() -> None:
    """From then on all its pods are members, those that run too, and a notice follows when the last one has gone."""
    known = Known()
    running = pod("a", OWNER, HASH, nodeName="n")
    known.put(running)
    assert known.put(pod("b", OWNER, HASH, **GATED)) == {KEY}
    assert known.index.keys() == {KEY}
    assert [body["metadata"]["name"] for body in known.index.pods_of(KEY)] == ["a", "b"]
    assert known.index.gang_of(running) == KEY
    assert known.index.keys_of(DEPLOYMENTS, None, {"metadata": {"namespace": "ns", "name": "web"}}) == {KEY}
    assert known.drop("b") == {KEY}
    assert known.index.keys() == frozenset()


def test_a_placement_keeps_the_gang() -> None:
    """Once it is placed, its pods are members though none waits any more."""
    known = Known()
    known.put(pod("a", OWNER, HASH, nodeName="n"))
    known.store[PLACEMENTS]["ns", placement_name(KEY)] = {
        "metadata": {"namespace": "ns", "name": placement_name(KEY)},
        "spec": {"gang": KEY.partition("/")[2]},
    }
    assert known.index.keys() == {KEY}
    assert known.put(pod("a", OWNER, HASH, nodeName="m")) == {KEY}


def test_a_name_counts_before_an_owner() -> None:
    """A pod that names a gang is in that, and not in its owner's."""
    known = Known()
    assert known.put(pod("a", OWNER, {"huddle.scheduler/gang": "web"}, **GATED)) == {"ns/web"}
    assert known.index.keys() == {"ns/web"}
    assert known.index.pods_of(KEY) == ()
