"""A controller in a busy cluster, and under everything that can go wrong: the auditor finds nothing."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.audit.unplaced import wait_until_placed
from support.audit.witness import Witness
from support.churn import Churn
from support.controlling import QUICK, Controlled, controlled
from support.controlplane.api import Api
from support.controlplane.fleet import create_gpu_nodes
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.faults import Faults, FaultyProxy
from support.workloads import Keeper

pytestmark = pytest.mark.controlplane

#: Longest from the last change until every gang is placed that can be, in seconds: a gang that waits is planned again
#: after some time even when nothing changes.
SETTLE_S = 180.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


@dataclass(frozen=True)
class Size:
    """How much of it."""

    nodes: int
    gangs: int
    seconds: float


CI = Size(nodes=100, gangs=20, seconds=45.0)
SOAK = Size(nodes=500, gangs=100, seconds=600.0)
SIZES = [pytest.param(CI, id="ci"), pytest.param(SOAK, id="soak", marks=pytest.mark.soak)]


@pytest.fixture
def leases(control_plane: ControlPlane, api: Api) -> Iterator[None]:
    """The default namespace, and no Lease in it when the test ends."""
    yield
    for lease in api.items(LEASES):
        api.delete(f"{LEASES}/{lease['metadata']['name']}")


def settled(api: Api, churn: Churn) -> None:
    """Lost nodes are back, and every gang is placed that a joint plan can place."""
    churn.settle()
    began = time.monotonic()
    wait_until_placed(api, SETTLE_S)
    bound = sum(workload.is_bound(api) for workload in churn.alive.values())
    took_s = time.monotonic() - began
    print(f"{dict(churn.done)}; {bound} of {len(churn.alive)} gangs whole, {took_s:.0f} s after the last change")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hand", ["gate", "bind"])
def test_churn(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    keeper: Keeper,
    witness: Witness,
    tmp_path: Path,
    size: Size,
    hand: str,
) -> None:
    """Gangs come, grow and go, nodes are lost, foreign pods take GPUs."""
    create_gpu_nodes(api, size.nodes)
    churn = Churn(api, keeper, namespace, random.Random(5), size.gangs, [hand], foreign=hand == "gate")
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK):
        churn.run(size.seconds)
        settled(api, churn)


@pytest.mark.parametrize("size", SIZES)
def test_faults_of_the_api_server(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    keeper: Keeper,
    witness: Witness,
    tmp_path: Path,
    size: Size,
) -> None:
    """409, 429, 500, answers that get lost, watches that break and delays, all at once."""
    create_gpu_nodes(api, size.nodes)
    churn = Churn(api, keeper, namespace, random.Random(6), size.gangs)
    faults = Faults(busy=0.03, broken=0.05, conflict=0.05, lost=0.05, cut=0.8, slow=0.1)
    with (
        FaultyProxy(control_plane, tmp_path, faults, seed=6) as proxy,
        controlled(proxy.kubeconfig(), tmp_path, *QUICK),
    ):
        churn.run(size.seconds)
        proxy.faults = Faults()
        settled(api, churn)
        print(dict(proxy.done))
        assert all(proxy.done[fault] for fault in ("busy", "broken", "conflict", "lost", "cut", "slow"))


@pytest.mark.parametrize("size", SIZES)
def test_restarts_of_the_api_server(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    keeper: Keeper,
    witness: Witness,
    supervised: None,
    tmp_path: Path,
    size: Size,
) -> None:
    """In good order and by crash, again and again."""
    create_gpu_nodes(api, size.nodes)
    churn = Churn(api, keeper, namespace, random.Random(7), size.gangs)
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK):
        for crash in (False, True, True):
            churn.run(size.seconds / 4)
            control_plane.stop_api_server(crash)
            time.sleep(1)
            control_plane.start_api_server()
        churn.run(size.seconds / 4)
        settled(api, churn)


@pytest.mark.parametrize("size", SIZES)
def test_two_controllers(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    keeper: Keeper,
    witness: Witness,
    leases: None,
    tmp_path: Path,
    size: Size,
) -> None:
    """They take turns: the one at work is frozen until its Lease is over, then wakes up; later it is killed."""
    create_gpu_nodes(api, size.nodes)
    churn = Churn(api, keeper, namespace, random.Random(8), size.gangs)
    options = (*QUICK, "--lease-duration", "3s")
    with ExitStack() as open_:
        names = ("one", "two")
        pair = {
            name: open_.enter_context(
                controlled(control_plane.kubeconfig(), tmp_path, *options, name=name, leader_election=True)
            )
            for name in names
        }
        turns = int(size.seconds // 12)
        for _ in range(turns):
            at_work = eventually(lambda: next((name for name in names if _leads(pair[name])), None), "somebody leads")
            churn.run(3)
            pair[at_work].daemon.send(signal.SIGSTOP)
            churn.run(6)
            other = next(name for name in names if name != at_work)
            eventually(lambda other=other: _leads(pair[other]), "the other takes over")
            pair[at_work].daemon.send(signal.SIGCONT)
            churn.run(3)
            eventually(lambda at_work=at_work: not _leads(pair[at_work]), "the first knows that it is over")
        settled(api, churn)
    assert sum(len(one.lines("leading")) for one in pair.values()) > turns


def _leads(controller: Controlled) -> bool:
    status, text = controller.page("/metrics")
    return status == 200 and "huddle_controller_leads 1.0" in text
