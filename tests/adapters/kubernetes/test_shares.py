"""Shares of GPUs: how many devices each counts for, and which pod a shared device is counted for."""

import random
from typing import Any

import pytest

from adapters.kubernetes.objects import Document
from adapters.kubernetes.running import read_pods
from adapters.kubernetes.shares import SHARE_RESOURCES, Share, SharedDevices, charged, read_share
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources

GROUP = "runai-gpu-group"


def pod(name: str = "p", node: str = "n1", **more: Any) -> Document:
    """A running pod. more: requests, labels, annotations."""
    requests = more.pop("requests", {})
    return Document(
        {
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "a", **more},
            "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": requests}}]},
            "status": {"phase": "Running"},
        },
        "in.yaml",
    )


def gpus(*pods: Document) -> dict[str, int]:
    """Thousandths of GPUs that each pod holds, by name."""
    found = read_pods(pods, {"n1", "n2"})
    return {each.name.partition("/")[2]: each.requests["gpu"] for each in found.bound}


def half(name: str, *groups: str, node: str = "n1", **annotations: str) -> Document:
    """A pod with half a GPU of each of its groups."""
    labels = {GROUP: groups[0]} if len(groups) == 1 else {f"{GROUP}/{group}": group for group in groups}
    return pod(name, node, labels=labels, annotations={"gpu-fraction": "0.5", **annotations})


@pytest.mark.parametrize(
    ("annotations", "devices"),
    [
        ({}, 0),
        ({"gpu-fraction": "0.5"}, 1),
        ({"gpu-memory": "500"}, 1),
        ({"gpu-fraction": "nonsense"}, 1),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "3"}, 3),
        ({"gpu-memory": "500", "gpu-fraction-num-devices": "2"}, 2),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "0"}, 1),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "-2"}, 1),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "9999999"}, 1),
        ({"run.ai/mig-1g.5gb": "1"}, 1),
    ],
)
def test_annotations(annotations: dict[str, str], devices: int) -> None:
    """A share counts as whole devices where it is not known which; numbers that make no sense count as one."""
    assert gpus(pod(annotations=annotations)) == {"p": 1000 * devices}


