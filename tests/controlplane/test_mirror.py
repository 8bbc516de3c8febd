"""The mirror beside a real API server: what is there is shown, through restarts, lost history and missing rights."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.kubernetes.api import Api, Json, Query, Reader
from adapters.kubernetes.api_errors import Busy, Conflict, Invalid, NotFound
from adapters.kubernetes.mirror import Mirror
from adapters.kubernetes.resources import GANGS, NATIVE_POD_GROUPS, NODES, PODS, QUEUES
from adapters.kubernetes.watching import Rhythm
from support.clusters import meaning
from support.controlplane.definitions import CRDS
from support.controlplane.fleet import GPU, create_gpu_nodes, gpu_node, gpu_pod
from support.controlplane.plane import ControlPlane
from support.mirroring import QUICK, mirroring, until

pytestmark = pytest.mark.controlplane

NATIVE = "/apis/scheduling.k8s.io/v1beta1"


class Told(Api):
    """Remembers the collections listed, and holds back watches that begin while `gate` is closed."""

    listed: ClassVar[list[str]] = []
    gate: ClassVar[asyncio.Event]

    def list_pages(
        self, path: str, query: Query | None = None, page: int = 500, read: Reader = msgspec.json.decode
    ) -> AsyncGenerator[Json, None]:
        """A list."""
        Told.listed.append(path)
        return super().list_pages(path, query, page, read)

    async def watch(self, path: str, since: str, query: Query | None = None) -> AsyncGenerator[list[bytes], None]:
        """A watch, once the gate is open."""
        await Told.gate.wait()
        async for lines in super().watch(path, since, query):
            yield lines


def bind(plane: ControlPlane, namespace: str, pod: str, node: str) -> None:
    """Bind a pod, as any scheduler would."""
    body = {"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}}
    plane.api().create(f"/api/v1/namespaces/{namespace}/pods/{pod}/binding", body)


def free_gpus(mirror: Mirror) -> dict[str, int]:
    """Free GPUs by node, in the held state."""
    snapshot = mirror.held.view().snapshot
    return dict(zip(snapshot.nodes, (snapshot.free[:, 0] // 1000).tolist(), strict=True))


def definition(plural: str, kind: str) -> Json:
    """A definition of a kind of Huddle's that takes anything."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.huddle.scheduler"},
        "spec": {
            "group": "huddle.scheduler",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


def test_what_is_there_is_shown(control_plane: ControlPlane, namespace: str) -> None:
    """Nodes, pods, PodGroups of Kubernetes, and what is free, as it changes; the news names the gangs."""

    async def story() -> None:
        api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
        create_gpu_nodes(api, 3)
        policy = {"schedulingPolicy": {"gang": {"minCount": 2}}}
        api.create(f"{NATIVE}/namespaces/{namespace}/podgroups", {"metadata": {"name": "pg"}, "spec": policy})
        async with mirroring(str(control_plane.kubeconfig())) as mirror:
            await mirror.synced()
            news = mirror.subscribe()
            assert (await news.next()).room
            assert free_gpus(mirror) == {f"gpu-00{at}": 8 for at in range(3)}
            assert mirror.version_of(NATIVE_POD_GROUPS) == "v1beta1"
            assert mirror.version_of(QUEUES) is None
            member = gpu_pod("p10", 4, gated=True, schedulingGroup={"podGroupName": "pg"})
            api.create(pods, member)
            api.create(pods, gpu_pod("p9", 2, labels={"huddle.scheduler/gang": "own"}))
            key = f"{namespace}/own"
            while key not in (await news.next()).gangs:
                pass
            assert [pod["metadata"]["name"] for pod in mirror.pods_of(key)] == ["p9"]
            await until(lambda: bool(mirror.pods_of(f"{namespace}/pg")), "the member of the PodGroup is seen")
            assert {key, f"{namespace}/pg"} <= mirror.gang_keys()
            bind(control_plane, namespace, "p9", "gpu-001")
            while key not in (await news.next()).gangs:
                pass
            assert free_gpus(mirror)["gpu-001"] == 6, "the held state knows before the news comes"
            api.delete("/api/v1/nodes/gpu-001")
            while not (told := await news.next()).room:
                pass
            assert key in told.gangs, "its node is lost"
            assert set(free_gpus(mirror)) == {"gpu-000", "gpu-002"}
            api.create("/api/v1/nodes", gpu_node("gpu-001"))
            await until(lambda: free_gpus(mirror).get("gpu-001") == 6, "the node is back, and its pod still there")
            api.delete(f"{pods}/p9")
            await until(lambda: free_gpus(mirror).get("gpu-001") == 8, "the pod is gone")
            assert not mirror.problems

    asyncio.run(story())


def test_ends_of_watches_lose_nothing_and_list_nothing(control_plane: ControlPlane, namespace: str) -> None:
    """Watches that the server ends every second or two are resumed while pods come and go."""

    async def story() -> None:
        api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
        create_gpu_nodes(api, 2)
        Told.listed, Told.gate = [], asyncio.Event()
        Told.gate.set()
        short = Rhythm(watch_s=1.0, pause_s=0.02)
        async with mirroring(str(control_plane.kubeconfig()), [NODES, PODS], short, api=Told) as mirror:
            await mirror.synced()
            for at in range(40):
                await asyncio.to_thread(api.create, pods, gpu_pod(f"p{at}", 0, nodeName=f"gpu-00{at % 2}"))
                if at % 3 == 0:
                    await asyncio.to_thread(api.delete, f"{pods}/p{at // 2}")
                await asyncio.sleep(0.1)
            await same(control_plane, mirror)
        assert sorted(Told.listed) == [NODES.path(), PODS.path()]

    asyncio.run(story())


def test_restarts_and_lost_history(control_plane: ControlPlane, namespace: str) -> None:
    """After a restart, a crash, and a restart of a server without a past, the mirror shows what is there."""

    async def story() -> None:
        api, pods = control_plane.api(), f"/api/v1/namespaces/{namespace}/pods"
        create_gpu_nodes(api, 3)
        Told.listed, Told.gate = [], asyncio.Event()
        Told.gate.set()
        for name in ("stays", "goes"):
            api.create(pods, gpu_pod(name, 1, nodeName="gpu-000"))
        short = Rhythm(watch_s=1.0, pause_s=0.05, most_pause_s=0.5)
        async with mirroring(str(control_plane.kubeconfig()), [NODES, PODS], short, api=Told) as mirror:
            await mirror.synced()
            gone: list[str] = []
            mirror.on_change(PODS, lambda key, _, now: None if now else gone.append(key[1]))
            for crash in (False, True):
                await asyncio.to_thread(control_plane.stop_api_server, crash)
                await until(lambda: len(mirror.problems) == 2, "both kinds are in trouble")
                await asyncio.to_thread(control_plane.start_api_server)
                await until(lambda: not mirror.problems, "the trouble is over")
                await same(control_plane, mirror)
            Told.gate.clear()
            await asyncio.sleep(2.5)  # both watches have ended and the next ones wait
            api.delete(f"{pods}/goes")
            api.delete("/api/v1/nodes/gpu-002")
            api.create(pods, gpu_pod("comes", 2, nodeName="gpu-001"))
            await asyncio.to_thread(control_plane.forget_history)
            before = len(Told.listed)
            Told.gate.set()
            await same(control_plane, mirror)
            assert gone == ["goes"]
            assert free_gpus(mirror) == {"gpu-000": 7, "gpu-001": 6}
            assert len(Told.listed) > before, "the past was lost"

    asyncio.run(story())


def test_a_server_that_starts_late(control_plane: ControlPlane) -> None:
    """A mirror that was there first says what is wrong, and is synced when the server has come."""

    async def story() -> None:
        create_gpu_nodes(control_plane.api(), 1)
        control_plane.stop_api_server()
        async with mirroring(str(control_plane.kubeconfig())) as mirror:
            await until(lambda: "cannot be reached" in mirror.problems.get("nodes", ""), "the trouble is told")
            assert not mirror.is_synced
            await asyncio.to_thread(control_plane.start_api_server)
            await asyncio.wait_for(mirror.synced(), 60)
            await until(lambda: not mirror.problems, "the trouble is over")
            assert free_gpus(mirror) == {"gpu-000": 8}

    asyncio.run(story())


def test_kinds_that_are_installed_later(control_plane: ControlPlane, namespace: str) -> None:
    """Without its definition there are no Gangs; with it there are, and when it goes they go."""

    async def story() -> None:
        api = control_plane.api()
        async with mirroring(str(control_plane.kubeconfig())) as mirror:
            await mirror.synced()
            assert mirror.version_of(GANGS) is None
            api.create(CRDS, definition("gangs", "Gang"))
            await until(lambda: mirror.version_of(GANGS) == "v1alpha1", "the kind is found")
            api.create(
                GANGS.path(namespace),
                {"kind": "Gang", "metadata": {"name": "g"}} | {"apiVersion": "huddle.scheduler/v1alpha1"},
            )
            await until(lambda: f"{namespace}/g" in mirror.gang_keys(), "the Gang is seen")
            api.delete(f"{CRDS}/gangs.huddle.scheduler")
            await until(lambda: mirror.version_of(GANGS) is None, "the kind is gone")
            assert not mirror.all(GANGS)

    asyncio.run(story())


def test_missing_rights_are_told_and_waited_for(control_plane: ControlPlane) -> None:
    """Without the right to list a kind the mirror says so in one sentence; kinds that are not there need no right."""

    async def story() -> None:
        read = ["get", "list", "watch"]
        create_gpu_nodes(control_plane.api(), 1)
        control_plane.grant("nobody", [{"apiGroups": [""], "resources": ["pods"], "verbs": read}])
        async with mirroring(str(control_plane.kubeconfig("nobody")), [NODES, PODS, GANGS, QUEUES]) as mirror:
            await until(lambda: "nodes" in mirror.problems, "the refusal is told")
            words = 'GET /api/v1/nodes: 403 Forbidden: nodes is forbidden: User "nobody" cannot list resource "nodes"'
            assert mirror.problems["nodes"].startswith(words)
            await until(lambda: set(mirror.problems) == {"nodes"}, "other kinds do without a right")
            assert not mirror.is_synced
            control_plane.grant("nobody", [{"apiGroups": [""], "resources": ["nodes"], "verbs": read}])
            await asyncio.wait_for(mirror.synced(), 60)
            assert free_gpus(mirror) == {"gpu-000": 8}
            await until(lambda: not mirror.problems, "the trouble is over")

    asyncio.run(story())


async def same(plane: ControlPlane, mirror: Mirror) -> None:
    """Wait until the mirror shows what the server lists."""

    def listed(path: str) -> Mapping[str, str]:
        metadata = (item["metadata"] for item in plane.api().items(path))
        return {f"{each.get('namespace', '')}/{each['name']}": each["resourceVersion"] for each in metadata}

    def shown(resource: Any) -> Mapping[str, str]:
        return {"/".join(key): body["metadata"]["resourceVersion"] for key, body in mirror.all(resource).items()}

    for resource in (NODES, PODS):
        expected = await asyncio.to_thread(listed, resource.path())
        await until(lambda resource=resource, expected=expected: shown(resource) == expected, f"{resource} are shown")


def test_calls_that_write(control_plane: ControlPlane, namespace: str) -> None:
    """Creation, patches and deletions with what they expect, binding and eviction, and what refuses them."""

    async def story() -> None:
        path = PODS.path(namespace)
        create_gpu_nodes(control_plane.api(), 2)
        async with Api(str(control_plane.kubeconfig())) as api:
            pod = await api.create(path, gpu_pod("p", 1, gated=True))
            uid, version = pod["metadata"]["uid"], pod["metadata"]["resourceVersion"]
            with pytest.raises(Conflict, match="AlreadyExists"):
                await api.create(path, gpu_pod("p", 1))
            with pytest.raises(Conflict):
                await api.bind(namespace, "p", "gpu-000", uid)  # gated
            for wrong in ({"uid": "other"}, {"uid": uid, "resourceVersion": "1"}):
                with pytest.raises(Conflict if "resourceVersion" in wrong else Invalid):
                    await api.patch(f"{path}/p", {"metadata": {**wrong, "labels": {"a": "b"}}})
                with pytest.raises(Conflict):
                    await api.delete(f"{path}/p", wrong["uid"], wrong.get("resourceVersion"))
            expected = {"uid": uid, "resourceVersion": version}
            gates = {"schedulingGates": [{"$patch": "delete", "name": "huddle.scheduler/gang"}]}
            await api.patch(f"{path}/p", {"metadata": expected, "spec": gates}, "strategic")
            with pytest.raises(Conflict):
                await api.bind(namespace, "p", "gpu-000", "other")
            await api.bind(namespace, "p", "gpu-000", uid)
            with pytest.raises(Conflict):
                await api.bind(namespace, "p", "gpu-000", uid)  # bound, even there
            assert (await api.get(f"{path}/p"))["spec"]["nodeName"] == "gpu-000"
            await api.patch(f"{path}/p", [{"op": "add", "path": "/metadata/labels", "value": {"app": "x"}}], "json")
            budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
            await api.create(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", budget)
            ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            await api.patch(f"{path}/p/status", ready)
            with pytest.raises(Busy):
                await api.evict(namespace, "p", uid)
            await api.delete(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/b")
            with pytest.raises(Conflict):
                await api.evict(namespace, "p", "other")
            await api.evict(namespace, "p", uid, grace_s=0)
            with pytest.raises(NotFound):
                await api.get(f"{path}/p")
            node = await api.get("/api/v1/nodes/gpu-000")
            node["metadata"]["labels"]["a"] = "b"
            replaced = await api.replace("/api/v1/nodes/gpu-000", node)
            assert replaced["metadata"]["labels"]["a"] == "b"
            with pytest.raises(Conflict):
                await api.replace("/api/v1/nodes/gpu-000", node)

    asyncio.run(story())


@pytest.mark.soak
def test_a_thousand_nodes(control_plane: ControlPlane, namespace: str) -> None:
    """1,000 nodes and 10,000 pods are held; the seconds are told, not judged."""

    async def story() -> None:
        api, path = control_plane.api(), PODS.path(namespace)
        create_gpu_nodes(api, 1000)
        api.create_all(path, [gpu_pod(f"p{at}", 1, nodeName=f"gpu-{at % 1000:03}") for at in range(10_000)])
        began_s = time.perf_counter()
        async with mirroring(str(control_plane.kubeconfig())) as mirror:
            await mirror.synced()
            print(f"1,000 nodes and 10,000 pods held after {time.perf_counter() - began_s:.2f} s")
            assert len(mirror.held.view().snapshot.pods) == 10_000
            assert set(free_gpus(mirror).values()) == {-2}
            began_s = time.perf_counter()
            await asyncio.to_thread(api.delete, f"{path}/p0")
            await until(lambda: free_gpus(mirror)["gpu-000"] == -1, "the pod is gone")
            print(f"a deletion shows after {time.perf_counter() - began_s:.3f} s")
            for at in range(1, 10_000, 8):
                api.delete(f"{path}/p{at}")
            await until(lambda: len(mirror.held.view().snapshot.pods) == 10_000 - 1251, "the pods are gone")

    asyncio.run(story())


def test_snapshot_command(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """`huddle snapshot` writes a file that reads back as what the mirror holds."""
    from click.testing import CliRunner

    from adapters.cli.main import huddle

    api = control_plane.api()
    create_gpu_nodes(api, 5, taints=[{"key": GPU, "value": "present", "effect": "NoSchedule"}])
    api.create(CRDS, definition("gangs", "Gang"))
    for at in range(7):
        labels = {"huddle.scheduler/gang": "g"} if at % 2 else {}
        api.create(
            f"/api/v1/namespaces/{namespace}/pods", gpu_pod(f"p{at}", 1, labels=labels, nodeName=f"gpu-00{at % 4}")
        )
    api.create(f"/api/v1/namespaces/{namespace}/pods", gpu_pod("waits", 1, gated=True))
    file = tmp_path / "cluster.json"
    arguments = ["snapshot", "-o", str(file), "--kubeconfig", str(control_plane.kubeconfig()), "--context", "tests"]
    done = CliRunner().invoke(huddle, arguments, prog_name="huddle")
    assert (done.exit_code, done.output) == (0, "")
    loaded = load_cluster(read_documents([str(file)]))
    assert [doc.name for doc in loaded.pending] == ["waits"]
    assert not loaded.notices

    async def held() -> Mapping[str, Any]:
        async with mirroring(str(control_plane.kubeconfig()), rhythm=QUICK) as mirror:
            await mirror.synced()
            return meaning(mirror.held.view().snapshot)

    assert asyncio.run(held()) == meaning(loaded.snapshot)
    assert len(loaded.snapshot.pods) == 7
    printed = CliRunner().invoke(huddle, ["snapshot", "--kubeconfig", str(control_plane.kubeconfig())])
    assert printed.stdout_bytes == file.read_bytes()
    nobody = CliRunner().invoke(huddle, ["snapshot", "--kubeconfig", str(control_plane.kubeconfig("nobody"))])
    assert nobody.exit_code == 2
    assert 'User "nobody" cannot list resource "pods"' in nobody.output
    assert nobody.output.count("\n") == 1
