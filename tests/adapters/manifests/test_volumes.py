"""Volumes of pods: where they let a pod go, and what of them is refused because nobody can tell."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.constraints import NodeSelectorTerm, Operator, Requirement, VolumeNodes
from solver.domain.errors import InvalidRequest

Read = Callable[..., GangInput]

HOST, ZONE, OLD_ZONE = (
    "kubernetes.io/hostname", "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone",
)  # fmt: skip
NODE = "---\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n"
LATE = "provisioner: disks.example.com, volumeBindingMode: WaitForFirstConsumer"
STATIC = "provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer"


def pod(name: str, *volumes: str, spec: str = "") -> str:
    """A pod of the group g in the namespace ns; volumes: names of claims."""
    mounted = ", ".join(f"{{name: v{at}, persistentVolumeClaim: {{claimName: {v}}}}}" for at, v in enumerate(volumes))
    return (
        "---\napiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: ns, annotations: {{pod-group-name: g}}}}\n"
        f"spec: {{containers: [{{name: main}}], volumes: [{mounted}]{spec}}}\n"
    )


def claim(name: str, spec: str, meta: str = "") -> str:
    """A claim in ns."""
    return f"---\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: ns{meta}}}\nspec: {{{spec}}}\n"


def volume(name: str, spec: str = "", labels: str = "") -> str:
    """A volume."""
    return f"---\nkind: PersistentVolume\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{{spec}}}\n"


def on(host: str) -> str:
    """Node affinity of a volume that one host can mount."""
    terms = f"[{{matchExpressions: [{{key: {HOST}, operator: In, values: [{host}]}}]}}]"
    return f"nodeAffinity: {{required: {{nodeSelectorTerms: {terms}}}}}"


def kind(fields: str, name: str = "disks", meta: str = "") -> str:
    """A StorageClass."""
    return f"---\nkind: StorageClass\nmetadata: {{name: {name}{meta}}}\n" + fields.replace(", ", "\n") + "\n"


def at(key: str, *values: str) -> NodeSelectorTerm:
    """One value of a label."""
    return NodeSelectorTerm((Requirement(key, Operator.IN, values),))


def volumes(found: GangInput) -> list[tuple[str, tuple[NodeSelectorTerm, ...]]]:
    """Claims and terms of the only role."""
    (gang,) = found.gangs
    (role,) = gang.roles
    return [(each.claim, each.terms) for each in role.constraints.volumes]


def test_a_bound_volume_keeps_its_pod_to_its_nodes(read: Read) -> None:
    """Several volumes all count; one without affinity goes anywhere."""
    cluster = (
        NODE + claim("c", "volumeName: p") + volume("p", on("a")) + claim("d", "volumeName: q") + volume("q", on("b"))
        + claim("e", "volumeName: r") + volume("r")
    )  # fmt: skip
    found = read(pod("x", "c", "d", "e"), cluster=cluster)
    assert volumes(found) == [("ns/c", (at(HOST, "a"),)), ("ns/d", (at(HOST, "b"),))]
    assert found.all_notices == ()


def test_zones_in_the_labels_of_a_volume_count(read: Read) -> None:
    """One of several zones; the newer label for the older; and a node without any zone, as in Kubernetes."""
    nowhere = NodeSelectorTerm(
        tuple(
            Requirement(key, Operator.DOES_NOT_EXIST)
            for key in (OLD_ZONE, "failure-domain.beta.kubernetes.io/region", ZONE, "topology.kubernetes.io/region")
        )
    )
    newer = NODE + claim("c", "volumeName: p") + volume("p", labels=f"{ZONE}: y__z")
    assert volumes(read(pod("x", "c"), cluster=newer)) == [("ns/c", (at(ZONE, "y", "z"), nowhere))]
    older = NODE + claim("c", "volumeName: p") + volume("p", labels=f"{OLD_ZONE}: z")
    renamed = NodeSelectorTerm((Requirement(OLD_ZONE, Operator.DOES_NOT_EXIST), Requirement(ZONE, Operator.IN, ("z",))))
    assert volumes(read(pod("x", "c"), cluster=older)) == [("ns/c", (at(OLD_ZONE, "z"), renamed, nowhere))]


#: what → (objects of the cluster, how the refusal goes on)
REFUSED: dict[str, tuple[str, str]] = {
    "no claim": ("", "claim ns/c is not in the input"),
    "a claim of another namespace": (
        claim("c", "volumeName: p").replace("namespace: ns", "namespace: other"), "claim ns/c is not in the input",
    ),
    "a claim that goes": (
        claim("c", "volumeName: p", ", deletionTimestamp: '2026-01-01T00:00:00Z'") + volume("p"), "is being deleted",
    ),
    "no volume": (claim("c", "volumeName: p"), "volume p of claim ns/c is not in the input"),
    "a volume of another claim": (
        claim("c", "volumeName: p") + volume("p", "claimRef: {namespace: ns, name: d}"), "is bound to another claim",
    ),
    "no class": (claim("c", "storageClassName: disks"), "its StorageClass disks is not in the input"),
    "no class at all": (claim("c", "storageClassName: ''"), "it has no StorageClass"),
    "no default class": (claim("c", "accessModes: []"), "it has no StorageClass"),
    "a class that does not wait": (
        claim("c", "storageClassName: disks") + kind("provisioner: disks.example.com"), "does not wait for the pod",
    ),
    "a default class that does not wait": (
        claim("c", "accessModes: []")
        + kind("provisioner: x", meta=", annotations: {storageclass.kubernetes.io/is-default-class: 'true'}"),
        "its StorageClass disks does not wait",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_volume_that_may_be_anywhere_is_refused(read: Read, what: str) -> None:
    """In one line that names pod, field and claim; or it is a warning, and then the pod may go anywhere."""
    cluster, text = REFUSED[what]
    with pytest.raises(InvalidRequest, match=r"^gang.yaml: Pod ns/x: spec.volumes\[0\]: .*" + text):
        read(pod("x", "c"), cluster=NODE + cluster)
    found = read(pod("x", "c"), cluster=NODE + cluster, ignore_unsupported=True)
    assert [(notice.code, text in notice.message) for notice in found.all_notices] == [("unsupported_ignored", True)]
    assert volumes(found) == []


def test_without_a_cluster_volumes_are_only_told_of(read: Read) -> None:
    """Nobody can say then what is missing; what there is counts."""
    text = pod("x", "c").replace("v0, persistentVolumeClaim: {claimName: c}", "v0, ephemeral: {}") + pod("y", "c")
    found = read(text)
    assert {notice.code for notice in found.all_notices} == {"volume_ignored"}
    known = claim("c", "volumeName: p") + volume("p", on("a"))
    assert volumes(read(known + pod("x", "c"))) == [("ns/c", (at(HOST, "a"),))]


def test_a_pod_that_runs_needs_no_claim(read: Read) -> None:
    """It is where it is; the one that waits has to find its volume."""
    cluster = NODE + claim("d", "volumeName: q") + volume("q", on("b"))
    found = read(pod("x", "c", spec=", nodeName: a") + pod("y", "d"), cluster=cluster)
    (gang,) = found.gangs
    by_pods = {role.pods: role.constraints.volumes for role in gang.roles}
    assert by_pods == {("ns/x",): (), ("ns/y",): (VolumeNodes("ns/d", (at(HOST, "b"),)),)}


def test_pods_with_other_volumes_are_other_roles(read: Read) -> None:
    """As far as other nodes can mount them: claims alone make no difference."""
    cluster = NODE + "".join(
        claim(name, f"volumeName: p{name}") + volume(f"p{name}", on(host))
        for name, host in zip("cde", "aab", strict=True)
    )
    (gang,) = read(pod("x", "c") + pod("y", "d") + pod("z", "e"), cluster=cluster).gangs
    assert [role.pods for role in gang.roles] == [("ns/x", "ns/y"), ("ns/z",)]


def test_a_claim_that_waits_for_its_pod(read: Read) -> None:
    """Anywhere, with a word about its other pods; where its class allows it; or on the node that was chosen already."""
    waiting = claim("c", "storageClassName: disks")
    found = read(pod("x", "c"), cluster=NODE + waiting + kind(LATE))
    assert volumes(found) == []
    assert [notice.code for notice in found.all_notices] == ["volume_unbound"]
    allowed = f"allowedTopologies: [{{matchLabelExpressions: [{{key: {ZONE}, values: [y, z]}}]}}]".replace(", ", ",")
    assert volumes(read(pod("x", "c"), cluster=NODE + waiting + kind(f"{LATE}, {allowed}"))) == [
        ("ns/c", (at(ZONE, "y", "z"),))
    ]
    chosen = claim("c", "storageClassName: disks", ", annotations: {volume.kubernetes.io/selected-node: a}")
    assert volumes(read(pod("x", "c"), cluster=NODE + chosen + kind(LATE))) == [
        ("ns/c", (NodeSelectorTerm(names=(Requirement("metadata.name", Operator.IN, ("a",)),)),))
    ]


def test_volumes_that_are_there_already(read: Read) -> None:
    """Those of the class that are free, large enough and mounted as wanted; without any no node can."""
    wanted = "storageClassName: disks, accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}"
    good = "storageClassName: disks, accessModes: [ReadWriteOnce], capacity: {storage: 2Gi}"
    bad = {
        "b": good.replace("2Gi", "1Gi"),
        "c": good.replace("disks", "others"),
        "d": good.replace("ReadWriteOnce", "ReadOnlyMany"),
        "e": f"{good}, claimRef: {{namespace: ns, name: d}}",
        "f": f"{good}, volumeMode: Block",
    }
    cluster = NODE + claim("c", wanted) + kind(STATIC)
    cluster += "".join(volume(f"p{host}", f"{spec}, {on(host)}") for host, spec in bad.items())
    assert volumes(read(pod("x", "c"), cluster=cluster)) == [("ns/c for which no volume is free", ())]
    cluster += "".join(volume(f"p{host}", f"{good}, {on(host)}") for host in ("z", "a"))
    assert volumes(read(pod("x", "c"), cluster=cluster)) == [("ns/c", (at(HOST, "a"), at(HOST, "z")))]
    cluster += volume("kept", f"{good}, {on('k')}, claimRef: {{namespace: ns, name: c}}")
    assert volumes(read(pod("x", "c"), cluster=cluster)) == [("ns/c", (at(HOST, "k"),))]


#: what → (pods, claims, how the refusal goes on)
CONTESTED: dict[str, tuple[str, str, str]] = {
    "two claims, one volume": (
        pod("x", "c") + pod("y", "d"),
        claim("c", "storageClassName: disks") + claim("d", "storageClassName: disks"),
        "claims ns/c and ns/d may be bound to the same volume pa",
    ),
    "one claim, two pods, two volumes": (
        pod("x", "c") + pod("y", "c"), claim("c", "storageClassName: disks"),
        "several pods mount claim ns/c: to which of 2 volumes it will be bound is not known",
    ),
    "one claim for one pod": (
        pod("x", "c") + pod("y", "c"), claim("c", "volumeName: pa, accessModes: [ReadWriteOncePod]"),
        "claim ns/c is for one pod alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CONTESTED)
def test_what_pods_would_have_to_share_out_is_refused(read: Read, what: str) -> None:
    """No plan says who gets which volume; one pod alone is fine."""
    pods, claims, text = CONTESTED[what]
    disks = "".join(volume(f"p{host}", f"storageClassName: disks, {on(host)}") for host in "ab")
    cluster = NODE + claims + disks + kind(STATIC)
    with pytest.raises(InvalidRequest, match="Pod ns/y: .*" + text):
        read(pods, cluster=cluster)
    assert read(pod("x", "c"), cluster=cluster).gangs


def test_a_claim_for_one_pod_that_has_it(read: Read) -> None:
    """No node can mount it for another pod as long as that runs; for the pod itself it is where it is."""
    cluster = NODE + claim("c", "volumeName: p, accessModes: [ReadWriteOncePod]") + volume("p", on("a"))
    user = pod("user", "c", spec=", nodeName: a").replace("pod-group-name: g", "")
    (first, second) = volumes(read(pod("x", "c"), cluster=cluster + user))
    assert first == ("ns/c that only pod ns/user may mount as long as it runs", ())
    assert second == ("ns/c", (at(HOST, "a"),))
    ended = user.rstrip("\n") + "\nstatus: {phase: Succeeded}\n"
    assert volumes(read(pod("x", "c"), cluster=cluster + ended)) == [("ns/c", (at(HOST, "a"),))]


def test_claims_of_ephemeral_volumes(read: Read) -> None:
    """By the name they get; before they exist, what their template says."""
    template = "{volumeClaimTemplate: {spec: {storageClassName: disks}}}"
    text = pod("x", "c").replace("persistentVolumeClaim: {claimName: c}", f"ephemeral: {template}")
    bound = claim("x-v0", "volumeName: p") + volume("p", on("a"))
    assert volumes(read(text, cluster=NODE + bound)) == [("ns/x-v0", (at(HOST, "a"),))]
    late = read(text, cluster=NODE + kind(LATE))
    assert (volumes(late), late.all_notices) == ([], ())
    with pytest.raises(InvalidRequest, match="claim ns/x-v0 is not bound, and its StorageClass disks is not in"):
        read(text, cluster=NODE)


SET = """---
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: s, namespace: ns}
spec:
  replicas: 1
  leaderWorkerTemplate:
    size: 2
    workerTemplate: {spec: {containers: [{name: main}], volumes: [{name: w, VOLUME}]}}
