"""KAI and native PodGroups with their pods."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Group, Kind, Pack
from solver.domain.resources import GPU

Read = Callable[..., GangInput]

KAI = (
    "apiVersion: scheduling.run.ai/v2alpha2\nkind: PodGroup\nmetadata: {{name: g, namespace: ns{meta}}}\nspec: {spec}\n"
)
NATIVE = "apiVersion: scheduling.k8s.io/v1beta1\nkind: PodGroup\nmetadata: {{name: g, namespace: ns}}\nspec: {spec}\n"


def kai(spec: str = "{}", meta: str = "") -> str:
    """A KAI PodGroup ns/g."""
    return "---\n" + KAI.format(spec=spec, meta=meta)


def pod(
    name: str,
    *,
    group: str = "g",
    subgroup: str = "",
    gpus: int = 1,
    spec: str = "",
    labels: str = "",
    status: str = "",
) -> str:
    """A pod of ns that names the group by annotation."""
    every = ", ".join(filter(None, [f"kai.scheduler/subgroup-name: {subgroup}" if subgroup else "", labels]))
    return (
        "---\napiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: ns, annotations: {{pod-group-name: {group}}}, labels: {{{every}}}}}\n"
        f"spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]{spec}}}\n"
        f"status: {{{status}}}\n"
    )


def groups(group: Group) -> dict[str, Group]:
    """Groups of a tree by name."""
    return {each.name: each for each in group.walk()}


def test_equal_pods_are_one_role(read: Read) -> None:
    """Pods alike form one role named after the group, in natural order; its minimum is minMember, the rest elastic."""
    text = kai("{minMember: 2, queue: q, topologyConstraint: {topology: t, requiredTopologyLevel: rack}}")
    (gang,) = read(text + pod("p-10") + pod("p-9") + pod("p-1")).gangs
    assert (gang.name, gang.queue, gang.topology, gang.priority) == ("ns/g", "q", "t", 50)
    assert (gang.root.name, gang.root.min, gang.root.pack) == ("ns/g", None, Pack("rack"))
    (role,) = gang.roles
    assert (role.name, role.replicas, role.min, role.requests[GPU]) == ("g", 3, 2, 1000)
    assert role.pods == ("ns/p-1", "ns/p-9", "ns/p-10")


@pytest.mark.parametrize(("spec", "least"), [("{}", 1), ("{minMember: 0}", 0), ("{minMember: 5}", 5)])
def test_minimum_of_a_plain_group(read: Read, spec: str, least: int) -> None:
    """Without minMember one pod is needed, 0 makes every pod optional, and missing pods stay missing."""
    (gang,) = read(kai(spec) + pod("a") + pod("b")).gangs
    assert (gang.roles[0].replicas, gang.roles[0].min) == (2, least)


def test_unlike_pods_share_the_minimum(read: Read) -> None:
    """Unlike pods form numbered roles by first pod, none of them needed for itself; the group has the minimum."""
    (gang,) = read(kai("{minMember: 3}") + pod("a", gpus=4) + pod("b") + pod("c", gpus=4) + pod("d")).gangs
    assert [(role.name, role.pods, role.min) for role in gang.roles] == [
        ("g", ("ns/a", "ns/c"), 0),
        ("g-2", ("ns/b", "ns/d"), 0),
    ]
    assert gang.root.min == 3


def test_labels_of_one_pod_alone_split_no_role(read: Read) -> None:
    """Labels that no selector names make no roles, others do."""
    text = kai() + pod("a", labels="apps.kubernetes.io/pod-index: '0', app: x")
    text += pod("b", labels="apps.kubernetes.io/pod-index: '1', app: x") + pod("c", labels="app: y")
    selector = "labelSelector: {matchLabels: {app: z}}"
    term = f"requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: zone, {selector}}}]"
    affinity = f"affinity: {{podAntiAffinity: {{{term}}}}}"
    text += f"---\nkind: Pod\nmetadata: {{name: other, namespace: ns}}\nspec: {{containers: [], {affinity}}}\n"
    gang = read(text).gangs[0]
    assert [role.pods for role in gang.roles] == [("ns/a", "ns/b"), ("ns/c",)]
    assert gang.roles[0].constraints.labels == (("app", "x"),)


TREE = kai(
    "{minSubGroup: 2, subGroups: ["
    "{name: prefill, parent: serve, minMember: 2},"
    "{name: decode, parent: serve, minMember: 1, topologyConstraint: {topology: t, preferredTopologyLevel: rack}},"
    "{name: serve, minSubGroup: 1, topologyConstraint: {topology: t, requiredTopologyLevel: zone}},"
    "{name: router},"
    "{name: extra, minMember: 0}]}"
)
TREE_PODS = pod("p0", subgroup="prefill") + pod("p1", subgroup="prefill") + pod("d0", subgroup="decode")
TREE_PODS += pod("r0", subgroup="router", gpus=0) + pod("x0", subgroup="extra")


def test_subgroups_become_a_tree(read: Read) -> None:
    """Parents, minimums over children and pods, and pack rules of a PodGroup carry over."""
    (gang,) = read(TREE + TREE_PODS, model="llama-3-8b").gangs
    tree = groups(gang.root)
    assert [group.name for group in gang.root.groups] == ["serve", "router", "extra"]
    assert (gang.root.min, gang.topology) == (2, "t")
    assert [group.name for group in tree["serve"].groups] == ["prefill", "decode"]
    assert (tree["serve"].min, tree["serve"].pack) == (1, Pack("zone"))
    assert (tree["decode"].min, tree["decode"].pack) == (None, Pack(None, "rack"))
    roles = {role.name: role for role in gang.roles}
    assert {name: (role.min, role.kind) for name, role in roles.items()} == {
        "prefill": (2, Kind.PREFILL),
        "decode": (1, Kind.DECODE),
        "router": (1, Kind.ROUTER),
        "extra": (0, Kind.OTHER),
    }
    assert [(str(flow), flow.bytes) for flow in gang.flows] == [
        ("prefill → decode", 131_072 * 4000),
        ("router → prefill", 65_536),
    ]


def test_a_subgroup_without_pods_keeps_its_minimum(read: Read) -> None:
    """A leaf nobody names stays in the tree with the pods it misses."""
    (gang,) = read(kai("{subGroups: [{name: a, minMember: 2}, {name: b}]}") + pod("x", subgroup="b")).gangs
    assert [(role.name, role.replicas, role.min) for role in gang.roles] == [("a", 0, 2), ("b", 1, 1)]


def test_numbered_roles_avoid_names_of_subgroups(read: Read) -> None:
    """A second role of `a` is not called like the subgroup `a-2`."""
    text = kai("{subGroups: [{name: a}, {name: a-2}]}") + pod("x", subgroup="a") + pod("y", subgroup="a", gpus=2)
    (gang,) = read(text + pod("z", subgroup="a-2")).gangs
    assert [role.name for role in gang.roles] == ["a", "a-3", "a-2"]


def test_a_total_that_subgroups_imply_is_accepted(read: Read) -> None:
    """A minMember beside subgroups is fine up to the sum of their minimums, unsupported above."""
    spec = "{{minMember: {}, subGroups: [{{name: a, minMember: 2}}, {{name: b}}]}}"
    pods = "".join(pod(f"x{index}", subgroup="a" if index < 3 else "b") for index in range(4))
    assert read(kai(spec.format(3)) + pods).gangs[0].root.min is None
    with pytest.raises(InvalidRequest, match=r"spec\.minMember: 4 pods over all subgroups"):
        read(kai(spec.format(4)) + pods)
    found = read(kai(spec.format(4)) + pods, ignore_unsupported=True)
    assert [notice.code for notice in found.all_notices] == ["unsupported_ignored"]


def test_bound_pods_are_running_members(read: Read) -> None:
    """Pods bound by themselves or by a live BindRequest run; finished and terminating ones are no members."""
    text = kai("{minMember: 2}") + pod("a", spec=", nodeName: n1") + pod("b") + pod("c")
    text += pod("done", spec=", nodeName: n1", status="phase: Succeeded")
    leaving = pod("leaving", spec=", nodeName: n1").replace("name: leaving", "name: leaving, deletionTimestamp: '2026'")
    bind = (
        "---\nkind: BindRequest\nmetadata: {{name: {0}, namespace: ns}}\n"
        "spec: {{podName: {0}, selectedNode: n2}}\nstatus: {{phase: {1}}}\n"
    )
    cluster = bind.format("b", "Pending") + bind.format("c", "Failed")
    (gang,) = read(text + leaving, cluster=cluster).gangs
    assert gang.running == (BoundMember("ns/a", "n1"), BoundMember("ns/b", "n2"))
    assert gang.roles[0].pods == ("ns/a", "ns/b", "ns/c")


def test_pods_of_the_cluster_count_only_when_bound(read: Read) -> None:
    """A bound copy beats the pending one of the file, bound members join, pending ones of the cluster do not."""
    text = kai("{minMember: 3}") + pod("a") + pod("b")
    cluster = pod("a", spec=", nodeName: n1") + pod("c", spec=", nodeName: n2") + pod("d")
    (gang,) = read(text, cluster=cluster).gangs
    assert gang.running == (BoundMember("ns/a", "n1"), BoundMember("ns/c", "n2"))
    assert gang.roles[0].pods == ("ns/a", "ns/b", "ns/c")


def test_podgroups_of_the_cluster_are_context(read: Read) -> None:
    """A PodGroup of the cluster is not planned for itself but tells what waiting pods of the file need."""
    cluster = kai("{minMember: 1, queue: q}") + kai().replace("name: g", "name: other")
    (gang,) = read(pod("a") + pod("b"), cluster=cluster).gangs
    assert (gang.name, gang.queue, gang.roles[0].min) == ("ns/g", "q", 1)


@pytest.mark.parametrize(
    ("spec", "files", "cluster", "priority"),
    [
        ("{}", "", "", 50),
        ("{priorityClassName: inference}", "", "", 125),
        ("{priorityClassName: gold}", "", "kind: PriorityClass\nmetadata: {name: gold}\nvalue: 900\n", 900),
        ("{priorityClassName: train}", "", "kind: PriorityClass\nmetadata: {name: train}\nvalue: 3\n", 3),
        ("{priorityClassName: gold}", "---\nkind: PriorityClass\nmetadata: {name: gold}\nvalue: 8\n", "", 8),
    ],
)
def test_priority_classes(read: Read, spec: str, files: str, cluster: str, priority: int) -> None:
    """A priority class is looked up in the input, then among KAI's own; without one KAI takes 50."""
    (gang,) = read(kai(spec) + pod("a") + files, cluster=cluster).gangs
    assert gang.priority == priority


