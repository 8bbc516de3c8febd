"""The extender of a real kube-scheduler: gangs come to their nodes whole, and nobody takes what is promised to them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.kubernetes.resources import GANGS
from solver.service.failpoints import POINTS, VARIABLE
from support.audit.witness import Witness
from support.controlling import QUICK, Controlled, start_controller
from support.controlplane.api import Api
from support.controlplane.definitions import install_definitions
from support.controlplane.fleet import RACK, create_gpu_nodes, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.priorities import create_priority_class
from support.controlplane.waiting import eventually
from support.extending import Call, ExtenderProxy, scheduler_config
from support.workloads import Keeper, Role, Workload
from tests.controlplane.conftest import PARTIAL_S, assert_clean

pytestmark = pytest.mark.controlplane

BIND_S = 90.0


@dataclass
class Extended:
    """A control plane whose scheduler asks a controller, through a proxy."""

    plane: ControlPlane
    api: Api
    proxy: ExtenderProxy
    folder: Path
    controller: Controlled | None = None

    def start_scheduler(self, name: str = "default-scheduler", **changes: Any) -> None:
        """Start one of this name; changes: of the extender's configuration."""
        config = {**scheduler_config(self.proxy.port, **changes), "profiles": [{"schedulerName": name}]}
        self.plane.start_scheduler(config, name=f"kube-scheduler-{name}")

    def start_controller(self, *options: str, env: Mapping[str, str] | None = None) -> Controlled:
        """Start one, and lead calls to it."""
        self.controller = start_controller(
            self.plane.kubeconfig(), self.folder, *QUICK, "--extender-listen", "127.0.0.1:0", *options, env=env
        )
        count = len(self.controller.lines("leading"))
        eventually(lambda: self.controller and len(self.controller.lines("leading")) > count, "it leads", 60.0)
        self.proxy.target = self.controller.lines("started")[-1]["extender_port"]
        return self.controller

    def stop_controller(self, kills: bool = False) -> None:
        """End it, in good order or not."""
        if self.controller is not None:
            self.proxy.target = None
            self.controller.daemon.kill() if kills else self.controller.daemon.stop()
            self.controller = None


@pytest.fixture
def extended(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Extended]:
    """Everything but scheduler and controller; in the end nothing wrong may have happened."""
    api = control_plane.api()
    install_definitions(api)
    control_plane.start_kwok()
    with ExitStack() as open_:
        proxy = open_.enter_context(ExtenderProxy())
        witness = open_.enter_context(Witness(lambda: control_plane.api_with(control_plane.token("admin"))))
        extended = Extended(control_plane, api, proxy, tmp_path)
        open_.callback(extended.stop_controller)
        yield extended
        assert_clean(witness.findings(PARTIAL_S, guarded=True))


def wait_bound(extended: Extended, workload: Workload) -> None:
    """All are bound where they were planned, and the Placement says so."""
    api = extended.api
    eventually(lambda: workload.is_bound(api), f"{workload.key} is bound", BIND_S)
    eventually(lambda: workload.phase(api) == "Bound", f"the Placement of {workload.key} says so", BIND_S)
    assert workload.bound(api) == workload.planned(api)


def is_bound(call: Call) -> bool:
    """Whether a call of bind was answered so that the pod is bound."""
    return json.loads(call.answered) == {"Error": ""}


def reasons(extended: Extended, name: str) -> set[str]:
    """What filter said so far about the nodes it refused to a pod."""
    found = set[str]()
    for call in extended.proxy.of("filter"):
        if json.loads(call.asked)["Pod"]["metadata"]["name"] == name:
            found |= set(json.loads(call.answered)["FailedAndUnresolvableNodes"].values())
    return found


