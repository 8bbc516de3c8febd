"""Two schedulers on one cluster: what each sees of the other's promises, and nodes given away twice are repaired."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.audit.overcommitted import overcommitted
from support.audit.witness import Witness
from support.controlling import QUICK, controlled
from support.controlplane.api import Api, Refused
from support.controlplane.fleet import GATE, create_gpu_nodes, gpu_node, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.extending import CONFIG
from support.workloads import Keeper, Role, Workload, events

pytestmark = pytest.mark.controlplane

UNINSTALL = Path(__file__).parents[2] / "deploy" / "UNINSTALL.md"
#: Longest that a node may stay given away twice, in seconds.
REPAIRED_S = 5.0


@pytest.fixture
def watching(control_plane: ControlPlane, api: Api) -> Iterator[Witness]:
    """Keeps what is seen, and judges nothing."""
    with Witness(lambda: control_plane.api_with(control_plane.token("admin"))) as witness:
        yield witness


def pod_of(api: Api, pods: str, name: str) -> tuple[str, str]:
    """Where a pod is bound, and what its scheduler says of it."""
    pod = api.get(f"{pods}/{name}")
    conditions = pod.get("status", {}).get("conditions") or ()
    reasons = [each.get("reason", "") for each in conditions if each["type"] == "PodScheduled"]
    return pod["spec"].get("nodeName", ""), "".join(reasons)


def test_kube_scheduler_keeps_room_for_gated_pods_that_are_nominated(api: Api, namespace: str) -> None:
    """The node named in the status of a gated pod is kept free for it, although the gate keeps it out of the queue."""
    create_gpu_nodes(api, 2)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.create(pods, gpu_pod("gated", 8, gated=True))
    api.patch(f"{pods}/gated/status", {"status": {"nominatedNodeName": "gpu-000"}})
    api.create(pods, gpu_pod("marker", 0))  # what is bound after this one has been scheduled with that in mind
    eventually(lambda: pod_of(api, pods, "marker")[0], "the scheduler is at work")
    for name in ("one", "two"):
        api.create(pods, gpu_pod(name, 8))
    eventually(
        lambda: (
            sorted(pod_of(api, pods, name) for name in ("one", "two")) == [("", "Unschedulable"), ("gpu-001", "")]
            or "Unschedulable" in "".join(pod_of(api, pods, name)[1] for name in ("one", "two"))
        ),
        "one of two pods finds no node",
    )
    assert sorted(pod_of(api, pods, name)[0] for name in ("one", "two")) == ["", "gpu-001"]


def test_a_node_with_too_much_on_it_is_left_by_the_gang_that_came_last(
    control_plane: ControlPlane, api: Api, namespace: str, watching: Witness, keeper: Keeper, tmp_path: Path
) -> None:
    """It is reported, counted and planned anew, whole, while the pod that came first stays; in time."""
    api.create("/api/v1/nodes", gpu_node("big", gpus=24))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.create(pods, gpu_pod("first", 8))
    eventually(lambda: pod_of(api, pods, "first")[0], "the other pod is bound")
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK) as controller:
        gang = Workload(namespace, "llm", (Role("decode", 2, 8),), hand="bind")
        keeper.keep(gang)
        eventually(lambda: gang.phase(api) == "Bound", "the gang is bound")
        create_gpu_nodes(api, 2)
        shrunk = {"nvidia.com/gpu": "16"}
        api.patch("/api/v1/nodes/big/status", {"status": {"capacity": shrunk, "allocatable": shrunk}})
        eventually(lambda: controller.lines("node_overcommitted"), "it is seen")
        (line, *_) = controller.lines("node_overcommitted")
        assert line["gang"] == gang.key
        eventually(lambda: len(gang.bound(api)) == 2 and gang.phase(api) == "Bound", "it is bound again", 60.0)
        eventually(lambda: list(gang.bound(api).values()).count("big") < 2, "not all of it is there", 60.0)
        told = events(api, namespace, line["pod"].partition("/")[2])
        assert any("given away twice" in note for note in told)
        assert pod_of(api, pods, "first")[0] == "big"
        gone = "huddle_controller_overcommitted_nodes 0.0"
        eventually(lambda: gone in controller.page("/metrics")[1], "none is left")


def test_plain_pods_and_gangs_at_once(
    control_plane: ControlPlane, api: Api, namespace: str, watching: Witness, keeper: Keeper, tmp_path: Path
) -> None:
    """Both schedulers bind as fast as they can; whatever is given away twice with a gang last is repaired in time."""
    create_gpu_nodes(api, 20)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK) as controller:
        gangs = [
            Workload(namespace, f"g{at}", (Role("decode", 4, 4),), hand="bind" if at % 2 else "gate") for at in range(8)
        ]

        def plain() -> None:
            with suppress(Refused):
                api.create_all(pods, [gpu_pod(f"plain-{at}", 4) for at in range(30)])

        thread = threading.Thread(target=plain)
        thread.start()
        for gang in gangs:
            keeper.keep(gang)
        thread.join()
        eventually(lambda: sum(len(gang.bound(api)) for gang in gangs) >= 4, "some gang is bound", 90.0)
        time.sleep(REPAIRED_S)  # what is measured: whether anything is left after so long
        found = overcommitted(watching.sightings())
        seen = {line["node"]: line["gang"] for line in controller.lines("node_overcommitted")}
    lasted = sorted(each.lasted_s for each in found if each.lasted_s is not None)
    left = [each.node for each in found if each.lasted_s is None]
    print(f"{len(found)} nodes were given away twice, for {lasted} s; left: {left}; seen: {seen}")
    assert set(left) <= set(seen), "each is at least told of"
    assert [node for node in left if seen[node]] == []


def test_the_shipped_configuration_starts_a_scheduler(control_plane: ControlPlane, namespace: str) -> None:
    """With the files it names, and nothing beside it: it schedules pods that the extender is not asked about."""
    api = control_plane.api()
    api.create("/api/v1/nodes", gpu_node("n"))
    folder, text = control_plane.folder, CONFIG.read_text(encoding="utf-8")
    for shipped, here in {
        "/etc/kubernetes/scheduler.conf": control_plane.kubeconfig("system:kube-scheduler"),
        "/etc/kubernetes/huddle/ca.crt": control_plane.ca,
        "/etc/kubernetes/huddle/tls.crt": folder / "server.pem",
        "/etc/kubernetes/huddle/tls.key": folder / "server.key",
    }.items():
        assert shipped in text
        text = text.replace(shipped, str(here))
    config = folder / "shipped.yaml"
    config.write_text(text, encoding="utf-8")
    control_plane.start_scheduler_from(config)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.create(pods, gpu_pod("plain", 0))
    eventually(lambda: pod_of(api, pods, "plain")[0] == "n", "it is bound", 90.0)


def test_uninstalling_leaves_no_pod_gated(control_plane: ControlPlane, namespace: str) -> None:
    """The documented patch takes Huddle's gate off wherever it stands among others, and leaves those."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    (patch,) = re.findall(r"--type=json -p '(\[.*\])'", UNINSTALL.read_text(encoding="utf-8"))
    for name, gates in {"alone": [GATE], "second": ["a.example/x", GATE, "b.example/y"]}.items():
        pod = gpu_pod(name)
        pod["spec"]["schedulingGates"] = [{"name": gate} for gate in gates]
        api.create(pods, pod)
        body = patch.replace("'\"$at\"'", str(gates.index(GATE)))
        api.patch(f"{pods}/{name}", json.loads(body), "json")
    left = {pod["metadata"]["name"]: pod["spec"].get("schedulingGates", []) for pod in api.items(pods)}
    assert left == {"alone": [], "second": [{"name": "a.example/x"}, {"name": "b.example/y"}]}