def test_an_unknown_priority_class_is_noted(read: Read) -> None:
    """A class nobody knows becomes the default with a notice."""
    found = read(kai("{priorityClassName: gold}") + pod("a"))
    assert found.gangs[0].priority == 50
    assert [notice.code for notice in found.notices["ns/g"]] == ["priority_unknown"]


def test_annotations_stand_in_for_a_missing_constraint(read: Read) -> None:
    """KAI's annotations pack a PodGroup without topologyConstraint and yield to one."""
    meta = ", annotations: {kai.scheduler/topology: u, kai.scheduler/topology-required-placement: zone}"
    assert read(kai("{}", meta) + pod("a")).gangs[0].root.pack == Pack("zone")
    (gang,) = read(kai("{topologyConstraint: {topology: t, preferredTopologyLevel: rack}}", meta) + pod("a")).gangs
    assert (gang.topology, gang.root.pack) == ("t", Pack(None, "rack"))


def _sub(entries: str, extra: str = "") -> str:
    return kai(f"{{subGroups: [{entries}]{extra}}}")


CHAIN = ", ".join(["{name: g0}", *(f"{{name: g{n}, parent: g{n - 1}}}" for n in range(1, 50))])
TWO = ", ".join(f"{{name: {name}, topologyConstraint: {{topology: {name}}}}}" for name in "tu")
SKEW = ", topologySpreadConstraints: [{whenUnsatisfiable: DoNotSchedule}]"
LABEL = "Pod ns/x: metadata.labels[kai.scheduler/subgroup-name]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (kai("{minMember: 1, minSubGroup: 1}"), "PodGroup ns/g: spec.minSubGroup: excludes minMember"),
        (kai("{minSubGroup: 1}"), "spec.minSubGroup: needs subgroups"),
        (kai("{minMember: -1}"), "spec.minMember: -1 is out of range"),
        (kai("{minMember: 1e30}"), "spec.minMember: must be a whole number"),
        (_sub("{name: a, minMember: 1}, {name: b, parent: a}"), "spec.subGroups[0].minMember: belongs to leaves"),
        (_sub("{name: a}, {name: a}"), "spec.subGroups[1].name: subgroup 'a' appears twice"),
        (_sub("{name: a, parent: z}"), "spec.subGroups[0].parent: subgroup 'z' does not exist"),
        (_sub("{name: a, parent: b}, {name: b, parent: a}"), "spec.subGroups: subgroups are each other's parents: "),
        (_sub("{name: a, parent: a}"), "subgroups are each other's parents: a → a"),
        (_sub(CHAIN), "nest more than 32 deep"),
        (_sub("{name: a}") + pod("x", subgroup="b"), f"{LABEL}: 'b' is not"),
        (_sub("{name: a}, {name: b, parent: a}") + pod("x", subgroup="a"), f"{LABEL}: 'a' is not a subgroup that"),
        (_sub("{name: a}") + pod("x"), f"{LABEL}: is missing"),
        (kai() + pod("x", subgroup="a"), f"{LABEL}: subgroup 'a' does not exist: the PodGroup has none"),
        (_sub(TWO) + pod("x", subgroup="t"), "several topologies in one gang are not supported yet (t, u)"),
        (kai(), "PodGroup ns/g: metadata.name: no pod names this PodGroup"),
        (kai() + pod("a") + kai(), "metadata.name: another gang is called ns/g too"),
        (kai() + pod("a", spec=SKEW), "Pod ns/a: spec.topologySpreadConstraints[0]: "),
    ],
)
def test_wrong_groups_are_refused_in_one_line(read: Read, text: str, message: str) -> None:
    """What KAI would reject, or what cannot be honoured, is refused with object and field."""
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("gang.yaml: ")


