"""`huddle controller` on a real API server, scheduler and simulated nodes: gangs come to their nodes, whole or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.kubernetes.resources import GANGS
from support.audit.witness import Witness
from support.controlling import QUICK, Controlled, controlled
from support.controlplane.api import Api
from support.controlplane.fleet import RACK, ZONE, create_gpu_nodes, gpu_node, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.workloads import Keeper, Role, Workload, events, is_gated

pytestmark = pytest.mark.controlplane

HANDS = ("gate", "bind")


@pytest.fixture
def controller(control_plane: ControlPlane, witness: Witness, tmp_path: Path) -> Iterator[Controlled]:
    """A controller at work, watched."""
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK) as controller:
        yield controller


def zoned(api: Api) -> None:
    """Three nodes: two in one zone, one in the other."""
    for name, zone in {"n0": "a", "n1": "a", "n2": "b"}.items():
        api.create("/api/v1/nodes", gpu_node(name, labels={ZONE: zone, RACK: f"r-{name}"}))


def wait_bound(api: Api, workload: Workload, limit_s: float = 60.0) -> dict[str, str]:
    """Pod → node once all are bound, to exactly the planned nodes, and the Placement says so."""
    eventually(lambda: workload.is_bound(api), f"{workload.key} is bound", limit_s)
    eventually(lambda: workload.phase(api) == "Bound", f"the Placement of {workload.key} says so", limit_s)
    bound = workload.bound(api)
    assert bound == workload.planned(api)
    return bound


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("pack", [{"preferred": ZONE}, {"required": ZONE}], ids=["preferred", "required"])
def test_three_zoned_nodes(api: Api, namespace: str, controller: Controlled, hand: str, pack: dict[str, str]) -> None:
    """A gang of both nodes of a zone lies there; one that needs more lies across, if it only prefers not to."""
    zoned(api)
    first = Workload(namespace, "first", (Role("prefill", 2, 4), Role("decode", 2, 4)), pack, hand=hand)
    first.create(api)
    assert set(wait_bound(api, first).values()) == {"n0", "n1"}
    first.delete(api)
    wide = Workload(namespace, "wide", (Role("prefill", 3, 8),), pack, hand=hand)
    wide.create(api)
    if "preferred" in pack:
        assert set(wait_bound(api, wide).values()) == {"n0", "n1", "n2"}
        return
    eventually(lambda: wide.reason(api) not in ("", "pods_missing"), "the Placement says why")
    assert wide.bound(api) == {}
    assert wide.phase(api) == "Pending"


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize(("prefill", "decode"), [(1, 1), (4, 8)], ids=["1P1D", "4P8D"])
def test_prefill_and_decode(
    api: Api, namespace: str, controller: Controlled, hand: str, prefill: int, decode: int
) -> None:
    """Every pod is pinned to the node that is planned for it and bound there, all in one rack."""
    create_gpu_nodes(api, 16, per_rack=4)
    roles = (Role("router", 1, 0), Role("prefill", prefill, 2), Role("decode", decode, 1))
    workload = Workload(namespace, "llm", roles, {"required": RACK}, hand=hand)
    workload.create(api)
    bound = wait_bound(api, workload)
    assert len({int(node[-3:]) // 4 for node in bound.values()}) == 1
    assert not any(is_gated(pod) for pod in workload.bodies(api))
    assert controller.page("/readyz") == (200, "ok\n")
    for said in ('huddle_controller_placements{phase="Bound"} 1.0', "huddle_controller_gangs_bound_total 1.0"):
        eventually(lambda said=said: said in controller.page("/metrics")[1], f"/metrics says {said}")


@pytest.mark.parametrize("hand", HANDS)
def test_a_gang_without_room(api: Api, namespace: str, controller: Controlled, hand: str) -> None:
    """No pod of it is bound, events and conditions say why, and it is placed when room appears."""
    create_gpu_nodes(api, 2)
    workload = Workload(namespace, "big", (Role("decode", 3, 8),), hand=hand)
    workload.create(api)
    eventually(lambda: workload.reason(api) == "capacity", "the Placement says why")
    status = workload.placement(api)["status"]
    assert status["phase"] == "Pending"
    (placed,) = [condition for condition in status["conditions"] if condition["type"] == "Placed"]
    assert placed["status"] == "False"
    assert placed["message"] == status["reasons"][0]["message"]
    eventually(lambda: placed["message"] in events(api, namespace, "big"), "an event tells it")
    eventually(lambda: placed["message"] == workload.condition(api).get("message"), "the Gang says it too")
    told = events(api, namespace, "big")
    assert len(told) == len(set(told)) <= 3
    assert workload.bound(api) == {}
    create_gpu_nodes(api, 1, prefix="more")
    wait_bound(api, workload)


def test_missing_pods_are_waited_for(api: Api, namespace: str, controller: Controlled) -> None:
    """Until the last one exists nothing is let go."""
    create_gpu_nodes(api, 2)
    workload = Workload(namespace, "slow", (Role("decode", 3, 2),))
    api.create(GANGS.path(namespace), workload.gang())
    *most, last = workload.pods()
    api.create_all(workload.pods_path, most)
    eventually(lambda: workload.reason(api) == "pods_missing", "the Placement says why")
    assert all(is_gated(pod) for pod in workload.bodies(api))
    api.create(workload.pods_path, last)
    wait_bound(api, workload)


def test_deletion_frees(api: Api, namespace: str, controller: Controlled) -> None:
    """Of two gangs that want everything the second waits until the first is gone."""
    create_gpu_nodes(api, 2)
    first, second = (Workload(namespace, name, (Role("decode", 2, 8),)) for name in ("first", "second"))
    first.create(api)
    wait_bound(api, first)
    second.create(api)
    eventually(lambda: second.phase(api) == "Pending", "the second waits")
    first.delete(api)
    wait_bound(api, second)


def test_scale_up_lands_next_to_what_runs(api: Api, namespace: str, controller: Controlled, keeper: Keeper) -> None:
    """New members come into the rack of the old ones, which stay where they are."""
    create_gpu_nodes(api, 8, per_rack=2)
    roles = Role("prefill", 1, 2), Role("decode", 1, 2)
    small = Workload(namespace, "grows", roles, {"preferred": RACK})
    keeper.keep(small)
    before = wait_bound(api, small)
    api.create(f"/api/v1/namespaces/{namespace}/pods", gpu_pod("foreign", 3))
    large = Workload(namespace, "grows", (roles[0], Role("decode", 4, 2)), {"preferred": RACK})
    keeper.keep(large)
    after = wait_bound(api, large)
    assert {pod: after[pod] for pod in before} == before
    assert len({int(node[-3:]) // 2 for node in after.values()}) == 1


def test_what_is_left_of_a_gang_is_given_back(api: Api, namespace: str, controller: Controlled) -> None:
    """A pod goes and nobody makes its successor: after the grace the others go too, and hold no nodes in vain."""
    create_gpu_nodes(api, 2)
    workload = Workload(namespace, "left", (Role("decode", 3, 2),))
    workload.create(api)
    wait_bound(api, workload)
    api.delete(f"{workload.pods_path}/left-decode-1")
    eventually(lambda: workload.phase(api) == "Repairing", "the Placement says that it is not whole")
    assert workload.reason(api) == "pods_missing"
    assert len(workload.bound(api)) == 2
    eventually(lambda: workload.bound(api) == {}, "the others are given back", 60.0)


def test_a_lost_node_costs_only_its_members(api: Api, namespace: str, controller: Controlled, keeper: Keeper) -> None:
    """Those that ran there run elsewhere in the required domain; the others are the pods that they were."""
    create_gpu_nodes(api, 8, per_rack=4)
    workload = Workload(namespace, "robust", (Role("decode", 3, 8),), {"required": RACK})
    keeper.keep(workload)
    before = wait_bound(api, workload)
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in workload.bodies(api)}
    lost = before["robust-decode-0"]
    api.delete(f"/api/v1/nodes/{lost}")
    eventually(lambda: lost not in workload.bound(api).values(), "its pod is gone")
    after = wait_bound(api, workload)
    assert len({int(node[-3:]) // 4 for node in after.values()}) == 1
    kept = [pod for pod in workload.bodies(api) if uids[pod["metadata"]["name"]] == pod["metadata"]["uid"]]
    assert {pod["metadata"]["name"] for pod in kept} == {pod for pod, node in before.items() if node != lost}
