"""A controller that is killed at named points, again and again, in the middle of what it does to gangs."""

import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.kubernetes.resources import GANGS, PLACEMENTS, PODS
from solver.service.failpoints import POINTS, VARIABLE
from support.audit.unplaced import wait_until_placed
from support.audit.witness import Witness
from support.churn import Churn
from support.controlling import QUICK, controlled, start_controller
from support.controlplane.api import Api
from support.controlplane.fleet import create_gpu_nodes
from support.controlplane.plane import ControlPlane
from support.workloads import GANG_LABEL, Keeper, is_gated

pytestmark = pytest.mark.controlplane

APPLY = [point for point in POINTS if point.startswith("apply.")]
#: A gang that is forgotten is gone; nothing of it can be half done.
WHOLE = "apply.forget."
#: Lives in which a point has to be hit while a gang is half done, and seconds in which it has to be hit at all.
TRIES, HIT_S = 12, 180.0
SETTLE_S = 180.0


@pytest.mark.parametrize("kills", [pytest.param(20, id="ci"), pytest.param(200, id="soak", marks=pytest.mark.soak)])
def test_kills(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    keeper: Keeper,
    witness: Witness,
    tmp_path: Path,
    kills: int,
) -> None:
    """Whoever comes next goes on from the Placements; every point was hit while a gang was half done."""
    rng = random.Random(kills)
    create_gpu_nodes(api, 40)
    churn = Churn(api, keeper, namespace, rng, gangs=10, hands=("gate", "bind"), foreign=False)
    halves, lives = Counter[str](), Counter[str]()
    while (total := lives.total()) < kills or any(not halves[point] for point in APPLY):
        point = next((point for point in APPLY if not halves[point]), None) or rng.choice(APPLY)
        # Plans of one round are written at once: who always dies with the first of them never brings a gang further.
        more = 0 if halves[point] else 2 * lives[point]
        _live_and_die(control_plane, tmp_path, churn, f"{point}:{rng.randint(1 + more, 3 + more)}")
        lives[point] += 1
        halves[point] += point.startswith(WHOLE) or is_half_done(api)
        assert total + 1 < kills + TRIES * len(APPLY), f"not hit while a gang was half done: {halves}"
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK):
        churn.settle()
        wait_until_placed(api, SETTLE_S)
    print(f"{total} kills, with a gang half done: {dict(halves)}; {dict(churn.done)}")


def _live_and_die(plane: ControlPlane, folder: Path, churn: Churn, fuse: str) -> None:
    """Start a controller and let things happen until the point kills it."""
    controller = start_controller(plane.kubeconfig(), folder, *QUICK, env={VARIABLE: fuse})
    try:
        end = time.monotonic() + HIT_S
        while controller.daemon.runs:
            assert time.monotonic() < end, f"{fuse} was not hit within {HIT_S:g} s\n{controller.daemon.tail(5)}"
            churn.step()
            time.sleep(0.15)
        assert controller.daemon.exit_code == -signal.SIGKILL, controller.daemon.tail()
    finally:
        controller.daemon.kill()


def is_half_done(api: Api) -> bool:
    """Whether some gang is on its way: planned but not all bound, or with some pods let go and others not."""
    if any(_is_under_way(placement) for placement in api.items(PLACEMENTS.path())):
        return True
    states: dict[tuple[str, str], set[bool]] = {}
    for pod in api.items(PODS.path()):
        gang = (pod["metadata"].get("labels") or {}).get(GANG_LABEL)
        if gang:
            held = not pod["spec"].get("nodeName") and (is_gated(pod) or pod["spec"]["schedulerName"] == "huddle")
            states.setdefault((pod["metadata"]["namespace"], gang), set()).add(held)
    gangs = {(gang["metadata"]["namespace"], gang["metadata"]["name"]) for gang in api.items(GANGS.path())}
    return any(len(held) == 2 for gang, held in states.items() if gang in gangs)


def _is_under_way(placement: Mapping[str, Any]) -> bool:
    status = placement.get("status") or {}
    is_reserved = placement["spec"].get("attempt", 0) > status.get("attempt", 0)
    return is_reserved or status.get("phase") not in ("Pending", "Bound", None)
