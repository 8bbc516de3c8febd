"""Gangs whose pods have resource claims: counted as devices, or refused with the field."""

import pytest

from adapters.cli.plan import read_inputs
from adapters.cli.solving import Inputs
from adapters.manifests.gangs import GangOptions
from solver.domain.accelerators import DEVICE_CLASS
from solver.domain.errors import InvalidRequest
from solver.domain.plan import Status
from solver.planner import plan

API = "apiVersion: resource.k8s.io/v1\n"
CLASS = (
    "---\n" + API + "kind: DeviceClass\nmetadata: {name: gpu.example.com}\n"
    "spec: {selectors: [{cel: {expression: \"device.driver == 'example.com'\"}}]}\n"
)
TEMPLATE = (
    "---\n" + API + "kind: ResourceClaimTemplate\nmetadata: {name: two, namespace: ns}\n"
    "spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu.example.com, count: 2}}]}}}\n"
)
CLAIMS = "resourceClaims: [{name: c, resourceClaimTemplateName: two}]"


def nodes(*counts: int) -> str:
    """Nodes n0 … with so many devices."""
    text = ""
    for at, count in enumerate(counts):
        devices = ", ".join(f"{{name: d{each}}}" for each in range(count))
        text += f"---\nkind: Node\nmetadata: {{name: n{at}}}\nstatus: {{allocatable: {{cpu: 64}}}}\n---\n{API}"
        text += f"kind: ResourceSlice\nmetadata: {{name: s{at}}}\nspec: {{driver: example.com, nodeName: n{at}, "
        text += f"pool: {{name: n{at}, generation: 1, resourceSliceCount: 1}}, devices: [{devices}]}}\n"
    return text


def group(*names: str, claims: str = CLAIMS) -> str:
    """A PodGroup ns/g and its waiting pods."""
    text = "---\napiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g, namespace: ns}\n"
    text += f"spec: {{minMember: {len(names)}}}\n"
    for name in names:
        meta = f"{{name: {name}, namespace: ns, annotations: {{pod-group-name: g}}}}"
        text += f"---\nkind: Pod\nmetadata: {meta}\nspec: {{containers: [{{name: main}}], {claims}}}\n"
    return text


@pytest.fixture
def read(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Reads gangs and a cluster from text."""

    def inputs(gangs: str, cluster: str, **options: bool) -> Inputs:
        folder = tmp_path_factory.mktemp("claims")
        for name, text in (("gangs.yaml", gangs), ("cluster.yaml", cluster)):
            (folder / name).write_text(text, encoding="utf-8")
        paths = [str(folder / "gangs.yaml")], [str(folder / "cluster.yaml")]
        return read_inputs(*paths, GangOptions(**options))  # type: ignore[arg-type]

    return inputs


def test_pods_with_claims_are_placed_where_their_devices_are(read) -> None:  # type: ignore[no-untyped-def]
    """Three pods of two devices: the node with six takes them all, and one device less is too few."""
    found = read(group("a", "b", "c"), CLASS + TEMPLATE + nodes(5, 6))
    (gang,) = found.gangs
    assert gang.roles[0].requests[DEVICE_CLASS + "gpu.example.com"] == 2
    (answer,) = plan(found.snapshot, found.gangs).gangs
    assert (answer.status, {each.node for each in answer.assignments}) == (Status.OPTIMAL, {"n1"})
    short = read(group("a", "b", "c"), CLASS + TEMPLATE + nodes(3, 3))
    assert plan(short.snapshot, short.gangs).status is Status.INFEASIBLE


def test_claims_that_cannot_be_counted_are_refused(read) -> None:  # type: ignore[no-untyped-def]
    """With the object and the field; if that is allowed, they are left out with a warning."""
    gangs, cluster = group("a"), CLASS + nodes(2)
    with pytest.raises(InvalidRequest) as refused:
        read(gangs, cluster)
    problem = "spec.resourceClaims[0].resourceClaimTemplateName: claim template two is not in the input"
    assert str(refused.value).endswith(f"gangs.yaml: Pod ns/a: {problem}")
    ignored = read(gangs, cluster, ignore_unsupported=True)
    assert [notice.code for notice in ignored.of_gang["ns/g"]] == ["unsupported_ignored"]


def test_templates_of_a_gang_are_read_alike(read) -> None:  # type: ignore[no-untyped-def]
    """A pod template inside of a Gang names its field from there."""
    gangs = (
        "apiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: g, namespace: ns}\nspec: {root: {roles: "
        f"[{{name: w, replicas: 1, template: {{spec: {{containers: [{{name: main}}], {CLAIMS}}}}}}}]}}}}\n"
    )
    found = read(gangs, CLASS + TEMPLATE + nodes(2))
    assert plan(found.snapshot, found.gangs).status is Status.OPTIMAL
    with pytest.raises(InvalidRequest, match=r"roles\[0\]\.template\.spec\.resourceClaims\[0\]"):
        read(gangs, CLASS + nodes(2))
