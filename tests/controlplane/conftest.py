"""Huddle on the control plane: its kinds, simulated nodes, a scheduler, who keeps pods coming, and the auditor."""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from adapters.kubernetes.resources import PODS
from deploy.render import objects
from support.audit.judge import Findings
from support.audit.sightings import story
from support.audit.witness import Witness
from support.controlplane.api import Api
from support.controlplane.definitions import install_definitions, wait_served
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import TooLate, eventually
from support.installing import ACCOUNT, SYSTEM, apply, lease, status
from support.workloads import Keeper

SCHEDULER = {"percentageOfNodesToScore": 100}
#: Longest that a gang may be partial in these tests, in seconds: the grace of the controllers, and giving it back.
PARTIAL_S = 40.0


@pytest.fixture
def api(control_plane: ControlPlane) -> Api:
    """Calls as admin, with Huddle's kinds installed, kwok and a scheduler at work."""
    api = control_plane.api()
    install_definitions(api)
    control_plane.start_kwok()
    control_plane.start_scheduler(SCHEDULER)
    return api


@pytest.fixture
def supervised(control_plane: ControlPlane, api: Api) -> Iterator[None]:
    """A scheduler that ends is started again, as a kubelet would.

    kube-scheduler ends itself when, after it lost its watch, it finds that a pod of a name it knows is another one on
    another node.
    """
    ends = threading.Event()
    thread = threading.Thread(target=_supervise, args=(control_plane, ends), name="supervisor", daemon=True)
    thread.start()
    yield
    ends.set()
    thread.join(60)


def _supervise(plane: ControlPlane, ends: threading.Event) -> None:
    while not ends.wait(0.5):
        daemon = plane.daemons["kube-scheduler"]
        if not daemon.runs:
            print(f"kube-scheduler ended: {daemon.tail(1)}")
            plane.stop_daemon(daemon)
            with suppress(TooLate):
                plane.start_scheduler(SCHEDULER)


@pytest.fixture
def keeper(control_plane: ControlPlane, api: Api) -> Iterator[Keeper]:
    """Who makes successors of pods that went."""
    own = control_plane.api_with(control_plane.token("admin"))
    with Keeper(own) as keeper:
        yield keeper
    own.close()


@pytest.fixture
def witness(control_plane: ControlPlane, api: Api) -> Iterator[Witness]:
    """Watches; in the end nothing wrong may have happened."""
    with Witness(lambda: control_plane.api_with(control_plane.token("admin"))) as witness:
        yield witness
        found = witness.findings(PARTIAL_S)
        for subject in dict.fromkeys(violation.subject for violation in found.violations):
            print(*story(witness.sightings(), subject), sep="\n")
        assert_clean(found)


def assert_clean(found: Findings) -> None:
    """No rule was broken; what was seen is told."""
    print(
        f"audited {found.versions} versions and {found.bindings} bindings; "
        f"partial for {found.partial_s:.1f} s at most, {found.most_partial} gangs at once at most"
    )
    assert found.violations == (), "\n".join(map(str, found.violations))


@pytest.fixture
def installed(control_plane: ControlPlane) -> Api:
    """Calls as admin, with everything installed."""
    api = control_plane.api()
    for body in objects():
        apply(api, body)
    wait_served(api)
    return api


@pytest.fixture
def token(control_plane: ControlPlane, installed: Api) -> str:
    """That of the controller's account."""
    return control_plane.service_account_token(SYSTEM, ACCOUNT)


@pytest.fixture
def account(control_plane: ControlPlane, token: str) -> Iterator[Api]:
    """Calls as the controller's account, once its rights are in force."""
    api = control_plane.api_with(token)
    eventually(lambda: status(api, "GET", PODS.path()) == 200, "the rights are in force")
    eventually(lambda: status(api, "GET", lease()) != 403, "the rights in its namespace are in force")
    yield api
    api.close()
