"""What is dropped of objects, what is shared, and the collector that rests meanwhile."""

import gc
from typing import Any

from adapters.kubernetes.amounts import pod_requests
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import pod_shape
from adapters.kubernetes.slimming import slim


def pod(name: str, gpus: str = "1") -> dict[str, Any]:
    """A pod with everything a pod may be full of."""
    container = {
        "name": "main",
        "args": ["--model", "x"],
        "env": [{"name": "A", "value": "b"}],
        "ports": [{"containerPort": 1, "hostPort": 1}],
        "resources": {"requests": {"nvidia.com/gpu": gpus}},
        "volumeMounts": [{"name": "v", "mountPath": "/"}],
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
        "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}], "volumes": volumes},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main"}], "conditions": [{"type": "Ready"}]},
    }


def test_what_readers_see_stays() -> None:
    """Requests, unsupported constraints and notices of a pod are what they were, at the same places."""
    whole, slimmed = Document(pod("p"), "s"), Document(slim(pod("p")), "s")
    assert pod_requests(slimmed) == pod_requests(whole)
    assert pod_shape(slimmed, slimmed.body, "") == pod_shape(whole, whole.body, "")
    assert slimmed.body["status"] == {"phase": "Running", "conditions": [{"type": "Ready"}]}
    (container,) = slimmed.body["spec"]["containers"]
    assert set(container) == {"name", "args", "env", "ports", "resources"}
    assert slimmed.body["spec"]["volumes"][0] == {"name": "token-p"}
    assert "managedFields" not in slimmed.body["metadata"]


def test_equal_parts_are_one() -> None:
    """Pods of one template share their containers; a pod that differs does not."""
    first, second, other = slim(pod("p")), slim(pod("q")), slim(pod("r", "2"))
    for part, field in (("spec", "containers"), ("spec", "tolerations"), ("metadata", "labels")):
        assert first[part][field] is second[part][field]
    assert other["spec"]["containers"] is not first["spec"]["containers"]
    assert other["spec"]["containers"][0]["resources"] == {"requests": {"nvidia.com/gpu": "2"}}


def test_nodes_lose_their_images() -> None:
    """And keep what is read."""
    node = {"kind": "Node", "metadata": {"name": "n"}, "status": {"images": [{}], "allocatable": {"cpu": "1"}}}
    assert slim(node) == {"kind": "Node", "metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1"}}}


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
