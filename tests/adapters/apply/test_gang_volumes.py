"""Gangs whose pods mount volumes, as a mirror shows them."""

from collections.abc import Callable

from adapters.apply.gangs import LiveGangs
from adapters.apply.observed import LiveGang
from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.resources import PODS, VOLUMES
from solver.domain.constraints import NodeSelectorTerm, Operator, Requirement, VolumeNodes
from support.made_up_mirror import MadeUpMirror

GROUP = """---
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: g}
spec: {minMember: 1}
"""

GANG = """---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: g}
spec: {root: {roles: [{name: w, replicas: 2}]}}
"""


def pod(name: str, claim: str, node: str = "") -> str:
    """A pod of ns/g that mounts a claim."""
    return f"""---
kind: Pod
metadata: {{name: {name}, annotations: {{pod-group-name: g}}}}
spec:
  nodeName: {node or "null"}
  containers: [{{name: main}}]
  volumes: [{{name: w, persistentVolumeClaim: {{claimName: {claim}}}}}]
"""


def bound(claim: str, volume: str, host: str, modes: str = "") -> str:
    """A claim with a volume that one host can mount."""
    term = f"{{matchExpressions: [{{key: host, operator: In, values: [{host}]}}]}}"
    return f"""---
kind: PersistentVolumeClaim
metadata: {{name: {claim}}}
spec: {{volumeName: {volume}, accessModes: [{modes}]}}
---
kind: PersistentVolume
metadata: {{name: {volume}}}
spec: {{nodeAffinity: {{required: {{nodeSelectorTerms: [{term}]}}}}}}
"""


def where(claim: str, host: str) -> tuple[VolumeNodes, ...]:
    """What a pod with such a volume has to match."""
    return (VolumeNodes(claim, (NodeSelectorTerm((Requirement("host", Operator.IN, (host,)),)),)),)


def reader(mirror: MadeUpMirror) -> Callable[[], LiveGang]:
    """Reads the gang ns/g with the pods that there are, each time."""
    gangs = LiveGangs(mirror)

    def read() -> LiveGang:
        pods = [body for body in mirror.objects[PODS].values() if gang_key(body) == "ns/g"]
        fixed = {
            f"ns/{body['metadata']['name']}": body["spec"]["nodeName"] for body in pods if body["spec"]["nodeName"]
        }
        return gangs("ns/g", pods, fixed)

    return read


def add(mirror: MadeUpMirror, text: str) -> None:
    """Some objects come, or change."""
    for resource, objects in MadeUpMirror(text).objects.items():
        mirror.objects[resource].update(objects)


def test_a_pod_waits_for_its_claim() -> None:
    """With the reason, as long as the claim or its volume does not exist; then it goes where the volume is."""
    mirror = MadeUpMirror(GROUP + pod("x", "c"))
    read = reader(mirror)
    assert read().problem == (
        "Pod ns/x: spec.volumes[0]: claim ns/c does not exist: which nodes can mount its volume is not known"
    )
    add(mirror, bound("c", "p", "a"))
    (volume,) = mirror.objects[VOLUMES].items()
    del mirror.objects[VOLUMES][volume[0]]
    assert "volume p of claim ns/c does not exist" in read().problem
    mirror.objects[VOLUMES][volume[0]] = volume[1]
    found = read()
    assert found.problem == ""
    assert found.gang is not None
    assert found.gang.roles[0].constraints.volumes == where("ns/c", "a")


def test_a_claim_that_changes_is_seen_though_its_pod_does_not() -> None:
    """Pods are read once; where their volumes are is looked up each time."""
    mirror = MadeUpMirror(GROUP + pod("x", "c") + bound("c", "p", "a"))
    read = reader(mirror)
    before = read().gang
    add(mirror, bound("c", "q", "b"))
    after = read().gang
    assert before is not None
    assert after is not None
    assert [gang.roles[0].constraints.volumes for gang in (before, after)] == [where("", "a"), where("", "b")]


def test_what_runs_has_its_volume_already() -> None:
    """Its claim may be gone; a claim for one pod alone lets no other in as long as that one runs."""
    mirror = MadeUpMirror(GROUP + pod("x", "gone", "n1") + pod("y", "c") + bound("c", "p", "a", "ReadWriteOncePod"))
    read = reader(mirror)
    add(mirror, pod("z", "c", "n2"))
    waiting = _volumes_of(read(), "ns/y")
    assert [volume.terms for volume in waiting] == [(), where("", "a")[0].terms]
    assert "ns/z" in waiting[0].claim
    mirror.objects[PODS]["ns", "z"]["status"] = {"phase": "Failed"}
    assert _volumes_of(read(), "ns/y") == where("ns/c", "a")


def test_pods_of_a_role_with_volumes_on_other_nodes() -> None:
    """A Gang says that its pods are alike; those of a PodGroup become several roles."""
    volumes = bound("c", "p", "a") + bound("d", "q", "b")
    mirror = MadeUpMirror(GROUP + pod("x", "c") + pod("y", "d") + volumes)
    group = reader(mirror)().gang
    assert group is not None
    assert [role.pods for role in group.roles] == [("ns/x",), ("ns/y",)]
    add(mirror, GANG)
    assert reader(mirror)().problem == "pods ns/x and ns/y of role w differ in where their volumes are"


def _volumes_of(found: LiveGang, pod: str) -> tuple[VolumeNodes, ...]:
    assert found.gang is not None
    (role,) = [role for role in found.gang.roles if pod in role.pods]
    return role.constraints.volumes
