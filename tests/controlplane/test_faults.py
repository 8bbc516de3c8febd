"""The proxy that fails on purpose does so in every way it names, and otherwise passes everything on."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
import urllib3

from support.audit.sightings import NODES, PODS, PodSeen
from support.audit.witness import Witness
from support.controlplane.api import Api, Refused
from support.controlplane.fleet import create_gpu_nodes, gpu_pod
from support.controlplane.plane import ControlPlane
from support.faults import Faults, FaultyProxy

pytestmark = pytest.mark.controlplane


@pytest.fixture
def proxy(control_plane: ControlPlane, tmp_path: Path) -> Iterator[FaultyProxy]:
    """A proxy without faults."""
    with FaultyProxy(control_plane, tmp_path, seed=7) as proxy:
        yield proxy


@pytest.fixture
def api(control_plane: ControlPlane, proxy: FaultyProxy) -> Iterator[Api]:
    """Calls through the proxy."""
    api = Api(proxy.url, str(control_plane.ca), control_plane.token("admin"))
    yield api
    api.close()


def test_without_faults(control_plane: ControlPlane, namespace: str, proxy: FaultyProxy, api: Api) -> None:
    """Reads, writes, refusals and watches go through, and the kubeconfig leads to the proxy."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    since = api.get(pods)["metadata"]["resourceVersion"]
    api.create(pods, gpu_pod("p", gated=True))
    assert [pod["metadata"]["name"] for pod in control_plane.api().items(pods)] == ["p"]
    with pytest.raises(Refused, match="409 AlreadyExists"):
        api.create(pods, gpu_pod("p"))
    assert next(event["type"] for event in api.watch(pods, since, 30)) == "ADDED"
    assert not proxy.done.total()
    config = json.loads(proxy.kubeconfig().read_text(encoding="utf-8"))
    assert config["clusters"][0]["cluster"]["server"] == proxy.url


@pytest.mark.parametrize(
    ("faults", "reason"),
    [(Faults(busy=1), "TooManyRequests"), (Faults(broken=1), "InternalError"), (Faults(conflict=1), "Conflict")],
)
def test_refusals(namespace: str, proxy: FaultyProxy, api: Api, faults: Faults, reason: str) -> None:
    """Nothing happens, and the answer is an error as the server would give it."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    proxy.faults = faults
    with pytest.raises(Refused, match=reason):
        api.create(pods, gpu_pod("p"))
    proxy.faults = Faults()
    assert api.items(pods) == []
    assert proxy.done.total() == 1


def test_lost_answers(control_plane: ControlPlane, namespace: str, proxy: FaultyProxy, api: Api) -> None:
    """Writes happen and are answered with 500 or not at all; reads are left alone."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    proxy.faults = Faults(lost=1)
    ends = set()
    for at in range(12):
        try:
            api.create(pods, gpu_pod(f"p{at}", gated=True))
        except Refused as refused:
            ends.add(str(refused.status))
        except urllib3.exceptions.HTTPError:
            ends.add("nothing")
    assert ends == {"500", "nothing"}
    assert len(api.items(pods)) == 12
    assert +proxy.done == {"lost": 12}


def test_cut_watches(namespace: str, proxy: FaultyProxy, api: Api) -> None:
    """A watch breaks in the middle of a line."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    proxy.faults = Faults(cut=1, cut_s=0.2)
    since = api.get(pods)["metadata"]["resourceVersion"]
    with pytest.raises(urllib3.exceptions.HTTPError):
        list(api.watch(pods, since, 5))
    assert proxy.done["cut"] == 1


def test_leases_are_spared(proxy: FaultyProxy, api: Api) -> None:
    """Unless they are meant to suffer too."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    proxy.faults = Faults(broken=1)
    assert isinstance(api.items(leases), list)
    proxy.faults = Faults(broken=1, leases=True)
    with pytest.raises(Refused, match="InternalError"):
        api.items(leases)


@pytest.mark.parametrize("crash", [False, True])
def test_the_auditor_misses_nothing(control_plane: ControlPlane, namespace: str, crash: bool) -> None:
    """It sees pods come and go, also those that came before it did and while the API server was being restarted."""
    api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
    create_gpu_nodes(api, 1, played=False)
    api.create(pods, gpu_pod("before"))
    with Witness(lambda: control_plane.api_with(control_plane.token("admin")), (NODES, PODS)) as witness:
        for _ in range(3):
            api.create(pods, gpu_pod("brief", gated=True))
            api.delete(f"{pods}/brief")
        control_plane.stop_api_server(crash)
        control_plane.start_api_server()
        for at in range(3):
            api.create(pods, gpu_pod(f"after-{at}", gated=True))
            api.delete(f"{pods}/after-{at}")
        target = {"apiVersion": "v1", "kind": "Node", "name": "gpu-000"}
        api.create(f"{pods}/before/binding", {"metadata": {"name": "before"}, "target": target})
        found = witness.findings(grace_s=1.0)
        seen = [each for each in witness.sightings() if each.kind == PODS and each.key[0] == namespace]
    assert found.violations == ()
    in_order = [(each.key[1], each.seen is not None) for each in sorted(seen, key=lambda each: each.version)]
    names = [name for name, _ in groupby(in_order)]
    brief = [("brief", True), ("brief", False)] * 3
    after = [(f"after-{at}", there) for at in range(3) for there in (True, False)]
    assert names == [("before", True), *brief, *after, ("before", True)]
    last = max(seen, key=lambda each: each.version).seen
    assert isinstance(last, PodSeen)
    assert last.node == "gpu-000"
