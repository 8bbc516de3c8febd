"""A tenant who writes expensive Gangs all the time: gangs of others are bound as without them, and nothing hangs."""

import json
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.audit.witness import Witness
from support.controlling import QUICK, Controlled, controlled
from support.controlplane.api import Api
from support.controlplane.fleet import create_gpu_nodes, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.probing import Prober
from support.tenant import HostileTenant
from support.workloads import Role, Workload

pytestmark = pytest.mark.controlplane

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/huddle-controller"
#: Longest from the last good gang until all are bound, in seconds; generous, for machines with much else to do.
BIND_S = 240.0
#: So long the extender is asked before the tenant comes, in seconds.
QUIET_S = 10.0
#: Longest that a question may take, in seconds, generously as well: what hangs takes longer.
HANGS_S = 2.0


@dataclass(frozen=True)
class Size:
    """How much of it. seconds: the tenant writes for at least so long."""

    nodes: int
    gangs: int
    seconds: float


CI = Size(nodes=40, gangs=50, seconds=40.0)
SOAK = Size(nodes=200, gangs=400, seconds=900.0)
SIZES = [pytest.param(CI, id="ci"), pytest.param(SOAK, id="soak", marks=pytest.mark.soak)]


@pytest.mark.parametrize("size", SIZES)
def test_good_gangs_beside_hostile_ones(
    control_plane: ControlPlane, api: Api, namespace: str, witness: Witness, tmp_path: Path, size: Size
) -> None:
    """All good gangs are bound; the Lease is never lost; health and extender answer all the time."""
    create_gpu_nodes(api, size.nodes)
    hostile = f"hostile-{uuid.uuid4().hex[:8]}"
    api.create("/api/v1/namespaces", {"metadata": {"name": hostile}})
    options = (*QUICK, "--extender-listen", "127.0.0.1:0")  # and a Lease as long as in a cluster
    try:
        with controlled(control_plane.kubeconfig(), tmp_path, *options, leader_election=True) as controller:
            controller.wait_for("leading")
            _lived_through(control_plane, api, namespace, hostile, controller, size)
    finally:
        api.delete(LEASE)


def _lived_through(
    control_plane: ControlPlane, api: Api, namespace: str, hostile: str, controller: Controlled, size: Size
) -> None:
    transitions = api.get(LEASE)["spec"]["leaseTransitions"]
    started = controller.wait_for("started")
    question = {"Pod": {**gpu_pod("single", 1), "spec": gpu_pod("single", 1)["spec"]}, "Nodes": None}
    question["Pod"]["metadata"] |= {"namespace": namespace, "uid": "single"}
    question["NodeNames"] = [node["metadata"]["name"] for node in api.items("/api/v1/nodes")]
    asked = json.dumps(question).encode()
    health = Prober(f"http://127.0.0.1:{started['port']}/healthz")
    extender = Prober(f"http://127.0.0.1:{started['extender_port']}/filter", asked)
    own = control_plane.api_with(control_plane.token("admin"))
    began = time.monotonic()
    quiet = Prober(f"http://127.0.0.1:{started['extender_port']}/filter", asked)
    with quiet:
        time.sleep(QUIET_S)
    with HostileTenant(own, hostile, seed=3) as tenant, health, extender:
        eventually(lambda: tenant.written >= 10, "the tenant is at it")
        good = [Workload(namespace, f"good-{at}", (Role("w", 2, 1),)) for at in range(size.gangs)]
        for workload in good:
            workload.create(api)
            time.sleep(0.2)
        created = time.monotonic()
        eventually(lambda: _unbound(api, namespace) == 0, "all good gangs are bound", BIND_S, 0.5)
        took_s = time.monotonic() - created
        while time.monotonic() < began + size.seconds:
            time.sleep(0.2)
    page = controller.page("/metrics")[1]
    refused = sum(tenant.refused.values())
    print(f"tenant: {tenant.written} gangs, {tenant.pods} pods, {refused} writes refused")
    print(f"{size.gangs} good gangs bound {took_s:.1f} s after the last; {_lags(page)}")
    for name, prober in (("healthz", health), ("filter", extender), ("filter before the tenant", quiet)):
        print(f"{name}: {len(prober.took_s)} answers, p50 {prober.share(0.5):.4f} p99 {prober.share(0.99):.4f} s")
    assert health.bad == []
    assert extender.bad == []
    assert health.share(0.99) < HANGS_S
    assert extender.share(0.99) < HANGS_S
    assert controller.lines("lease_lost") == []
    assert len(controller.lines("leading")) == 1
    assert api.get(LEASE)["spec"]["leaseTransitions"] == transitions
    own.close()


def _unbound(api: Api, namespace: str) -> int:
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods")
    return sum(not pod["spec"].get("nodeName") for pod in pods)


def _lags(page: str) -> dict[str, str]:
    return dict(re.findall(r'loop_lag_seconds\{loop="(\w+)"\} (\S+)', page))
