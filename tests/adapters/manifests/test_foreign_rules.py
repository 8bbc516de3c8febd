"""Rules of other schedulers: Kueue's topology and exclusive domains are kept, the rest is refused by name."""

from collections.abc import Callable

import pytest
import yaml

from adapters.files.cluster import load_cluster
from adapters.kubernetes.foreign_rules import Treatment, treatment
from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import GangInput, GangOptions, read_gangs
from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Group, Pack, Spread
from solver.domain.plan import Plan, Status
from solver.planner import plan

Read = Callable[..., GangInput]

GPU = "spec: {containers: [{name: m, resources: {limits: {nvidia.com/gpu: 8}}}]}"
RACK = "kueue.x-k8s.io/podset-required-topology: rack"
EXCLUSIVE = "leaderworkerset.sigs.k8s.io/exclusive-topology: rack"
KEY = "leaderworkerset.sigs.k8s.io/group-key"


def template(annotations: str = "", labels: str = "") -> str:
    """A pod template of eight GPUs."""
    return f"{{metadata: {{annotations: {{{annotations}}}, labels: {{{labels}}}}}, {GPU}}}"


def lws(inner: str, *, name: str = "s", replicas: int = 1, annotations: str = "", more: str = "") -> str:
    """A LeaderWorkerSet of ns."""
    return (
        "---\napiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\n"
        f"metadata: {{name: {name}, namespace: ns, annotations: {{{annotations}}}}}\n"
        f"spec: {{replicas: {replicas}, leaderWorkerTemplate: {{{inner}}}{more}}}\n"
    )


def pod(name: str, annotations: str = "", labels: str = "", spec: str = "", gpus: int = 8) -> str:
    """A pod of ns."""
    return (
        "---\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: ns, labels: {{{labels}}}, annotations: {{{annotations}}}}}\n"
        f"spec: {{containers: [{{name: m, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]{spec}}}\n"
    )


def nodes(**racks: int) -> str:
    """Racks of so many nodes of eight GPUs, and the Topology."""
    text = "---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: Topology\nmetadata: {name: t}\n"
    text += "spec: {levels: [{nodeLabel: rack}, {nodeLabel: kubernetes.io/hostname}]}\n"
    for rack, count in racks.items():
        for at in range(count):
            name = f"{rack}-{at}"
            text += (
                "---\nkind: Node\n"
                f"metadata: {{name: {name}, labels: {{rack: {rack}, kubernetes.io/hostname: {name}}}}}\n"
                "status: {allocatable: {cpu: 96, memory: 1Ti, pods: 110, nvidia.com/gpu: 8},"
                " conditions: [{type: Ready, status: 'True'}]}\n"
            )
    return text


def documents(text: str) -> list[Document]:
    """The objects of a text."""
    return [Document(body, "in.yaml") for body in yaml.safe_load_all(text) if body is not None]


def planned(gangs: str, cluster: str, batch: bool = False) -> Plan:
    """The gangs planned on the cluster."""
    here = documents(cluster)
    found = read_gangs(documents(gangs), GangOptions(), here)
    snapshot = load_cluster([*here, *documents(gangs)]).snapshot
    return plan_batch(snapshot, found.gangs) if batch else plan(snapshot, found.gangs)


def racks(found: Plan) -> list[set[str]]:
    """Racks of each gang."""
    return [{item.node.rpartition("-")[0] for item in one.assignments} for one in found.gangs]


def shape(group: Group) -> dict[str, object]:
    """Packs of a tree by the roles below them."""
    return {
        ",".join(role.name for inner in one.walk() for role in inner.roles): one.pack
        for one in group.walk()
        if one.pack != Pack()
    }


def only(found: GangInput) -> Gang:
    """The only gang."""
    (gang,) = found.gangs
    return gang


