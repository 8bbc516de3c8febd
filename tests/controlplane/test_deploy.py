"""What deploy/ installs, on a real API server: it is accepted, and its role is what the controller needs, no more."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.resources import GANGS, LEADER_WORKER_SETS, MIRRORED, PLACEMENTS, PODS
from deploy.render import objects
from support.controlling import QUICK, controlled
from support.controlplane.api import Api, Json
from support.controlplane.fleet import create_gpu_nodes
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.installing import ACCOUNT, DRY, SYSTEM, apply, lease, status
from support.workloads import Role, Workload, events

pytestmark = pytest.mark.controlplane

ROOT = Path(__file__).parents[2]


def built(kustomize: Path, folder: str) -> list[Json]:
    """What `kubectl apply -k` would install from a folder of deploy/."""
    done = subprocess.run([kustomize, "build", ROOT / "deploy" / folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_the_single_file_is_what_kustomize_builds(kustomize: Path) -> None:
    """Object by object, in the same order."""
    assert built(kustomize, "controller") == objects()


@pytest.mark.parametrize("folder", ["controller", "extender"])
def test_everything_is_accepted(control_plane: ControlPlane, kustomize: Path, folder: str) -> None:
    """A server-side dry run takes every object as written, without a warning about fields; then they are made."""
    api = control_plane.api()
    found = built(kustomize, folder)
    for body in found:
        if body["kind"] == "Namespace":
            apply(api, body)  # the others live in it
        kept = apply(api, body, **DRY)
        assert kept["metadata"]["name"] == body["metadata"]["name"]
    for body in found:
        apply(api, body)
    (deployment,) = [body for body in found if body["kind"] == "Deployment"]
    kept = api.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{ACCOUNT}")
    assert kept["spec"]["replicas"] == deployment["spec"]["replicas"]
    template = {"metadata": {"name": "like-a-replica"}, "spec": deployment["spec"]["template"]["spec"]}
    made = api.create(f"/api/v1/namespaces/{SYSTEM}/pods", template, **DRY)
    assert made["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_the_role_is_enough(account: Api, namespace: str) -> None:
    """Every call that the controller makes is allowed, also about kinds that this server does not know."""
    pod, placement = f"{PODS.path(namespace)}/p", f"{PLACEMENTS.path(namespace)}/g"
    calls: list[tuple[str, str, Json | None]] = [
        *(("GET", resource.path(version=version), None) for resource in MIRRORED for version in resource.versions),
        ("GET", pod, None),
        ("PATCH", pod, {}),
        ("PATCH", f"{pod}/status", {}),
        ("DELETE", pod, {}),
        ("POST", f"{pod}/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
        ("POST", f"{pod}/eviction", {"metadata": {"name": "p"}}),
        ("POST", PLACEMENTS.path(namespace), {"metadata": {"name": "g"}, "spec": {"gang": "g"}}),
        ("PATCH", placement, {}),
        ("PATCH", f"{placement}/status", {}),
        ("DELETE", placement, {}),
        ("PATCH", f"{GANGS.path(namespace)}/g/status", {}),
        ("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", {}),
        ("GET", lease(), None),
        ("PUT", lease(), {"metadata": {"name": ACCOUNT}}),
        ("POST", lease().rpartition("/")[0], {"metadata": {"name": ACCOUNT}}),
    ]
    refused = [call[:2] for call in calls if status(account, *call) in (401, 403)]
    assert refused == []
    assert status(account, "GET", LEADER_WORKER_SETS.path()) == 404


def test_the_role_is_not_more(account: Api, namespace: str) -> None:
    """Calls that it has no need of are refused."""
    pod, gang = f"{PODS.path(namespace)}/p", f"{GANGS.path(namespace)}/g"
    calls: list[tuple[str, str, Json | None]] = [
        ("GET", f"/api/v1/namespaces/{namespace}/secrets", None),
        ("GET", f"/api/v1/namespaces/{namespace}/configmaps", None),
        ("GET", f"/api/v1/namespaces/{namespace}/events", None),
        ("POST", PODS.path(namespace), {}),
        ("PUT", pod, {}),
        ("PUT", f"{pod}/status", {}),
        ("POST", f"{pod}/exec", {}),
        ("GET", f"{pod}/log", None),
        ("DELETE", PODS.path(namespace), {}),
        ("PATCH", "/api/v1/nodes/n", {}),
        ("DELETE", "/api/v1/nodes/n", {}),
        ("PATCH", gang, {}),
        ("DELETE", gang, {}),
        ("POST", GANGS.path(namespace), {}),
        ("PUT", f"{PLACEMENTS.path(namespace)}/g", {}),
        ("GET", lease("other"), None),
        ("PUT", lease("kube-scheduler", "kube-system"), {}),
        ("POST", lease("x", "kube-system").rpartition("/")[0], {}),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
        ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None),
        ("POST", f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}/token", {}),
    ]
    allowed = [call[:2] for call in calls if status(account, *call) != 403]
    assert allowed == []


@pytest.mark.parametrize("hand", ["gate", "bind"])
def test_a_controller_with_this_role(
    control_plane: ControlPlane, account: Api, installed: Api, token: str, namespace: str, tmp_path: Path, hand: str
) -> None:
    """With this role alone a controller takes its Lease, brings a gang to its nodes, tells of it, and forgets it."""
    control_plane.start_kwok()
    control_plane.start_scheduler()
    create_gpu_nodes(installed, 2)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(with_token(control_plane, token)), encoding="utf-8")
    options = ("--lease-namespace", SYSTEM, *QUICK)
    with controlled(kubeconfig, tmp_path, *options, leader_election=True) as controller:
        workload = Workload(namespace, "llm", (Role("prefill", 1, 4), Role("decode", 2, 4)), hand=hand)
        workload.create(installed)
        eventually(lambda: workload.phase(installed) == "Bound", "the gang is bound", 90.0)
        assert workload.bound(installed) == workload.planned(installed)
        assert events(installed, namespace, "llm")
        eventually(
            lambda: installed.get(GANGS.path(namespace, "llm")).get("status", {}).get("conditions"), "the Gang tells it"
        )
        workload.delete(installed)
        eventually(lambda: not installed.items(PLACEMENTS.path(namespace)), "the Placement is gone", 60.0)
        log = controller.daemon.log.read_text(encoding="utf-8")
    assert "forbidden" not in log
    assert "could_not_tell" not in log
    assert installed.get(lease())["spec"]["holderIdentity"] == ""


def test_the_readme_is_accepted(installed: Api, namespace: str) -> None:
    """What the README shows of a Gang and all its pods is taken as written."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## In a cluster")[1]
    gang, *pods = yaml.safe_load_all(section.split("```yaml")[1].split("```")[0])
    installed.create(GANGS.path(namespace), gang, fieldValidation="Strict")
    kept = [installed.create(PODS.path(namespace), pod, fieldValidation="Strict") for pod in pods]
    assert {gang_key(pod) for pod in kept} == {f"{namespace}/{gang['metadata']['name']}"}
    assert len(kept) == sum(role["replicas"] for role in gang["spec"]["root"]["roles"])
    assert "install.yaml" in section


def with_token(control_plane: ControlPlane, token: str) -> Json:
    """A kubeconfig of whoever has this token."""
    cluster = {"server": control_plane.url, "certificate-authority": str(control_plane.ca)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
