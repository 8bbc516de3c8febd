"""What is kept of objects, what is shared, what is not what it should be, and the collector that rests meanwhile."""

import gc
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import msgspec
import pytest

from adapters.kubernetes import decoding
from adapters.kubernetes.amounts import held_requests, pod_requests
from adapters.kubernetes.decoding import decoder
from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import pod_shape
from adapters.kubernetes.resources import GANGS, NODES, PODS, Resource
from adapters.kubernetes.running import bound_node, nominated_node, read_bound_pod
from adapters.manifests.members import alike, read_members
from adapters.manifests.reading import GangOptions, Reading, World

Body = dict[str, Any]


def decoded(resource: Resource, body: Body) -> Body:
    """An object as it is read from its bytes."""
    return decoder(resource).body(msgspec.json.encode(body))


def pod(name: str, gpus: str = "1") -> Body:
    """A pod with everything a pod may be full of."""
    container = {
        "name": "main",
        "image": "x",
        "args": ["--model", "x"],
        "env": [{"name": "A", "value": "b"}],
        "ports": [{"containerPort": 1, "hostPort": 1}],
        "resources": {"requests": {"nvidia.com/gpu": gpus}},
        "volumeMounts": [{"name": f"token-{name}", "mountPath": "/"}],
        "livenessProbe": {"httpGet": {"path": "/"}},
        "securityContext": {"privileged": False},
    }
    volumes = [
        {"name": f"token-{name}", "projected": {"sources": []}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "x"}, "managedFields": [{"manager": "kubelet"}]},
        "spec": {
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"zone": "a"},
            "volumes": volumes,
            "hostNetwork": True,
            "priority": 7,
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "main",
                    "containerID": f"cri://{name}",
                    "state": {"running": {"startedAt": name}},
                    "allocatedResources": {"nvidia.com/gpu": gpus},
                    "resources": {"requests": {"nvidia.com/gpu": gpus}},
                }
            ],
            "podIP": "10.0.0.1",
            "nominatedNodeName": "h",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None}],
        },
    }


def test_what_readers_see_stays() -> None:
    """Requests, unsupported constraints and notices of a pod are what they were, at the same places."""
    whole, kept = Document(pod("p"), "s"), Document(decoded(PODS, pod("p")), "s")
    assert pod_requests(kept) == pod_requests(whole)
    assert pod_shape(kept, kept.body, "") == pod_shape(whole, whole.body, "")
    assert held_requests(kept) == held_requests(whole)
    amounts = {"nvidia.com/gpu": "1"}
    assert kept.body["status"] == {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "nominatedNodeName": "h",
        "containerStatuses": [{"name": "main", "allocatedResources": amounts, "resources": {"requests": amounts}}],
    }
    (container,) = kept.body["spec"]["containers"]
    assert set(container) == {"name", "args", "env", "ports", "resources"}
    assert kept.body["spec"]["volumes"][0] == {"name": "token-p"}
    assert kept.body["spec"]["volumes"][1] == {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}}
    assert kept.body["metadata"] == {"name": "p", "labels": {"app": "x"}}


def test_equal_parts_are_one() -> None:
    """Pods of one template share their containers, whatever their mounts are called; a pod that differs does not."""
    first, second, other = (decoded(PODS, pod(*asked)) for asked in (("p",), ("q",), ("r", "2")))
    for part, field in (("spec", "containers"), ("spec", "tolerations"), ("metadata", "labels")):
        assert first[part][field] is second[part][field]
    assert first["status"]["containerStatuses"] is second["status"]["containerStatuses"]
    assert other["spec"]["containers"] is not first["spec"]["containers"]
    assert other["spec"]["containers"][0]["resources"] == {"requests": {"nvidia.com/gpu": "2"}}


def test_nodes_lose_their_images() -> None:
    """And keep what is read."""
    node = {"kind": "Node", "metadata": {"name": "n"}, "status": {"images": [{}], "allocatable": {"cpu": "1"}}}
    assert decoded(NODES, node) == {"kind": "Node", "metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1"}}}


def test_other_kinds_lose_their_managed_fields() -> None:
    """And nothing else."""
    gang = {"kind": "Gang", "metadata": {"name": "g", "managedFields": [{}], "generation": 3}, "spec": {"any": [None]}}
    assert decoded(GANGS, gang) == {"kind": "Gang", "metadata": {"name": "g", "generation": 3}, "spec": {"any": [None]}}


