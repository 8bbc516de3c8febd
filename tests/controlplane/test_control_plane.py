"""The control plane of the tests is a real one: it keeps objects, refuses, schedules, runs, and survives a restart."""

import time
from contextlib import closing
from itertools import islice

import pytest
from kubernetes.client import CoreV1Api

from support.controlplane.api import Api, Json, Refused
from support.controlplane.binaries import PROGRAMS
from support.controlplane.definitions import CRDS, wait_usable
from support.controlplane.fleet import GATE, GPU, HOST, RACK, ZONE, create_gpu_nodes, gpu_node, gpu_pod
from support.controlplane.leftovers import present, remove_new
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually

pytestmark = pytest.mark.controlplane

TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


def test_versions(control_plane: ControlPlane) -> None:
    """The server is of the release go.mod pins, and serves what gangs of Kubernetes itself need."""
    api = control_plane.api()
    (pinned,) = (program.version for program in PROGRAMS if program.name == "kube-apiserver")
    assert api.get("/version")["gitVersion"].split(".")[:2] == pinned.split(".")[:2]
    served = {resource["name"] for resource in api.get("/apis/scheduling.k8s.io/v1beta1")["resources"]}
    assert {"workloads", "podgroups", "podgroups/status"} <= served


def test_nodes_and_pods_round_trip(control_plane: ControlPlane, namespace: str) -> None:
    """What is written is read, with its status, by plain JSON and by the official client."""
    api = control_plane.api()
    api.create("/api/v1/nodes", gpu_node("solo", gpus=4, labels={RACK: "r1"}, taints=[TAINT]))
    node = api.get("/api/v1/nodes/solo")
    assert node["status"]["allocatable"][GPU] == "4"
    assert node["metadata"]["labels"] == {HOST: "solo", RACK: "r1"}
    assert node["spec"]["taints"] == [TAINT]
    api.create(f"/api/v1/namespaces/{namespace}/pods", gpu_pod("p", 2, gated=True, labels={"app": "x"}))
    with control_plane.client() as client:
        (pod,) = CoreV1Api(client).list_namespaced_pod(namespace, label_selector="app=x").items
    assert [gate.name for gate in pod.spec.scheduling_gates] == [GATE]
    assert pod.spec.containers[0].resources.requests[GPU] == "2"


def test_fleet(control_plane: ControlPlane) -> None:
    """Nodes fill racks, racks fill zones; the time for 100 nodes is told, not judged."""
    api, started = control_plane.api(), time.perf_counter()
    names = create_gpu_nodes(api, 100, per_rack=8, racks_per_zone=4, labels={"pool": "a"})
    print(f"100 nodes in {time.perf_counter() - started:.2f} s")
    assert len(set(names)) == 100
    labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in api.items("/api/v1/nodes")}
    assert set(labels) == set(names)
    assert labels["gpu-033"] == {HOST: "gpu-033", RACK: "rack-4", ZONE: "zone-1", "pool": "a"}


