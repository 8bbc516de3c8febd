"""The same objects lead to the same plan, from a file and through the controller on a real API server."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from adapters.cli.main import huddle
from adapters.kubernetes.placement_objects import placement_name
from adapters.kubernetes.resources import PLACEMENTS
from support.controlling import QUICK, controlled
from support.controlplane.api import Api, Json, Refused
from support.controlplane.definitions import CRDS, install_definitions, wait_usable
from support.controlplane.fleet import RACK, ZONE, gpu_node
from support.controlplane.plane import ControlPlane
from support.controlplane.waiting import eventually
from support.input_kinds import InputKind, input_kinds

pytestmark = pytest.mark.controlplane

#: Rack → nodes and the GPUs that each has free: one rack holds the gang, tightly, and others would nearly.
FREE = {"a": (4, 4, 4), "b": (8, 4, 4, 8), "c": (8, 4)}


@pytest.mark.parametrize(
    ("kind", "starts"),
    [
        pytest.param(kind, starts, id=f"{kind.id}-{starts}")
        for kind in input_kinds()
        for starts in (["all wait", "one runs"] if len(kind.pods) > 1 else ["all wait"])
    ],
)
def test_same_plan(control_plane: ControlPlane, namespace: str, tmp_path: Path, kind: InputKind, starts: str) -> None:
    """Every pod has the same node in both, and every term the same value."""
    api = control_plane.api()
    install_definitions(api)
    nodes = [
        api.create("/api/v1/nodes", gpu_node(f"{rack}{at}", gpus=gpus, labels={ZONE: "z", RACK: rack}))
        for rack, free in FREE.items()
        for at, gpus in enumerate(free)
    ]
    objects = [*_declare(api, namespace, kind), *_make_pods(api, namespace, kind, starts == "one runs")]
    offline = _planned(tmp_path, objects, nodes)
    assert offline["status"] == "optimal", offline
    with controlled(control_plane.kubeconfig(), tmp_path, *QUICK):
        placement = eventually(lambda: _placement(api, namespace, kind.key or kind.gang), f"{kind.id} is planned", 60.0)
    (gang,) = offline["gangs"]
    assert gang["name"] == f"{namespace}/{kind.gang}"
    expected = {item["pod"].partition("/")[2]: item["node"] for item in (*gang["assignments"], *gang["running"])}
    assert {item["pod"]: item["node"] for item in placement["spec"]["assignments"]} == expected
    values = {item["term"]: item["value"] for item in gang["objective"]}
    live = {item["term"]: float(Fraction(item["value"])) for item in placement["spec"]["objective"]}
    assert live == pytest.approx(values)


def _declare(api: Api, namespace: str, kind: InputKind) -> list[Json]:
    """Create the objects that declare a gang, and the definitions of their kinds; as the server has them."""
    made = []
    for declared in kind.declared:
        if not kind.is_built_in:
            definition = _definition(declared.plural, declared.group_version, declared.body["kind"])
            api.create(CRDS, definition)
            wait_usable(api, definition)
        made.append(api.create(declared.collection(namespace), declared.whole))
    return [{"apiVersion": one.group_version, **body} for one, body in zip(kind.declared, made, strict=True)]


def _make_pods(api: Api, namespace: str, kind: InputKind, first_runs: bool) -> list[Json]:
    """Create the pods, the first of them bound or not; as the server has them."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    for at, pod in enumerate(kind.pods):
        if at == 0 and first_runs:
            api.create(path, {**pod, "spec": {**pod["spec"], "schedulingGates": []}})
            target = {"apiVersion": "v1", "kind": "Node", "name": "b2"}
            name = pod["metadata"]["name"]
            api.create(f"{path}/{name}/binding", {"metadata": {"name": name}, "target": target})
        else:
            api.create(path, pod)
    return [{"apiVersion": "v1", "kind": "Pod", **body} for body in api.items(path)]


def _planned(folder: Path, objects: list[Json], nodes: list[Json]) -> Any:
    """The answer of `huddle plan`."""
    files = {"gang.json": objects, "cluster.json": [{"apiVersion": "v1", "kind": "Node", **node} for node in nodes]}
    for name, bodies in files.items():
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
        (folder / name).write_text(text, encoding="utf-8")
    asked = ["plan", str(folder / "gang.json"), "--cluster", str(folder / "cluster.json"), "-o", "json"]
    found = CliRunner().invoke(huddle, asked, prog_name="huddle")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def _placement(api: Api, namespace: str, gang: str) -> Json | None:
    """The Placement of a gang once it has nodes for its pods."""
    try:
        found = api.get(PLACEMENTS.path(namespace, placement_name(f"{namespace}/{gang}")))
    except Refused:
        return None
    return found if found["spec"].get("assignments") else None


def _definition(plural: str, group_version: str, kind: str) -> Json:
    """The definition of a namespaced kind that takes anything."""
    group, _, version = group_version.partition("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }
