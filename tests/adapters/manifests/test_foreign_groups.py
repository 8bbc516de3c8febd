"""PodGroups of coscheduling, Koordinator and Volcano, and pods that name a group by anybody's label or annotation."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Pack

Read = Callable[..., GangInput]

TOPOLOGY = (
    "---\napiVersion: kai.scheduler/v1alpha1\nkind: Topology\nmetadata: {name: t}\n"
    "spec: {levels: [{nodeLabel: zone}, {nodeLabel: rack}, {nodeLabel: kubernetes.io/hostname}]}\n"
)
BY_LABEL = "scheduling.x-k8s.io/pod-group: g"
BY_VOLCANO = "scheduling.k8s.io/group-name: g"


def group(api: str, spec: str, annotations: str = "") -> str:
    """A PodGroup ns/g."""
    return (
        f"---\napiVersion: {api}\nkind: PodGroup\n"
        f"metadata: {{name: g, namespace: ns, annotations: {{{annotations}}}}}\nspec: {{{spec}}}\n"
    )


def pod(name: str, labels: str = "", annotations: str = "", spec: str = "", gpus: int = 1) -> str:
    """A pod of ns."""
    return (
        "---\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: ns, labels: {{{labels}}}, annotations: {{{annotations}}}}}\n"
        f"spec: {{containers: [{{name: m, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]{spec}}}\n"
    )


def task(name: str, task_name: str, gpus: int = 1) -> str:
    """A pod of a task of Volcano."""
    return pod(name, annotations=f"{BY_VOLCANO}, volcano.sh/task-spec: {task_name}", gpus=gpus)


@pytest.mark.parametrize(
    ("api", "labels", "annotations"),
    [
        ("scheduling.x-k8s.io/v1alpha1", BY_LABEL, ""),
        ("scheduling.sigs.k8s.io/v1alpha1", "pod-group.scheduling.sigs.k8s.io: g", ""),
        ("scheduling.sigs.k8s.io/v1alpha1", "", "gang.scheduling.koordinator.sh/name: g"),
        ("scheduling.volcano.sh/v1beta1", "", BY_VOLCANO),
        ("scheduling.volcano.sh/v1beta1", "", "scheduling.volcano.sh/group-name: g"),
    ],
)
def test_pods_join_the_group_they_name(read: Read, api: str, labels: str, annotations: str) -> None:
    """One gang with the group's minimum, in which bound pods run."""
    text = group(api, "minMember: 3, priorityClassName: inference")
    text += pod("a", labels, annotations) + pod("b", labels, annotations)
    (gang,) = read(text, cluster=pod("c", labels, annotations, ", nodeName: n")).gangs
    assert (gang.name, gang.priority) == ("ns/g", 125)
    assert [(role.replicas, role.min) for role in gang.roles] == [(3, 3)]
    assert gang.running == (BoundMember("ns/c", "n"),)


@pytest.mark.parametrize(
    ("labels", "annotations"),
    [
        (BY_LABEL, ""),
        ("pod-group.scheduling.sigs.k8s.io/name: g", ""),
        ("kueue.x-k8s.io/pod-group-name: g", ""),
        ("", BY_VOLCANO),
    ],
)
def test_a_missing_group_is_still_one_gang(read: Read, labels: str, annotations: str) -> None:
    """Pods that share a name are never gangs of one pod: all of them are needed, with a warning."""
    found = read(pod("a", labels, annotations) + pod("b", labels, annotations))
    (gang,) = found.gangs
    assert (gang.name, gang.roles[0].min) == ("ns/g", 2)
    assert [notice.code for notice in found.all_notices] == ["group_unknown"]


@pytest.mark.parametrize(
    ("labels", "annotations"),
    [
        ("kueue.x-k8s.io/pod-group-name: g", "kueue.x-k8s.io/pod-group-total-count: '4'"),
        ("", "gang.scheduling.koordinator.sh/name: g, gang.scheduling.koordinator.sh/min-available: '4'"),
        ("pod-group.scheduling.sigs.k8s.io/name: g, pod-group.scheduling.sigs.k8s.io/min-available: '4'", ""),
        ("", f"{BY_VOLCANO}, scheduling.volcano.sh/group-min-member: '4'"),
    ],
)
def test_pods_may_say_how_many_are_needed(read: Read, labels: str, annotations: str) -> None:
    """The number the pods tell counts, even where fewer exist."""
    found = read(pod("a", labels, annotations) + pod("b", labels, annotations))
    assert (found.gangs[0].roles[0].min, found.all_notices) == (4, ())


def test_gangs_of_several_groups_are_refused(read: Read) -> None:
    """Koordinator's gang groups are named; a list of the group alone is none."""
    api, key = "scheduling.sigs.k8s.io/v1alpha1", "gang.scheduling.koordinator.sh/groups"
    member = pod("a", "pod-group.scheduling.sigs.k8s.io: g")
    assert read(group(api, "minMember: 1", f"{key}: '[\"ns/g\"]'") + member).gangs[0].name == "ns/g"
    with pytest.raises(InvalidRequest, match="a gang made of several groups is not supported"):
        read(group(api, "minMember: 1", f'{key}: \'["ns/g", "ns/h"]\'') + member)