@pytest.mark.parametrize("cached", [True, False], ids=["names", "whole nodes"])
def test_a_gang_is_placed_by_a_stock_scheduler(extended: Extended, namespace: str, cached: bool) -> None:
    """Both forms of the question are answered in kind, and the scheduler accepts every answer."""
    create_gpu_nodes(extended.api, 8, per_rack=4)
    extended.start_scheduler(nodeCacheCapable=cached)
    extended.start_controller()
    roles = (Role("prefill", 2, 4), Role("decode", 4, 2))
    workload = Workload(namespace, "llm", roles, {"required": RACK}, hand="extender")
    extended.api.create(GANGS.path(namespace), workload.gang())
    *most, fifth, last = workload.pods()
    extended.api.create_all(workload.pods_path, most)
    eventually(lambda: workload.reason(extended.api) == "pods_missing", "the Placement says what is missing")
    extended.api.create(workload.pods_path, fifth)
    waits = {f"gang {namespace}/llm: {there} of 6 pods exist" for there in (4, 5)}
    eventually(lambda: waits & reasons(extended, fifth["metadata"]["name"]), "filter says what is missing")
    assert workload.bound(extended.api) == {}
    extended.api.create(workload.pods_path, last)
    extended.api.create(workload.pods_path, gpu_pod("single", 1))
    wait_bound(extended, workload)
    single = f"{workload.pods_path}/single"
    eventually(lambda: extended.api.get(single)["spec"].get("nodeName"), "the single pod is bound", BIND_S)
    assert len({int(node[-3:]) // 4 for node in workload.bound(extended.api).values()}) == 1
    asked = [json.loads(call.asked) for call in extended.proxy.of("filter")]
    assert all((body["Nodes"] is None) is cached and (body["NodeNames"] is None) is not cached for body in asked)
    assert {call.status for call in extended.proxy.calls} == {200}
    bound = [json.loads(call.asked)["PodName"] for call in extended.proxy.of("bind") if is_bound(call)]
    assert {*workload.pod_names(), "single"} <= set(bound)
    assert extended.proxy.of("prioritize")
    assert extended.controller is not None
    page = extended.controller.page("/metrics")[1]
    assert 'huddle_controller_extender_seconds_count{outcome="bound",verb="bind"}' in page


def test_slow_away_and_restarted(extended: Extended, namespace: str) -> None:
    """Nothing is half placed while the extender is slow, away or killed, and the scheduler goes on afterwards."""
    api = extended.api
    create_gpu_nodes(api, 8, per_rack=4)
    extended.start_scheduler()
    extended.start_controller()
    extended.proxy.delay_s = 4.0
    slow = Workload(namespace, "slow", (Role("decode", 2, 2),), hand="extender")
    slow.create(api)
    eventually(lambda: extended.proxy.calls, "it was slow about a call", BIND_S)
    extended.proxy.delay_s = 0.0
    wait_bound(extended, slow)
    extended.stop_controller(kills=True)
    away = Workload(namespace, "away", (Role("decode", 3, 8),), hand="extender")
    away.create(api)
    single = gpu_pod("single", 1)
    api.create(away.pods_path, single)
    seen = len(extended.proxy.calls)

    def refused() -> bool:
        pod = api.get(f"{away.pods_path}/single")
        return any(each["type"] == "PodScheduled" for each in pod.get("status", {}).get("conditions", ()))

    eventually(refused, "the scheduler gave up for now", BIND_S)
    assert away.bound(api) == {}
    assert len(extended.proxy.calls) == seen
    extended.start_controller()
    wait_bound(extended, away)
    eventually(lambda: api.get(f"{away.pods_path}/single")["spec"].get("nodeName"), "the single pod is bound", BIND_S)


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("extender.")])
def test_killed_while_pods_are_let_go(extended: Extended, namespace: str, point: str) -> None:
    """One pod may go and the others may not: none is bound, and the next controller goes on from there."""
    create_gpu_nodes(extended.api, 4)
    extended.start_scheduler()
    controller = extended.start_controller(env={VARIABLE: f"{point}:2"})
    workload = Workload(namespace, "llm", (Role("decode", 3, 8),), hand="extender")
    workload.create(extended.api)
    eventually(lambda: not controller.daemon.runs, "it is killed", BIND_S)
    extended.stop_controller(kills=True)
    assert workload.bound(extended.api) == {}
    assert workload.phase(extended.api) == "Releasing"
    extended.start_controller()
    wait_bound(extended, workload)


