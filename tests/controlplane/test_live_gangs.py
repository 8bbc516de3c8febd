"""Gangs made of real objects: what the API server adds and leaves out does not matter."""

from collections.abc import Mapping, Sequence

import pytest

from adapters.apply.gangs import LiveGangs
from adapters.apply.gate import release_patch
from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.resources import GANGS, NATIVE_POD_GROUPS, NODES, PODS, PRIORITY_CLASSES, Resource
from adapters.kubernetes.selected_labels import SelectedKeys, named_by_pod
from solver.domain.gang import BoundMember, Gang, Pack
from solver.domain.resources import GPU
from support.controlplane.api import Api, Json
from support.controlplane.definitions import install_definitions
from support.controlplane.fleet import RACK, ZONE, gpu_node, gpu_pod
from support.controlplane.plane import ControlPlane
from support.controlplane.priorities import create_priority_class

pytestmark = pytest.mark.controlplane

KNOWN = {GANGS: "v1alpha1", NATIVE_POD_GROUPS: "v1beta1", PODS: "v1", NODES: "v1", PRIORITY_CLASSES: "v1"}


class Listed:
    """What lists of the API server show, where built-in objects do not say their kind."""

    def __init__(self, api: Api) -> None:
        self._objects: dict[Resource, dict[tuple[str, str], Json]] = {}
        for resource, version in KNOWN.items():
            found = api.items(resource.path(version=version))
            self._objects[resource] = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in found}

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._objects.get(resource, {}).get((namespace, name))

    def all(self, resource: Resource) -> Mapping[tuple[str, str], Json]:
        return self._objects.get(resource, {})

    def pods_of(self, key: str) -> Sequence[Json]:
        return [pod for pod in self._objects[PODS].values() if gang_key(pod) == key]

    @property
    def selected(self) -> SelectedKeys:
        found = SelectedKeys()
        for (namespace, _), pod in self._objects[PODS].items():
            found.add(named_by_pod(pod, namespace))
        return found

    def version_of(self, resource: Resource) -> str | None:
        return KNOWN.get(resource)


def read(api: Api, key: str) -> tuple[Gang, LiveGangs]:
    """The gang as lists show it now, bound pods running."""
    source = Listed(api)
    pods = source.pods_of(key)
    fixed = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod["spec"]["nodeName"]
        for pod in pods
        if pod["spec"].get("nodeName")
    }
    reader = LiveGangs(source)
    found = reader(key, pods, fixed)
    assert found.problem == ""
    assert found.gang is not None
    assert found.owner is not None
    assert found.owner.uid
    assert found.owner.api_version.count("/") == 1
    return found.gang, reader


def test_gang_through_its_life(control_plane: ControlPlane, namespace: str) -> None:
    """Gated pods of a Gang, one of them then pinned, let go and bound: roles stay as they were, one member runs."""
    api, key = control_plane.api(), f"{namespace}/llama"
    install_definitions(api)
    api.create("/api/v1/nodes", gpu_node("h1", labels={ZONE: "a", RACK: "r"}))
    roles = [{"name": "prefill", "kind": "prefill", "replicas": 1}, {"name": "decode", "kind": "decode", "replicas": 2}]
    spec = {"root": {"pack": {"preferred": "rack"}, "roles": roles}}
    body = {"apiVersion": "huddle.scheduler/v1alpha1", "kind": "Gang", "metadata": {"name": "llama"}, "spec": spec}
    api.create(GANGS.path(namespace), body)
    pods = PODS.path(namespace)
    for name, role in (("p-0", "prefill"), ("d-0", "decode"), ("d-1", "decode")):
        labels = {"huddle.scheduler/gang": "llama", "huddle.scheduler/role": role}
        api.create(pods, gpu_pod(name, 4, gated=True, labels=labels))
    before, _ = read(api, key)
    assert [role.pods for role in before.roles] == [
        (f"{namespace}/p-0",),
        (f"{namespace}/d-0", f"{namespace}/d-1"),
    ]
    assert before.created is not None
    api.patch(f"{pods}/d-0", release_patch(api.get(f"{pods}/d-0"), "h1"), "json")
    freed, _ = read(api, key)
    assert freed == before
    target = {"apiVersion": "v1", "kind": "Node", "name": "h1"}
    api.create(f"{pods}/d-0/binding", {"metadata": {"name": "d-0"}, "target": target})
    assert api.get(f"{pods}/d-0")["metadata"]["labels"][ZONE] == "a"
    bound, _ = read(api, key)
    assert bound.root == before.root
    assert bound.running == (BoundMember(f"{namespace}/d-0", "h1"),)


def test_native_pod_group(control_plane: ControlPlane, namespace: str) -> None:
    """A PodGroup of Kubernetes and the pods that name it, with a class that gives them their priority."""
    api, key = control_plane.api(), f"{namespace}/workers"
    install_definitions(api)
    create_priority_class(api, namespace, "tests-high", 77)
    spec = {
        "schedulingPolicy": {"gang": {"minCount": 2}},
        "priorityClassName": "tests-high",
    }
    path = NATIVE_POD_GROUPS.path(namespace, version="v1beta1")
    annotations = {"kai.scheduler/topology-required-placement": RACK}
    api.create(path, {"metadata": {"name": "workers", "annotations": annotations}, "spec": spec})
    for at in range(3):
        group = {"schedulingGroup": {"podGroupName": "workers"}}
        api.create(PODS.path(namespace), gpu_pod(f"w-{at}", 8, gated=True, priorityClassName="tests-high", **group))
    gang, _ = read(api, key)
    (role,) = gang.roles
    assert (role.replicas, role.min, role.requests[GPU]) == (3, 2, 8000)
    assert (gang.root.pack, gang.priority) == (Pack(RACK), 77)
