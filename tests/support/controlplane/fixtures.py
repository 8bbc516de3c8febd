"""The control plane and its tools as pytest fixtures, for every folder of tests.

Each test process starts one control plane when its first test asks, and ends it with the session. Without the programs
these tests are skipped in one line; HUDDLE_REQUIRE_CONTROL_PLANE=1 makes that a failure.
"""

import os
import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.controlplane.binaries import HOW_TO_GET, Missing, find

if TYPE_CHECKING:
    from support.controlplane.plane import ControlPlane

REQUIRE = "HUDDLE_REQUIRE_CONTROL_PLANE"
#: The programs behind a fixture.
NEEDS = {
    "grpcurl": ("grpcurl",),
    "ghz": ("ghz",),
    "buf": ("buf",),
    "kustomize": ("kustomize",),
    "goclient": ("goclient",),
    "shared_control_plane": ("etcd", "kube-apiserver", "kube-scheduler", "kwok"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what needs a program of `make control-plane`, so that `-m "not controlplane"` is everything else."""
    for item in items:
        if not NEEDS.keys().isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.controlplane)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, what needs a program that is not there: from one place, hence in one line of the report."""
    missing = _missing(getattr(item, "fixturenames", []))
    if missing and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{missing} ({REQUIRE} is set)", pytrace=False)
    if missing:
        pytest.skip(f"the control plane is not built: {HOW_TO_GET}")


@pytest.fixture(scope="session")
def grpcurl() -> Path:
    """The program grpcurl."""
    return find("grpcurl")


@pytest.fixture(scope="session")
def ghz() -> Path:
    """The program ghz."""
    return find("ghz")


@pytest.fixture(scope="session")
def buf() -> Path:
    """The program buf."""
    return find("buf")


@pytest.fixture(scope="session")
def kustomize() -> Path:
    """The path of kustomize."""
    return find("kustomize")


@pytest.fixture(scope="session")
def goclient() -> Path:
    """Our client in Go: plans a gang on the service whose address is its argument."""
    return find("goclient")


@pytest.fixture(scope="session")
def shared_control_plane(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ControlPlane]":
    """The control plane of this test process; whoever uses it removes what they made."""
    from support.controlplane.plane import ControlPlane

    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    yield plane
    plane.stop()


@pytest.fixture
def control_plane(shared_control_plane: "ControlPlane") -> "Iterator[ControlPlane]":
    """The control plane; after the test, servers it started are ended and what it made is removed."""
    from support.controlplane.leftovers import present, remove_new

    plane = shared_control_plane
    before, running = present(plane.api()), set(plane.daemons)
    yield plane
    if "kube-apiserver" not in plane.daemons:
        plane.start_api_server()
    for name in set(plane.daemons) - running:
        plane.stop_daemon(plane.daemons[name])
    remove_new(plane.api(), before)


@pytest.fixture
def namespace(control_plane: "ControlPlane") -> str:
    """The name of a namespace only this test uses."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.api().create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the servers said."""
    report = yield
    plane = getattr(item, "funcargs", {}).get("shared_control_plane")
    if report.failed and plane is not None:
        report.sections.append(("control plane", plane.tails()))
    return report


def _missing(fixtures: Sequence[str]) -> Missing | None:
    """The first program that the fixtures need and that is not there."""
    try:
        for name in (name for fixture in fixtures for name in NEEDS.get(fixture, ())):
            find(name)
    except Missing as missing:
        return missing
    return None