def test_native_groups(read: Read) -> None:
    """A native PodGroup gives minimum, topology key and priority; pods name it in their spec."""
    topology = "schedulingConstraints: {topology: [{key: example.com/rack}]}"
    spec = f"{{schedulingPolicy: {{gang: {{minCount: 2}}}}, {topology}, priority: 9}}"
    member = (
        "---\nkind: Pod\nmetadata: {{name: {}, namespace: ns}}\n"
        "spec: {{schedulingGroup: {{podGroupName: g}}, containers: []}}\n"
    )
    (gang,) = read(NATIVE.format(spec=spec) + member.format("a") + member.format("b")).gangs
    assert (gang.name, gang.priority, gang.root.pack) == ("ns/g", 9, Pack("example.com/rack"))
    assert (gang.roles[0].replicas, gang.roles[0].min) == (2, 2)


def test_a_basic_native_policy_needs_one_pod(read: Read) -> None:
    """A basic policy plans what fits, at least one pod."""
    (gang,) = read(NATIVE.format(spec="{schedulingPolicy: {basic: {}}}") + pod("a") + pod("b")).gangs
    assert (gang.roles[0].replicas, gang.roles[0].min, gang.priority) == (2, 1, 0)


def test_composite_native_groups_are_unsupported(read: Read) -> None:
    """Membership in a composite group is a hard wish that cannot be honoured."""
    with pytest.raises(InvalidRequest, match=r"spec\.parentCompositePodGroupName: composite"):
        read(NATIVE.format(spec="{parentCompositePodGroupName: c}") + pod("a"))