def test_two_schedulers(extended: Extended, namespace: str) -> None:
    """Both ask at once about gangs that want the same nodes: each is placed whole, one after the other has left."""
    api, names = extended.api, ("default-scheduler", "second")
    create_gpu_nodes(api, 4, per_rack=4)
    for name in names:
        extended.start_scheduler(name)
    extended.start_controller(*(word for name in names for word in ("--extender-scheduler", name)))
    gangs = [
        Workload(namespace, f"of-{name}", (Role("decode", 3, 8),), hand="extender", scheduler=name) for name in names
    ]
    for workload in gangs:
        workload.create(api)
    eventually(lambda: any(workload.is_bound(api) for workload in gangs), "one of them is bound", BIND_S)
    first, other = sorted(gangs, key=lambda workload: not workload.is_bound(api))
    eventually(lambda: other.reason(api) == "capacity", "the other waits", BIND_S)
    assert other.bound(api) == {}
    first.delete(api)
    wait_bound(extended, other)


@pytest.mark.parametrize("cached", [True, False], ids=["names", "whole nodes"])
def test_preemption(extended: Extended, namespace: str, cached: bool) -> None:
    """A pod of no gang that pushes out another one does so as without Huddle: the scheduler accepts the victims."""
    api = extended.api
    create_gpu_nodes(api, 1)
    for name, value in (("low", 1), ("high", 1000)):
        create_priority_class(api, namespace, f"{namespace}-{name}", value)
    extended.start_scheduler(nodeCacheCapable=cached)
    extended.start_controller()
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.create(pods, gpu_pod("victim", 8, priorityClassName=f"{namespace}-low"))
    eventually(lambda: api.get(f"{pods}/victim")["spec"].get("nodeName"), "the first pod is bound", BIND_S)
    api.create(pods, gpu_pod("urgent", 8, priorityClassName=f"{namespace}-high"))
    eventually(lambda: api.get(f"{pods}/urgent")["spec"].get("nodeName"), "the urgent pod is bound", BIND_S)
    assert [pod["metadata"]["name"] for pod in api.items(pods)] == ["urgent"]
    asked = [json.loads(call.asked) for call in extended.proxy.of("preempt")]
    assert asked
    assert all((body["NodeNameToMetaVictims"] is None) is not cached for body in asked)
    assert {call.status for call in extended.proxy.calls} == {200}


def test_competition(extended: Extended, namespace: str) -> None:
    """While gangs are on their way, single pods find room elsewhere or wait."""
    compete(extended, namespace, nodes=100, gangs=10, singles=200)


@pytest.mark.soak
def test_great_competition(extended: Extended, namespace: str) -> None:
    """The same, larger."""
    extended.proxy.keeps = False
    compete(extended, namespace, nodes=500, gangs=50, singles=2000)


def compete(extended: Extended, namespace: str, nodes: int, gangs: int, singles: int) -> None:
    """Gangs and single pods come at once; every gang ends up bound, whole."""
    api = extended.api
    create_gpu_nodes(api, nodes)
    extended.start_scheduler()
    extended.start_controller()
    shapes = ((2, 4), (4, 8), (6, 2))
    found = [
        Workload(
            namespace, f"g{at:02}", (Role("decode", *shapes[at % len(shapes)]),), {"preferred": RACK}, hand="extender"
        )
        for at in range(gangs)
    ]
    share = singles // gangs
    limit_s = BIND_S * max(1, singles // 200)
    with Keeper(api, look_s=1.0) as keeper:
        for at, workload in enumerate(found):
            pods = [gpu_pod(f"single-{at}-{number}", 1 + number % 2) for number in range(share)]
            api.create_all(workload.pods_path, pods[: share // 2])
            keeper.keep(workload)
            api.create_all(workload.pods_path, pods[share // 2 :])
        for workload in found:
            eventually(lambda workload=workload: workload.is_bound(api), f"{workload.key} is bound", limit_s, 0.5)
        eventually(lambda: all_bound(api, found[0].pods_path), "every pod is bound", limit_s, 0.5)


def all_bound(api: Api, path: str) -> bool:
    """Whether every pod has a node."""
    return all(pod["spec"].get("nodeName") for pod in api.items(path))