@pytest.mark.parametrize(
    ("requests", "amount"),
    [
        ({"nvidia.com/gpumem": "3000"}, 1000),
        ({"nvidia.com/gpumem": "3000", "nvidia.com/gpucores": "30"}, 1000),
        ({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3000"}, 1000),
        ({"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3000"}, 2000),
        ({"volcano.sh/vgpu-number": "2", "volcano.sh/vgpu-memory": "1024"}, 2000),
        ({"koordinator.sh/gpu-core": "50"}, 1000),
        ({"koordinator.sh/gpu-core": "250"}, 3000),
        ({"aliyun.com/gpu-mem": "8"}, 1000),
        ({"cpu": "1"}, 0),
        ({"nvidia.com/mig-1g.5gb": "1"}, 0),
    ],
)
def test_resources(requests: dict[str, str], amount: int) -> None:
    """Shares by resource count whole too, unless the pod asks for whole devices beside."""
    assert gpus(pod(requests=requests)) == {"p": amount}


def test_mig_devices_that_are_requested_count_as_themselves() -> None:
    """An annotation beside the request adds nothing."""
    found = pod(requests={"nvidia.com/mig-1g.5gb": "1"}, annotations={"run.ai/mig-profile": "1g.5gb"})
    assert gpus(found) == {"p": 0}


def test_pods_of_one_group_share_one_device() -> None:
    """On one node; on another node the group is another device, and without a group nobody knows."""
    pods = [half("p", "d"), half("q", "d"), half("r", "d", node="n2"), half("s"), half("t", "e")]
    assert gpus(*pods) == {"p": 1000, "q": 0, "r": 1000, "s": 1000, "t": 1000}


def test_a_pod_may_share_several_devices() -> None:
    """Those it names count once for all, what it does not name whole."""
    one = half("p", "d", "e", **{"gpu-fraction-num-devices": "3"})
    assert gpus(one, half("q", "d"), half("r", "e")) == {"p": 3000, "q": 0, "r": 0}


def test_a_reservation_pod_holds_the_device() -> None:
    """It asks for it whole, so nobody else counts for it, and nobody is told of its label."""
    held = pod("z", labels={GROUP: "d"}, requests={"nvidia.com/gpu": "1"})
    assert gpus(half("p", "d"), half("q", "d"), held) == {"p": 0, "q": 0, "z": 1000}
    assert read_pods([held], {"n1"}).notices == ()


def test_a_group_alone_is_a_share() -> None:
    """The label is set on pods that share a device."""
    assert gpus(pod(labels={GROUP: "d"})) == {"p": 1000}


def test_too_few_devices_for_all_groups_hold_none_of_them() -> None:
    """What is not sure is counted twice rather than not at all."""
    held = pod("z", labels={f"{GROUP}/d": "d", f"{GROUP}/e": "e"}, requests={"nvidia.com/gpu": "1"})
    assert gpus(held) == {"z": 3000}


@pytest.mark.parametrize(
    ("found", "field", "message"),
    [
        (half("p"), "metadata.annotations[gpu-fraction]", "counted as a whole one: which one is not known"),
        (half("p", "d"), "metadata.annotations[gpu-fraction]", "taken whole, once for group d"),
        (pod(requests={"nvidia.com/gpumem": "1"}), "spec.containers: nvidia.com/gpumem", "which one is not known"),
        (
            pod(requests={"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1"}),
            "spec.containers: nvidia.com/gpumem",
            "counted as the whole GPUs that it asks for",
        ),
        (half("p", **{"gpu-fraction-num-devices": "2"}), "metadata.annotations[gpu-fraction]", "as 2 whole ones"),
    ],
)
def test_notices(found: Document, field: str, message: str) -> None:
    """Every share is said, with what says so and what it is taken for."""
    (notice,) = read_pods([found], {"n1"}).notices
    assert (notice.code, notice.object, notice.field) == ("gpu_share_counted", "Pod a/p", field)
    assert message in notice.message


def test_shares_whose_resource_is_a_device_of_the_table() -> None:
    """Any amount of memory is on one device; counts and percents are as many devices as they come to."""
    for name, whole in SHARE_RESOURCES.items():
        share = read_share(pod(), Resources.of({name: 200}))
        assert share is not None
        assert share.others == (1 if whole is None else -(-200 // whole))


def test_charging_adds_devices() -> None:
    """To what the pod asks for; none change nothing."""
    bound = BoundPod("a/p", "n1", Resources.of({"gpu": 1000, "cpu": 1}))
    assert charged(bound, 0) is bound
    assert dict(charged(bound, 2).requests) == {"gpu": 3000, "cpu": 1}


@pytest.mark.parametrize("seed", range(50))
def test_shared_devices_do_not_depend_on_the_order(seed: int) -> None:
    """Whatever came and went before, the devices are those of who is there; who else may count differently is told."""
    rng = random.Random(seed)
    shared, there, counted = SharedDevices(), dict[str, tuple[str, Share]](), dict[str, int]()
    for _ in range(60):
        key, node = rng.choice("abcde"), rng.choice(("n1", "n2"))
        groups = frozenset(rng.sample(("d", "e", "f"), rng.randint(0, 2)))
        share = Share("x", groups, rng.randint(0, 1), rng.random() < 0.3) if rng.random() < 0.7 else None
        touched = shared.set(key, node, share)
        there.pop(key, None)
        if share is not None:
            there[key] = node, share
        counted |= {other: shared.devices(other) for other in (key, *touched)}
        fresh = SharedDevices()
        for other in sorted(there, reverse=True):
            fresh.set(other, *there[other])
        assert {other: counted.get(other, 0) for other in "abcde"} == {other: fresh.devices(other) for other in "abcde"}
        places = {(node, group) for node, each in there.values() for group in each.groups}
        held = {(node, group) for node, each in there.values() for group in each.groups if each.holds}
        others = sum(each.others for _, each in there.values())
        assert sum(counted.values()) == len(places - held) + others