"""


def test_volumes_of_templates(read: Read) -> None:
    """One claim for all pods keeps all of them to its nodes; what several pods would share out is refused."""
    shared = SET.replace("VOLUME", "persistentVolumeClaim: {claimName: c}")
    cluster = NODE + claim("c", "volumeName: p") + volume("p", on("a"))
    assert volumes(read(shared, cluster=cluster)) == [("ns/c", (at(HOST, "a"),))]
    with pytest.raises(InvalidRequest, match=r"LeaderWorkerSet ns/s: .*volumes\[0\]: claim ns/c is not in the input"):
        read(shared, cluster=NODE)
    sole = claim("c", "volumeName: p, accessModes: [ReadWriteOncePod]") + volume("p", on("a"))
    with pytest.raises(InvalidRequest, match="claim ns/c is for one pod alone"):
        read(shared, cluster=NODE + sole)
    own = SET.replace("VOLUME", "ephemeral: {volumeClaimTemplate: {spec: {storageClassName: disks}}}")
    disks = "".join(volume(f"p{host}", f"storageClassName: disks, {on(host)}") for host in "ab")
    with pytest.raises(InvalidRequest, match="each pod has a claim ns/<pod>-w, and which gets which volume"):
        read(own, cluster=NODE + disks + kind(STATIC))
    assert volumes(read(own, cluster=NODE + kind(LATE))) == []


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        (volume("p", "nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Is}]}]}}"),
         "PersistentVolume p: spec.nodeAffinity.required.nodeSelectorTerms"),
        (volume("p", "claimRef: 7"), "PersistentVolume p: spec.claimRef"),
    ],
)  # fmt: skip
def test_malformed_volumes_are_refused(read: Read, objects: str, text: str) -> None:
    """By the object that is wrong."""
    with pytest.raises(InvalidRequest, match=text):
        read(pod("x", "c"), cluster=NODE + claim("c", "volumeName: p") + objects)


CLAIMED = "[{metadata: {name: data}, spec: {storageClassName: disks}}]"
STATEFUL = f"""---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: ns}}
spec:
  replicas: 2
  template: {{spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: 1}}}}}}]}}}}
  volumeClaimTemplates: {CLAIMED}