@pytest.mark.parametrize(
    ("labels", "name", "kind"),
    [
        (
            "nvidia.com/dynamo-sub-component-type: decode, nvidia.com/dynamo-component-type: worker",
            "prefill",
            Kind.DECODE,
        ),
        ("nvidia.com/dynamo-component-type: frontend", "decode", Kind.ROUTER),
        ("nvidia.com/dynamo-component-type: worker", "prefill-ldr", Kind.PREFILL),
        ("nvidia.com/dynamo-component-type: worker", "g", Kind.WORKER),
        ("nvidia.com/dynamo-component-type: planner", "g", Kind.OTHER),
        ("", "my-router", Kind.ROUTER),
        ("", "prefill-decode", Kind.OTHER),
    ],
)
def test_kinds_of_roles(read: Read, labels: str, name: str, kind: Kind) -> None:
    """Dynamo's labels decide, the more exact one first; then the name."""
    (gang,) = read(_sub(f"{{name: {name}}}") + pod("a", subgroup=name, labels=labels)).gangs
    assert gang.roles[0].kind is kind


def test_a_flow_known_by_names_alone_is_said_to_be_assumed(read: Read) -> None:
    """Roles called prefill and decode have a KV flow; only an engine's words or Dynamo's labels make it a model's."""
    tree = kai("{subGroups: [{name: prefill, minMember: 1}, {name: decode, minMember: 1}]}")
    pods = pod("p", subgroup="prefill") + pod("d", subgroup="decode")
    (plain,) = read(tree + pods).notices["ns/g"]
    assert (plain.code, "by their names alone" in plain.message) == ("flow_assumed", True)
    labelled = pods.replace("labels: {", "labels: {nvidia.com/dynamo-component-type: worker, ", 1)
    assert labelled != pods
    served = pods.replace("containers: [{", "containers: [{args: [--model, acme/tiny], ", 1)
    assert served != pods
    for text in (labelled, served):
        assert [notice.code for notice in read(tree + text).notices["ns/g"]] == ["model_assumed"]
    assert read(tree + pods, model="qwen3-8b").all_notices == ()