def test_leader_and_workers_share_a_rack(read: Read) -> None:
    """Podsets of one group name lie together: the whole replica is packed."""
    both = f"{RACK}, kueue.x-k8s.io/podset-group-name: g"
    text = lws(f"size: 3, leaderTemplate: {template(both)}, workerTemplate: {template(both)}")
    gang = only(read(text))
    assert (gang.root.pack, gang.root.groups, gang.root.multinode) == (Pack("rack"), (), True)
    assert planned(text, nodes(a=2, b=2)).status is Status.INFEASIBLE
    assert racks(planned(text, nodes(a=2, b=3))) == [{"b"}]


def test_each_podset_is_packed_for_itself(read: Read) -> None:
    """Without a group name workers lie together; the leader only needs a node that has the level."""
    text = lws(f"size: 3, leaderTemplate: {template(RACK)}, workerTemplate: {template(RACK)}")
    gang = only(read(text))
    assert shape(gang.root) == {"worker": Pack("rack")}
    assert gang.root.roles[0].spread == (Spread("rack", 1),)
    assert planned(text, nodes(a=2, b=1)).status is Status.OPTIMAL


def test_a_wish_is_a_preferred_level(read: Read) -> None:
    """A preferred topology is a preferred level; an unconstrained one says nothing."""
    text = lws("size: 2, workerTemplate: " + template("kueue.x-k8s.io/podset-preferred-topology: rack"))
    assert only(read(text)).root.pack == Pack(None, "rack")
    text = lws("size: 2, workerTemplate: " + template("kueue.x-k8s.io/podset-unconstrained-topology: 'true'"))
    assert only(read(text)).root.pack == Pack()


def test_two_systems_may_ask_for_different_levels(read: Read) -> None:
    """KAI's annotation and Kueue's hold both, one inside the other."""
    text = lws(
        "size: 2, workerTemplate: " + template(RACK), annotations="kai.scheduler/topology-required-placement: zone"
    )
    root = only(read(text)).root
    assert (root.pack, root.groups[0].pack, root.groups[0].multinode) == (Pack("rack"), Pack("zone"), True)


SLICES = "kueue.x-k8s.io/podset-slice-required-topology: rack, kueue.x-k8s.io/podset-slice-size: '2'"


def test_slices_lie_in_one_domain_each(read: Read) -> None:
    """Slices of two are a group that replicates."""
    text = lws("size: 4, workerTemplate: " + template(SLICES))
    (child,) = only(read(text)).root.groups
    assert (child.replicas, child.min_replicas, child.pack, child.roles[0].replicas) == (2, 2, Pack("rack"), 2)
    assert planned(text, nodes(a=3, b=1)).status is Status.INFEASIBLE
    assert planned(text, nodes(a=3, b=2)).status is Status.OPTIMAL