"""
LEADERS = SET.replace(", volumes: [{name: w, VOLUME}]", "").replace(
    "    size: 2\n", f"    size: 2\n    volumeClaimTemplates: {CLAIMED}\n"
)


@pytest.mark.parametrize(
    ("text", "names"), [(STATEFUL, ("data-db-0", "data-db-1")), (LEADERS, ("data-s-0", "data-s-0-1"))]
)
def test_claims_that_each_pod_of_a_set_has(read: Read, text: str, names: tuple[str, str]) -> None:
    """Those that exist keep the pods to their nodes; those to come are where their class allows them."""
    allowed = f"allowedTopologies: [{{matchLabelExpressions: [{{key: {ZONE},values: [y]}}]}}]"
    late = NODE + kind(f"{LATE}, {allowed}")
    assert [terms for _, terms in volumes(read(text, cluster=late))] == [(at(ZONE, "y"),)]
    first, second = (claim(name, f"volumeName: p{index}") for index, name in enumerate(names))
    same = late + first + second + volume("p0", on("a")) + volume("p1", on("a"))
    assert [terms for _, terms in volumes(read(text, cluster=same))] == [(at(HOST, "a"),)]
    apart = late + first + second + volume("p0", on("a")) + volume("p1", on("b"))
    with pytest.raises(InvalidRequest, match="volumeClaimTemplates: the volumes of its pods are on different nodes"):
        read(text, cluster=apart)
    with pytest.raises(InvalidRequest, match="its StorageClass disks is not in the input"):
        read(text, cluster=NODE)


def test_volumes_of_a_volcano_job(read: Read) -> None:
    """They are those of all its pods."""
    text = (
        "---\napiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: j, namespace: ns}\n"
        "spec: {minAvailable: 1, volumes: [VOLUME], tasks: [{name: w, replicas: 1, "
        "template: {spec: {containers: [{name: main}]}}}]}\n"
    )
    cluster = NODE + claim("c", "volumeName: p") + volume("p", on("a"))
    named = text.replace("VOLUME", "{mountPath: /d, volumeClaimName: c}")
    assert volumes(read(named, cluster=cluster)) == [("ns/c", (at(HOST, "a"),))]
    with pytest.raises(InvalidRequest, match="claim ns/c is not in the input"):
        read(named, cluster=NODE)
    made = text.replace("VOLUME", "{mountPath: /d, volumeClaim: {storageClassName: disks}}")
    with pytest.raises(InvalidRequest, match="its StorageClass disks is not in the input"):
        read(made, cluster=NODE)