def test_rights(control_plane: ControlPlane, namespace: str) -> None:
    """A user without rights is refused, one with a grant may do just that, and so may a service account."""
    nobody, rival = control_plane.api("nobody"), control_plane.api("rival")
    with pytest.raises(Refused, match='User "nobody" cannot list resource "pods"') as refused:
        nobody.get("/api/v1/pods")
    assert refused.value.status == 403
    control_plane.grant("rival", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    eventually(lambda: _may(rival, "/api/v1/pods"), "the grant is in force")
    assert not _may(rival, "/api/v1/nodes")
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    control_plane.api().create(accounts, {"metadata": {"name": "robot"}})
    robot = control_plane.api_with(control_plane.service_account_token(namespace, "robot"))
    with pytest.raises(Refused, match=f"system:serviceaccount:{namespace}:robot"):
        robot.get("/api/v1/pods")
    robot.close()


def test_strangers_are_refused(control_plane: ControlPlane) -> None:
    """A token nobody has is no user at all."""
    stranger = control_plane.api_with("made up")
    with pytest.raises(Refused) as refused:
        stranger.get("/api/v1/nodes")
    assert refused.value.status == 401
    stranger.close()


def test_pods_are_scheduled_and_run(control_plane: ControlPlane, namespace: str) -> None:
    """kube-scheduler binds a pod to the only node with room, kwok runs it; a gated pod and one too large stay."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    create_gpu_nodes(api, 2, gpus=2)
    api.create("/api/v1/nodes", gpu_node("large", gpus=8, taints=[TAINT]))
    control_plane.start_kwok()
    control_plane.start_scheduler({"percentageOfNodesToScore": 100})
    tolerations = [{"key": GPU, "operator": "Exists"}]
    api.create(pods, gpu_pod("fits", 4, tolerations=tolerations))
    api.create(pods, gpu_pod("gated", 1, gated=True))
    api.create(pods, gpu_pod("too-large", 3))
    running = eventually(lambda: _pod_in(api, f"{pods}/fits", "Running"), "the pod runs")
    assert running["spec"]["nodeName"] == "large"
    waiting = eventually(lambda: _condition(api, f"{pods}/too-large", "PodScheduled"), "the other is judged")
    assert (waiting["status"], waiting["reason"]) == ("False", "Unschedulable")
    assert _condition(api, f"{pods}/gated", "PodScheduled")["reason"] == "SchedulingGated"
    assert "nodeName" not in api.get(f"{pods}/gated")["spec"]


def test_deleted_pods_leave_played_nodes(control_plane: ControlPlane, namespace: str) -> None:
    """A pod bound by hand runs, and with a grace period its kubelet, kwok, lets it go."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    create_gpu_nodes(api, 1)
    control_plane.start_kwok()
    api.create(pods, gpu_pod("p", 8))
    binding = {"metadata": {"name": "p"}, "target": {"apiVersion": "v1", "kind": "Node", "name": "gpu-000"}}
    api.create(f"{pods}/p/binding", binding)
    eventually(lambda: _pod_in(api, f"{pods}/p", "Running"), "the pod runs")
    api.delete(f"{pods}/p", grace_s=30)
    eventually(lambda: not api.items(pods), "the pod is gone")


def test_custom_resources(control_plane: ControlPlane, namespace: str) -> None:
    """A definition can be installed, and its objects are validated."""
    api = control_plane.api()
    wait_usable(api, api.create(CRDS, _toy_definition()))
    toys = f"/apis/tests.huddle.scheduler/v1/namespaces/{namespace}/toys"
    toy = {"apiVersion": "tests.huddle.scheduler/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"size": 3}}
    api.create(toys, toy)
    assert api.get(f"{toys}/t")["spec"] == {"size": 3}
    with pytest.raises(Refused, match="should be greater than or equal to 1"):
        api.create(toys, toy | {"metadata": {"name": "u"}, "spec": {"size": 0}})


@pytest.mark.parametrize("crash", [False, True], ids=["in good order", "crash"])
def test_restart_keeps_data(control_plane: ControlPlane, namespace: str, crash: bool) -> None:
    """After a restart the same address answers with the same objects."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    made = api.create(pods, gpu_pod("p"))
    control_plane.stop_api_server(crash)
    control_plane.start_api_server()
    assert api.get(f"{pods}/p")["metadata"]["uid"] == made["metadata"]["uid"]


def test_watch_and_forgotten_history(control_plane: ControlPlane, namespace: str) -> None:
    """A watch tells what happens after a version; once history is forgotten, that version is gone."""
    api, maps = control_plane.api(), f"/api/v1/namespaces/{namespace}/configmaps"
    since = api.get(maps)["metadata"]["resourceVersion"]
    for name in ("a", "b"):
        api.create(maps, {"metadata": {"name": name}})
    with closing(api.watch(maps, since, limit_s=30)) as told:
        events = list(islice((event for event in told if event["type"] != "BOOKMARK"), 2))
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]
    control_plane.forget_history()
    assert _resuming(api, maps, since) == 410


def test_played_pods_succeed(control_plane: ControlPlane, namespace: str) -> None:
    """A pod annotated with how long it runs succeeds by itself."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    create_gpu_nodes(api, 1)
    control_plane.start_kwok()
    pod = gpu_pod("short", nodeName="gpu-000")
    pod["metadata"]["annotations"] = {"tests.huddle.scheduler/run-for": "100ms"}
    api.create(pods, pod)
    eventually(lambda: _pod_in(api, f"{pods}/short", "Succeeded"), "the pod succeeds")


def test_nodes_join_or_stay_lost(control_plane: ControlPlane) -> None:
    """A played node that says nothing about being ready becomes so; one that is not ready is left alone."""
    api = control_plane.api()
    fresh, lost = gpu_node("fresh"), gpu_node("lost")
    del fresh["status"]["conditions"]
    lost["status"]["conditions"][0]["status"] = "False"
    api.create("/api/v1/nodes", lost)
    control_plane.start_kwok()
    api.create("/api/v1/nodes", fresh)
    ready = eventually(lambda: _condition(api, "/api/v1/nodes/fresh", "Ready"), "the node joins")
    assert (ready["status"], ready["reason"]) == ("True", "Joined")
    assert _condition(api, "/api/v1/nodes/lost", "Ready")["status"] == "False"


def test_traces_are_removed(control_plane: ControlPlane, namespace: str) -> None:
    """What was there stays; new nodes, definitions and pods, even with a finalizer, go."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    create_gpu_nodes(api, 1, prefix="old")
    before = present(api)
    create_gpu_nodes(api, 2, prefix="new")
    held = gpu_pod("held", nodeName="new-000")
    held["metadata"]["finalizers"] = ["tests.huddle.scheduler/held"]
    api.create(pods, held)
    api.create(CRDS, _toy_definition())
    assert len(present(api) - before) == 4
    remove_new(api, before)
    assert present(api) == before


def test_servers_end(control_plane: ControlPlane) -> None:
    """A server that was started for a test is gone when it is stopped."""
    kwok = control_plane.start_kwok()
    control_plane.stop_daemon(kwok)
    assert not kwok.runs
    assert "kwok" not in control_plane.daemons


def _may(api: Api, path: str) -> bool:
    """Whether a list is answered."""
    try:
        api.get(path)
    except Refused:
        return False
    return True


def _pod_in(api: Api, path: str, phase: str) -> Json | None:
    """The pod, once it is in that phase."""
    pod = api.get(path)
    return pod if pod["status"].get("phase") == phase else None


def _condition(api: Api, path: str, kind: str) -> Json:
    """One condition of an object; empty if it has none of that type."""
    conditions = api.get(path)["status"].get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _resuming(api: Api, path: str, since: str) -> int:
    """The status with which a watch from an old version is refused, or ended by its first event; 200 if neither."""
    try:
        event = next(api.watch(path, since, limit_s=30), {})
    except Refused as refused:
        return refused.status
    return int(event["object"]["code"]) if event.get("type") == "ERROR" else 200


def _toy_definition() -> Json:
    names = {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"}
    size = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": size}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "toys.tests.huddle.scheduler"},
        "spec": {
            "group": "tests.huddle.scheduler",
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