def test_slices_with_running_pods_keep_their_pods(read: Read) -> None:
    """Where a pod runs each slice is a group of its own, in the order of the names."""
    text = lws("size: 4, workerTemplate: " + template(SLICES))
    running = pod("s-0-1", spec=", nodeName: a-0")
    gang = only(read(text, cluster=running))
    assert [role.pods for role in gang.roles] == [("ns/s-0", "ns/s-0-1"), ("ns/s-0-2", "ns/s-0-3")]
    placed = planned(text, nodes(a=2, b=2) + running).gangs[0].assignments
    assert {item.pod: item.node[0] for item in placed if item.pod == "ns/s-0"} == {"ns/s-0": "a"}


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (SLICES, "role worker: slices of 2 pods do not divide 3 to 3 pods"),
        ("kueue.x-k8s.io/podset-slice-size: '2'", "podset-slice-required-topology]: is missing"),
        ("kueue.x-k8s.io/podset-slice-required-topology: rack", "podset-slice-size]: is missing"),
        (SLICES.replace("'2'", "two"), "'two' is no number of pods"),
        ("kueue.x-k8s.io/podset-slice-required-topology-constraints: '[]'", "rule of Kueue that is not supported"),
        ("kueue.x-k8s.io/podset-new-rule: x", "rule of Kueue that is not supported"),
        ("gang.scheduling.koordinator.sh/network-topology-spec: '{}'", "network topology of Koordinator"),
        ("topology.gke.io/any: x", "placement policies of GKE"),
        ("volcano.sh/network-topology-mode: hard", "network topology of Volcano"),
        ("kai.scheduler/segment-topology-required-placement: rack", "segments of a group"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(read: Read, annotations: str, message: str) -> None:
    """What is malformed or not supported is named, and becomes a warning where that is allowed."""
    text = lws("size: 3, workerTemplate: " + template(annotations))
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert message in str(caught.value)


def test_refusals_become_warnings(read: Read) -> None:
    """With --ignore-unsupported the gang is planned without the rule."""
    found = read(lws("size: 3, workerTemplate: " + template(SLICES)), ignore_unsupported=True)
    assert only(found).root.groups == ()
    assert [notice.code for notice in found.all_notices] == ["unsupported_ignored"]


def test_gangs_of_other_schedulers_are_no_single_pods(read: Read) -> None:
    """A pod that names a gang nobody reads is refused, not planned alone."""
    with pytest.raises(InvalidRequest, match="gangs of YuniKorn are not supported"):
        read(pod("a", "yunikorn.apache.org/task-group-name: g"))


def test_a_gang_does_not_read_rules_of_kueue(read: Read) -> None:
    """A `Gang` has pack rules of its own; templates with another's are refused."""
    text = (
        "apiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: g, namespace: ns}\n"
        f"spec: {{root: {{roles: [{{name: a, replicas: 1, template: {template(RACK)}}}]}}}}\n"
    )
    with pytest.raises(InvalidRequest, match="topology rules of Kueue are not supported here"):
        read(text)


def test_pods_of_a_pod_group_follow_kueue(read: Read) -> None:
    """Pods with the annotations lie together within their PodGroup; those without are free."""
    group = "---\napiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g, namespace: ns}\n"
    group += "spec: {minMember: 3}\n"
    name = "pod-group-name: g"
    text = group + pod("a", f"{RACK}, {name}") + pod("b", f"{RACK}, {name}") + pod("c", name, gpus=4)
    assert shape(only(read(text)).root) == {"g": Pack("rack")}
    assert planned(text, nodes(a=1, b=1, c=1)).status is Status.INFEASIBLE
    assert planned(text, nodes(a=1, b=2)).status is Status.OPTIMAL


def test_rules_for_some_of_an_elastic_group_are_refused(read: Read) -> None:
    """A minimum over pods of which only some lie together cannot be told."""
    group = "---\napiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {name: g, namespace: ns}\n"
    group += "spec: {minMember: 2}\n"
    name = "pod-group-name: g"
    with pytest.raises(InvalidRequest, match="only 2 of 3 pods are needed"):
        read(group + pod("a", f"{RACK}, {name}") + pod("b", f"{RACK}, {name}") + pod("c", name, gpus=4))


@pytest.mark.parametrize("batch", [False, True])
def test_exclusive_replicas_keep_apart(batch: bool) -> None:
    """Each replica of an exclusive set lies in a rack of its own, those of one call too."""
    text = lws("size: 2, workerTemplate: " + template(), replicas=2, annotations=EXCLUSIVE)
    found = planned(text, nodes(a=4, b=2), batch)
    assert sorted(map(sorted, racks(found))) == [["a"], ["b"]]
    alone = planned(text, nodes(a=4), batch)
    assert sorted(len(one.assignments) for one in alone.gangs) == [0, 2]


def test_exclusive_replicas_lie_in_one_domain() -> None:
    """Two nodes in different racks are no place for a replica of two."""
    text = lws("size: 2, workerTemplate: " + template(), annotations=EXCLUSIVE)
    assert planned(text, nodes(a=1, b=1)).status is Status.INFEASIBLE


@pytest.mark.parametrize(
    ("labels", "where"), [(f"{KEY}: other", {"b"}), ("app: other", {"a"})], ids=["of a group", "of none"]
)
def test_pods_of_another_group_are_in_the_way(labels: str, where: set[str]) -> None:
    """A pod of another group that declares nothing keeps an exclusive replica out of its rack; others do not."""
    text = lws("size: 1, workerTemplate: " + template(), annotations=EXCLUSIVE)
    running = pod("x", labels=labels, spec=", nodeName: a-0", gpus=0)
    taken = pod("y", spec=", nodeName: b-0", gpus=4)
    assert racks(planned(text, nodes(a=1, b=2) + running + taken)) == [where]


def test_a_running_exclusive_group_repels_a_set() -> None:
    """The leader of another exclusive group repels pods that its controller will give a key to."""
    text = lws("size: 1, workerTemplate: " + template())
    term = (
        f"{{topologyKey: rack, labelSelector: {{matchExpressions: [{{key: {KEY}, operator: Exists}},"
        f" {{key: {KEY}, operator: NotIn, values: [other]}}]}}}}"
    )
    anti = f", affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"
    running = pod("x", labels=f"{KEY}: other", spec=f", nodeName: a-0{anti}", gpus=4)
    assert racks(planned(text, nodes(a=2, b=1) + running)) == [{"b"}]


AFFINITY = (
    f", affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: rack,"
    f" labelSelector: {{matchExpressions: [{{key: {KEY}, operator: In, values: [k]}}]}}}}]}}}}"
)


def test_affinity_to_the_own_group_is_a_pack_rule(read: Read) -> None:
    """The leader's affinity to its own key packs every pod with that key; other affinity is refused."""
    name, key = "pod-group-name: g", f"{KEY}: k"
    text = pod("a", name, key, AFFINITY) + pod("b", name, key)
    assert only(read(text)).root.pack == Pack("rack")
    with pytest.raises(InvalidRequest, match="required pod affinity is not supported"):
        read(pod("a", name, f"{KEY}: other", AFFINITY))


def test_annotated_pods_keep_their_domain(read: Read) -> None:
    """A pod with the annotation has the rule even where nobody has given it the terms; without a key it is refused."""
    text = pod("a", EXCLUSIVE, f"{KEY}: k")
    gang = only(read(text))
    assert gang.root.pack == Pack("rack")
    assert [term.topology_key for term in gang.roles[0].constraints.anti_affinity] == ["rack"]
    with pytest.raises(InvalidRequest, match=f"needs the label {KEY}"):
        read(pod("a", EXCLUSIVE))


SUBGROUP = "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology: rack"


def test_exclusive_subgroups() -> None:
    """Subgroups that are alike get a rack each."""
    text = lws(f"size: 4, subGroupPolicy: {{subGroupSize: 2}}, workerTemplate: {template()}", annotations=SUBGROUP)
    assert planned(text, nodes(a=4)).status is Status.INFEASIBLE
    assert racks(planned(text, nodes(a=3, b=3))) == [{"a", "b"}]


def test_subgroups_without_their_leader() -> None:
    """An excluded leader is in no subgroup."""
    inner = f"size: 5, subGroupPolicy: {{subGroupSize: 2, type: LeaderExcluded}}, leaderTemplate: {template()}"
    text = lws(f"{inner}, workerTemplate: {template()}", annotations=SUBGROUP)
    assert racks(planned(text, nodes(a=2, b=3))) == [{"a", "b"}]
    assert planned(text, nodes(a=5)).status is Status.INFEASIBLE


def test_subgroups_that_differ_are_refused(read: Read) -> None:
    """A leader in one of several subgroups makes them differ."""
    inner = f"size: 4, subGroupPolicy: {{subGroupSize: 2}}, leaderTemplate: {template()}, workerTemplate: {template()}"
    with pytest.raises(InvalidRequest, match="exclusive subgroups that are not alike are not supported"):
        read(lws(inner, annotations=SUBGROUP))


def test_keys_are_told_apart() -> None:
    """Keys of no known scheduler are harmless."""
    assert treatment("example.com/x") is Treatment.HARMLESS
    assert treatment("kueue.x-k8s.io/podset-required-topology") is Treatment.HONOURED
    assert treatment("volcano.sh/numa-topology-policy") is Treatment.SOFT
    assert treatment("kueue.x-k8s.io/podset-x") is Treatment.REFUSED