VOLCANO = "scheduling.volcano.sh/v1beta1"


def test_minimums_of_tasks(read: Read) -> None:
    """Each task has a role with its minimum, and the group the one over all."""
    text = group(VOLCANO, "minMember: 3, minTaskMember: {master: 1, worker: 1}, queue: default")
    text += task("m-0", "master", 2) + "".join(task(f"w-{at}", "worker") for at in range(3))
    (gang,) = read(text).gangs
    assert [(role.name, role.replicas, role.min) for role in gang.roles] == [("master", 1, 1), ("worker", 3, 1)]
    assert (gang.root.min, gang.queue) == (3, "")


def test_minimums_of_tasks_that_do_not_count(read: Read) -> None:
    """More than the minimum over all, they are ignored as Volcano does, with a warning."""
    text = group(VOLCANO, "minMember: 1, minTaskMember: {master: 1, worker: 1}, queue: q")
    found = read(text + task("m-0", "master") + task("w-0", "worker"))
    assert ([role.min for role in found.gangs[0].roles], found.gangs[0].queue) == ([1], "q")
    assert [notice.field for notice in found.all_notices] == ["spec.minTaskMember"]


def test_unlike_pods_of_a_task(read: Read) -> None:
    """Pods of one task that differ share its minimum; a minimum above that of the tasks is refused."""
    tasks = "minTaskMember: {worker: 2}"
    pods = task("w-0", "worker", 1) + task("w-1", "worker", 2) + task("w-2", "worker", 2)
    (gang,) = read(group(VOLCANO, f"minMember: 2, {tasks}") + pods).gangs
    assert [(child.min, len(child.roles)) for child in gang.root.groups] == [(2, 2)]
    with pytest.raises(InvalidRequest, match="minMember 3 above those of the tasks"):
        read(group(VOLCANO, f"minMember: 3, {tasks}") + pods)


@pytest.mark.parametrize(
    ("network", "pack"),
    [
        ("mode: hard, highestTierAllowed: 1", Pack("rack")),
        ("mode: hard, highestTierAllowed: 2", Pack("zone")),
        ("mode: hard, highestTierAllowed: 3", Pack()),
        ("mode: hard, highestTierName: rack", Pack("rack")),
        ("highestTierAllowed: 1", Pack("rack")),
        ("mode: soft", Pack(None, "narrowest")),
        ("mode: soft, highestTierName: rack", Pack(None, "rack")),
    ],
)
def test_tiers_are_levels(read: Read, network: str, pack: Pack) -> None:
    """Tiers are counted from the level above the hosts upward."""
    text = group(VOLCANO, f"minMember: 1, networkTopology: {{{network}}}") + task("a", "")
    assert read(text, cluster=TOPOLOGY).gangs[0].root.pack == pack


def test_tiers_of_hyper_nodes(read: Read) -> None:
    """HyperNodes of a tier say what it is called; without a name it is refused."""
    text = group(VOLCANO, "minMember: 1, networkTopology: {highestTierAllowed: 1}") + task("a", "")
    hyper = "---\napiVersion: topology.volcano.sh/v1alpha1\nkind: HyperNode\nmetadata: {name: s}\nspec: {tier: 1%s}\n"
    assert read(text, cluster=TOPOLOGY + hyper % ", tierName: zone").gangs[0].root.pack == Pack("zone")
    with pytest.raises(InvalidRequest, match="HyperNodes of tier 1 share no tierName"):
        read(text, cluster=TOPOLOGY + hyper % "")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("networkTopology: {mode: firm}", "must be hard or soft, not 'firm'"),
        ("networkTopology: {mode: hard}", "spec.networkTopology.highestTierAllowed: is missing"),
        ("networkTopology: {highestTierAllowed: 0}", "0 is below tier 1"),
        ("subGroupPolicy: [{name: a}]", "subgroups of Volcano are not supported"),
        ("minTaskMember: {a: -1}", "spec.minTaskMember.a: -1 is no number of pods"),
    ],
)
def test_wrong_groups_of_volcano(read: Read, spec: str, message: str) -> None:
    """A wrong or unsupported field is named."""
    with pytest.raises(InvalidRequest) as caught:
        read(group(VOLCANO, f"minMember: 1, {spec}") + task("a", ""), cluster=TOPOLOGY)
    assert message in str(caught.value)


def test_groups_of_unknown_schedulers_are_refused(read: Read) -> None:
    """A PodGroup nobody reads is refused, or a warning where that is allowed."""
    text = group("scheduling.example.com/v1", "minMember: 2") + pod("a") + pod("b")
    with pytest.raises(InvalidRequest, match=r"a PodGroup of scheduling\.example\.com is not supported"):
        read(text)
    assert [notice.code for notice in read(text, ignore_unsupported=True).general] == ["unsupported_ignored"]
