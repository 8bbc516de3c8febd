"""`huddle controller` as a process: what it refuses to start with, how it ends, and who works when there are two."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.audit.witness import Witness
from support.controlling import QUICK, ROOT, Controlled, controlled, start_controller
from support.controlplane.api import Api
from support.controlplane.fleet import create_gpu_nodes
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.workloads import Role, Workload, is_gated

pytestmark = pytest.mark.controlplane

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/huddle-controller"


@pytest.fixture
def lease(control_plane: ControlPlane) -> Iterator[str]:
    """The path of the Lease, which is gone when the test ends."""
    yield LEASE
    control_plane.api().delete(LEASE)


def refused(kubeconfig: Path) -> str:
    """What a controller that cannot start says, in one line."""
    command = [sys.executable, "-m", "adapters.cli", "controller", "--kubeconfig", kubeconfig, "--no-leader-election"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def whole_log(controller: Controlled) -> list[str]:
    """Events of its log, which is nothing but JSON."""
    return [json.loads(line)["event"] for line in controller.daemon.log.read_text(encoding="utf-8").splitlines()]


def test_kinds_that_are_not_installed(control_plane: ControlPlane) -> None:
    """It says what is missing and how to get it."""
    line = refused(control_plane.kubeconfig())
    assert line == (
        f"huddle: {control_plane.url} does not know gangs.huddle.scheduler: kubectl apply -f deploy/install.yaml"
    )


def test_missing_rights(control_plane: ControlPlane, api: Api) -> None:
    """It says who may not do what."""
    line = refused(control_plane.kubeconfig("nobody"))
    assert 'User "nobody" cannot list resource "nodes"' in line
    assert line.endswith("the roles that a controller needs: kubectl apply -f deploy/install.yaml")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_as_told(control_plane: ControlPlane, api: Api, lease: str, tmp_path: Path, number: int) -> None:
    """Exit 0, the Lease is given back, and the log is JSON throughout."""
    controller = start_controller(control_plane.kubeconfig(), tmp_path, leader_election=True)
    try:
        controller.wait_for("leading")
        holder = api.get(lease)["spec"]["holderIdentity"]
        assert holder == controller.lines("leading")[0]["instance"]
        assert controller.page("/healthz") == (200, "ok\n")
        assert controller.page("/readyz") == (200, "ok\n")
        controller.daemon.send(signal.Signals(number))
        eventually(lambda: not controller.daemon.runs, "it ends")
    finally:
        controller.daemon.kill()
    assert controller.daemon.exit_code == 0
    assert whole_log(controller) == ["started", "synced", "leading", "ended"]
    assert api.get(lease)["spec"]["holderIdentity"] == ""


def test_the_second_waits_and_takes_over(
    control_plane: ControlPlane, api: Api, namespace: str, witness: Witness, lease: str, tmp_path: Path
) -> None:
    """It does nothing as long as the first is there, and goes on where that one was killed."""
    create_gpu_nodes(api, 2)
    files = control_plane.kubeconfig(), tmp_path, *QUICK, "--lease-duration", "3s"
    one = start_controller(*files, name="one", leader_election=True)
    try:
        one.wait_for("leading")
        with controlled(*files, name="two", leader_election=True) as two:
            two.wait_for("synced")
            first = Workload(namespace, "first", (Role("decode", 2, 4),))
            first.create(api)
            eventually(lambda: first.phase(api) == "Bound", "the first gang is bound")
            assert two.page("/readyz") == (200, "ok\n")
            assert "huddle_controller_leads 0.0" in two.page("/metrics")[1]
            assert two.lines("leading") == []
            one.daemon.kill()
            second = Workload(namespace, "second", (Role("decode", 2, 4),))
            second.create(api)
            eventually(lambda: second.phase(api) == "Bound", "the second gang is bound")
            assert len(two.lines("leading")) == 1
    finally:
        one.daemon.kill()
    assert api.get(lease)["spec"]["leaseTransitions"] == 1


def test_a_stolen_lease_stops_it(
    control_plane: ControlPlane, api: Api, namespace: str, witness: Witness, lease: str, tmp_path: Path
) -> None:
    """Nothing is let go until the thief has been silent for long enough."""
    create_gpu_nodes(api, 2)
    options = (*QUICK, "--lease-duration", "6s")
    with controlled(control_plane.kubeconfig(), tmp_path, *options, leader_election=True) as controller:
        controller.wait_for("leading")
        api.patch(lease, {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 8}})
        controller.wait_for("lease_lost")
        workload = Workload(namespace, "late", (Role("decode", 2, 4),))
        workload.create(api)
        eventually(lambda: len(controller.lines("synced")) == 2, "it waits for its turn")
        assert "huddle_controller_leads 0.0" in controller.page("/metrics")[1]
        assert all(is_gated(pod) for pod in workload.bodies(api))
        eventually(lambda: workload.phase(api) == "Bound", "it got the Lease back", 60.0)
        assert len(controller.lines("leading")) == 2


def test_only_its_namespaces(
    control_plane: ControlPlane, api: Api, namespace: str, witness: Witness, tmp_path: Path
) -> None:
    """Gangs of others are left alone."""
    create_gpu_nodes(api, 2)
    other = f"{namespace}-other"
    api.create("/api/v1/namespaces", {"metadata": {"name": other}})
    ours, theirs = (Workload(name, "same", (Role("decode", 2, 4),)) for name in (namespace, other))
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK, "--namespace", namespace):
        theirs.create(api)
        ours.create(api)
        eventually(lambda: ours.phase(api) == "Bound", "ours is bound")
        assert theirs.placement(api) == {}
        assert all(is_gated(pod) for pod in theirs.bodies(api))