@pytest.mark.parametrize(
    "strange",
    [
        {"metadata": {"name": "p"}, "spec": {"containers": {"name": "main"}}},
        {"metadata": {"name": "p"}, "spec": 3, "other": 1},
        {"metadata": None},
        {"metadata": {"name": "p", "labels": None}, "spec": None, "status": None},
        {"metadata": {"name": "p"}, "spec": {"containers": None, "affinity": None, "volumes": None}},
    ],
)
def test_what_is_no_pod_stays_as_it_is(strange: Body) -> None:
    """Nulls are no trouble; of what has the wrong shape nothing is lost, and its readers say what is wrong."""
    assert decoded(PODS, strange) == strange
    page = msgspec.json.encode({"metadata": {"resourceVersion": "3"}, "items": [strange, strange]})
    assert decoder(PODS).page(page) == {"metadata": {"resourceVersion": "3"}, "items": [strange, strange]}


@pytest.mark.parametrize("items", [{}, {"items": None}, {"items": []}])
def test_empty_lists(items: Body) -> None:
    """As Go may write them."""
    page = {"metadata": {"resourceVersion": "3"}, **items}
    for resource in (PODS, NODES, GANGS):
        assert decoder(resource).page(msgspec.json.encode(page)) == page


class Asked(Mapping[str, Any]):
    """A mapping that has every field, and notes which ones somebody wants to see: by the path of the mapping."""

    def __init__(self, body: Mapping[str, Any], seen: dict[str, set[str]], path: str = "") -> None:
        self._body, self._seen, self._path = body, seen, path

    def __getitem__(self, key: str) -> Any:
        self._seen.setdefault(self._path, set()).add(key)
        return self._within(self._body[key], f"{self._path}.{key}".lstrip("."))

    def __iter__(self) -> Iterator[str]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)

    def _within(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return Asked(value, self._seen, path)
        if isinstance(value, list):
            return [self._within(each, f"{path}[]") for each in value]
        return value


def assert_all_kept(seen: Mapping[str, set[str]], kept: Mapping[str, type]) -> None:
    """Mappings of these kinds were read, and nothing in them that their kinds do not have."""
    assert set(kept) <= set(seen)
    for path, kind in kept.items():
        assert seen[path] <= set(get_type_hints(kind)), path


def test_whatever_is_read_of_a_pod_is_kept() -> None:
    """The readers of pods ask for nothing that decoding passes over."""
    body = pod("p")
    body["metadata"] |= {"namespace": "n", "uid": "u", "annotations": {}, "ownerReferences": [{"kind": "Job"}]}
    body["spec"] |= {"nodeName": "h", "initContainers": body["spec"]["containers"], "affinity": {}}
    body["spec"]["resources"] = {"requests": {"cpu": "1"}}
    body["status"]["initContainerStatuses"] = body["status"]["containerStatuses"]
    seen: dict[str, set[str]] = {}
    doc = Document(Asked(body, seen), "s")
    read_bound_pod(doc, bound_node(doc))
    nominated_node(Document(Asked({**body, "spec": {}}, seen), "s"))
    gang_key(doc.body)
    reading = Reading(doc, World((doc,)), GangOptions(ignore_unsupported=True))
    (likes,) = alike(reading, "role", read_members(reading, [doc]))
    likes.endpoint()
    reading.priority()
    kept = {
        "metadata": decoding.PodMetadata,
        "spec": decoding.PodSpec,
        "status": decoding.PodStatus,
        "status.conditions[]": decoding.ConditionFields,
        "status.containerStatuses[]": decoding.ContainerStatus,
        "status.initContainerStatuses[]": decoding.ContainerStatus,
        "spec.containers[]": decoding.Container,
        "spec.initContainers[]": decoding.Container,
        "spec.volumes[]": decoding.Volume,
    }
    assert_all_kept(seen, kept)


def test_whatever_is_read_of_a_node_is_kept() -> None:
    """The reader of nodes asks for nothing that decoding passes over."""
    seen: dict[str, set[str]] = {}
    body = {
        "metadata": {"name": "n", "labels": {}},
        "spec": {"taints": []},
        "status": {"allocatable": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    read_node(Document(Asked(body, seen), "s"))
    kept = {
        "metadata": decoding.NodeMetadata,
        "spec": decoding.NodeSpec,
        "status": decoding.NodeStatus,
        "status.conditions[]": decoding.ConditionFields,
    }
    assert_all_kept(seen, kept)


def test_pauses_overlap() -> None:
    """The collector rests until the last block has ended, whichever began first, and stays off where it was off."""
    first, second = garbage_collection_paused(), garbage_collection_paused()
    assert gc.isenabled()
    with first:
        second.__enter__()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()
    gc.disable()
    with garbage_collection_paused():
        pass
    assert not gc.isenabled()
    gc.enable()
