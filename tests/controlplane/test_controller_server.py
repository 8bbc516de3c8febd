"""`huddle controller --server`: another process solves; the controller places gangs, also after that one came back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.audit.witness import Witness
from support.controlling import QUICK, ROOT, Controlled, controlled
from support.controlplane.api import Api
from support.controlplane.daemon import Daemon
from support.controlplane.fleet import create_gpu_nodes
from support.controlplane.plane import ControlPlane
from support.controlplane.ports import claim_port
from support.controlplane.waiting import eventually
from support.workloads import Role, Workload

pytestmark = pytest.mark.controlplane


@contextmanager
def serving(folder: Path, port: object) -> Iterator[Daemon]:
    """`huddle serve` on this port; its log goes on where that of an earlier one ended."""
    command = [sys.executable, "-m", "adapters.cli", "serve", "--listen", f"127.0.0.1:{port}"]
    daemon = Daemon("serve", command, folder / "serve.log", {"PYTHONPATH": str(ROOT)})
    try:
        yield daemon
    finally:
        daemon.stop()


def placed(api: Api, workload: Workload) -> None:
    """Make a gang and wait until all its pods are where they are planned."""
    workload.create(api)
    eventually(lambda: workload.phase(api) == "Bound", f"{workload.key} is bound", 120.0)
    assert workload.bound(api) == workload.planned(api)


def test_a_service_that_comes_back(
    control_plane: ControlPlane, api: Api, namespace: str, witness: Witness, tmp_path: Path
) -> None:
    """It is asked and named while it is away; the gang that waits is placed by the next one, which knew nothing."""
    create_gpu_nodes(api, 4)
    first, second = (Workload(namespace, name, (Role("decode", 2, 4),)) for name in ("first", "second"))
    port = claim_port()
    options = (*QUICK, "--server", f"127.0.0.1:{port}")
    with controlled(control_plane.kubeconfig(), tmp_path, *options) as controller:
        with serving(tmp_path, port):
            placed(api, first)
        second.create(api)
        eventually(lambda: second.reason(api) == "unavailable", "the Placement says why", 60.0)
        assert f"127.0.0.1:{port}" in second.placement(api)["status"]["reasons"][0]["message"]
        assert _no_engine(controller)
        with serving(tmp_path, port):
            eventually(lambda: second.phase(api) == "Bound", "the second gang is bound", 120.0)
            assert second.bound(api) == second.planned(api)
    port.release()


def _no_engine(controller: Controlled) -> bool:
    """Whether the process has not loaded OR-Tools."""
    maps = Path(f"/proc/{controller.daemon.pid}/maps").read_text(encoding="utf-8")
    return "ortools" not in maps
