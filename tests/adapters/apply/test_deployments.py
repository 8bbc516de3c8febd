"""Gangs of DynamoGraphDeployments made of the pods that exist."""

from adapters.apply.gangs import LiveGangs
from adapters.apply.minimum import can_be_enough
from adapters.apply.observed import LiveGang
from adapters.kubernetes.placements import Owner
from adapters.kubernetes.resources import PODS
from solver.domain.gang import BoundMember
from support.made_up_mirror import MadeUpMirror

DEPLOYMENT = """---
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: app}
spec:
  components:
  - {name: prefill, type: prefill, replicas: 1, podTemplate: {spec: {containers: [{name: main, resources: %s}]}}}
  - name: decode
    type: decode
    replicas: 2
    multinode: {nodeCount: 2}
    podTemplate: {spec: {containers: [{name: main, resources: %s}]}}
""" % (("{limits: {nvidia.com/gpu: 4}}",) * 2)


def pod(name: str, component: str, *, replica: int | None = None, node: str = "") -> str:
    """A pod that the operator made; replica: of its scaling group."""
    group = "" if replica is None else (
        f", grove.io/podcliquescalinggroup: app-0-decode, grove.io/podcliquescalinggroup-replica-index: '{replica}'"
    )  # fmt: skip
    labels = f"nvidia.com/dynamo-graph-deployment-name: app, nvidia.com/dynamo-component: {component}{group}"
    held = f"nodeName: {node}" if node else "schedulingGates: [{name: huddle.scheduler/gang}]"
    return (
        f"---\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        f"spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: 4}}}}}}], {held}}}\n"
    )


def read(*pods: str, without: bool = False) -> LiveGang:
    """The gang of these pods, and of the deployment unless the cluster is `without` it."""
    mirror = MadeUpMirror(("" if without else DEPLOYMENT) + "".join(pods))
    bodies = list(mirror.all(PODS).values())
    fixed = {f"ns/{body['metadata']['name']}": body["spec"].get("nodeName", "") for body in bodies}
    return LiveGangs(mirror)("ns/app", bodies, {name: node for name, node in fixed.items() if node})


ENGINES = [pod(f"d-{replica}-{rank}", "decode", replica=replica) for replica in range(2) for rank in range(2)]


def test_all_pods_exist() -> None:
    """The gang has the pods by their names, flows included, and is the deployment's."""
    found = read(pod("p", "prefill"), *ENGINES)
    assert found.gang is not None
    assert [role.pods for role in found.gang.roles] == [
        ("ns/p",),
        tuple(f"ns/d-{r}-{n}" for r in (0, 1) for n in (0, 1)),
    ]
    assert found.missing == {}
    assert any(flow.source == "prefill" for flow in found.gang.flows)
    assert found.owner == Owner("nvidia.com/v1beta1", "DynamoGraphDeployment", "app", "uid-of-app")


def test_pods_that_do_not_exist_are_missing_and_not_made_up() -> None:
    """They are counted by component; the gang is of what exists, and cannot do with it."""
    found = read(pod("p", "prefill"), *ENGINES[:3])
    assert found.missing == {"decode": 1}
    assert found.gang is not None
    pods = {name for role in found.gang.roles for name in role.pods}
    assert pods == {"ns/p", "ns/d-0-0", "ns/d-0-1", "ns/d-1-0"}
    assert any(role.min > role.replicas for role in found.gang.roles)


def test_pods_that_run_stay() -> None:
    """They are running members; each replica is a group of its own."""
    running = pod("d-0-0", "decode", replica=0, node="n1")
    found = read(pod("p", "prefill"), running, *ENGINES[1:])
    assert found.gang is not None
    assert found.gang.running == (BoundMember("ns/d-0-0", "n1"),)
    assert [role.name for role in found.gang.roles] == ["prefill", "decode#0", "decode#1"]


def test_without_pods_all_are_missing() -> None:
    """A deployment whose operator has made nothing yet."""
    found = read()
    assert (found.gang, found.missing) == (None, {"prefill": 1, "decode": 4})


def test_pods_without_their_deployment() -> None:
    """Nothing describes the gang, so nothing is planned."""
    assert read(pod("p", "prefill"), without=True) == LiveGang()


def test_replicas_without_a_pod_cost_nothing() -> None:
    """However many engines are declared, those without a pod are one empty group, and all their pods are missing."""
    many = DEPLOYMENT.replace("replicas: 2", "replicas: 40000")
    mirror = MadeUpMirror(many + pod("p", "prefill") + "".join(ENGINES[:3]))
    found = LiveGangs(mirror)("ns/app", list(mirror.all(PODS).values()), {})
    assert found.gang is not None, found.problem
    (decode,) = found.gang.root.groups
    assert [len(each.roles[0].pods) for each in decode.groups] == [2, 1, 0]
    assert decode.min == 40000
    assert found.missing == {"decode": 79997}


def test_a_component_without_any_pod() -> None:
    """It is one empty engine, which cannot be kept."""
    mirror = MadeUpMirror(DEPLOYMENT.replace("replicas: 2", "replicas: 40000") + pod("p", "prefill"))
    found = LiveGangs(mirror)("ns/app", list(mirror.all(PODS).values()), {})
    assert found.gang is not None, found.problem
    assert not can_be_enough(found.gang)
    assert found.missing == {"decode": 80000}


def test_what_the_pods_request_counts() -> None:
    """Pods that were changed as they were admitted differ from their template; those of one role must be alike."""
    asks = "nvidia.com/gpu: %d"
    found = read(pod("p", "prefill").replace(asks % 4, asks % 8), *ENGINES)
    assert found.gang is not None
    assert [role.requests.gpus for role in found.gang.roles] == [8, 4]
    mixed = read(pod("p", "prefill"), ENGINES[0].replace(asks % 4, asks % 8), *ENGINES[1:])
    assert mixed.problem.endswith(": pods ns/d-0-0 and ns/d-0-1 of role decode differ in what they request")
