"""Gangs made of the pods that exist."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from adapters.apply.gangs import LiveGangs
from adapters.apply.observed import LiveGang
from adapters.kubernetes.placements import Owner
from adapters.kubernetes.resources import GANGS, PODS
from adapters.manifests.reading import GangOptions
from solver.domain.gang import BoundMember, Gang, Kind, Pack, Pattern
from solver.domain.resources import GPU
from support.made_up_mirror import MadeUpMirror

Read = Callable[..., LiveGang]

GANG = """---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {{name: g, creationTimestamp: "2026-01-01T00:00:10Z"}}
spec: {spec}
"""
PD = (
    "{priority: 3, queue: q, topology: t, root: {pack: {required: zone, preferred: rack}, roles: ["
    "{name: prefill, kind: prefill, replicas: 2}, {name: decode, kind: decode, replicas: 3, min: 1}]},"
    " flows: [{from: prefill, to: decode, bytes: 7}]}"
)
UNITS = (
    "{root: {roles: [{name: prefill, kind: prefill, replicas: 1}], groups: [{name: unit, replicas: 3, min: 2,"
    " pack: {required: rack}, roles: [{name: lead, kind: decode, replicas: 1}, {name: rank, kind: decode, replicas: 2}]"
    "}]}, flows: [{from: prefill, to: [lead, rank], bytes: 7}],"
    " reach: [{from: prefill, to: [lead, rank], level: zone}]}"
)
ROLE_OF_X = "Pod ns/x: metadata.labels[huddle.scheduler/role]"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def gang(spec: str = PD) -> str:
    """A Gang ns/g."""
    return GANG.format(spec=spec)


def pod(
    name: str,
    role: str = "",
    *,
    gpus: int = 4,
    node: str = "",
    labels: str = "",
    annotations: str = "",
    spec: str = "",
    status: str = "",
    join: str = "huddle.scheduler/gang: g",
    meta: str = "",
    gated: bool = True,
) -> str:
    """A pod of ns that names the gang by label; gated unless it is bound."""
    every = ", ".join(filter(None, [join, f"huddle.scheduler/role: {role}" if role else "", labels]))
    held = f", nodeName: {node}" if node else ", schedulingGates: [{name: huddle.scheduler/gang}]" if gated else ""
    return (
        "---\nkind: Pod\n"
        f"metadata: {{name: {name}, labels: {{{every}}}, annotations: {{{annotations}}}{meta}}}\n"
        f"spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]{held}{spec}}}\n"
        f"status: {{{status}}}\n"
    )


def keeping_away(label: str) -> str:
    """Affinity of a pod that tolerates no pod with a label in its zone."""
    selector = f"labelSelector: {{matchExpressions: [{{key: {label}, operator: Exists}}]}}"
    term = f"{{topologyKey: zone, {selector}}}"
    return f"affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"


def pinned(*nodes: str, selector: str = "") -> str:
    """A spec whose only term names nodes."""
    fields = ", ".join(f"{{key: metadata.name, operator: In, values: [{node}]}}" for node in nodes)
    terms = f"[{{matchFields: [{fields}]{selector}}}]"
    return f", affinity: {{nodeAffinity: {{{REQUIRED}: {{nodeSelectorTerms: {terms}}}}}}}"


def everyone() -> str:
    """All pods of PD."""
    return "".join(
        [*(pod(f"p-{i}", "prefill") for i in range(2)), *(pod(f"d-{i}", "decode", gpus=8) for i in range(3))]
    )


def made(found: LiveGang) -> Gang:
    """The gang, which there is and which can be read."""
    assert found.problem == ""
    assert found.gang is not None
    return found.gang


def test_pods_join_their_roles(live: Read) -> None:
    """Real names, requests of the pods, what the object says of pack, flows, queue and priority; and its owner."""
    found = live(gang() + everyone())
    it = made(found)
    assert (it.name, it.priority, it.queue, it.topology) == ("ns/g", 3, "q", "t")
    assert it.root.pack == Pack("zone", "rack")
    prefill, decode = it.roles
    assert (prefill.pods, prefill.min, prefill.kind) == (("ns/p-0", "ns/p-1"), 2, Kind.PREFILL)
    assert (decode.pods, decode.min, decode.requests[GPU]) == (("ns/d-0", "ns/d-1", "ns/d-2"), 1, 8000)
    (flow,) = it.flows
    assert (flow.senders, flow.receivers, flow.bytes) == (("prefill",), ("decode",), 7)
    assert found.owner == Owner("huddle.scheduler/v1alpha1", "Gang", "g", "uid-of-g")
    assert (found.is_own, found.is_declared, found.is_open, found.missing) == (True, True, False, {})
    assert it.running == ()


def test_templates_do_not_count(live: Read) -> None:
    """What a template asks for is not asked for: the pods are there."""
    template = (
        "template: {spec: {containers: [{name: m, resources: {limits: {nvidia.com/gpu: 1}}, ports: [{hostPort: 1}]}]}}"
    )
    it = made(live(gang(f"{{root: {{roles: [{{name: a, replicas: 1, {template}}}]}}}}") + pod("x", "a", gpus=2)))
    assert it.roles[0].requests[GPU] == 2000


def test_missing_pods_are_counted(live: Read) -> None:
    """Pods that are declared and do not exist are missing; those that exist and are no members now are not."""
    found = live(gang() + pod("p-0", "prefill") + pod("d-0", "decode") + pod("d-1", "decode"), without=["d-1"])
    assert found.missing == {"prefill": 1, "decode": 1}
    it = made(found)
    assert [(role.replicas, role.min) for role in it.roles] == [(1, 2), (1, 1)]


def test_no_pods_at_all(live: Read) -> None:
    """Before the first pod there is no gang, but all that is missing."""
    found = live(gang())
    assert (found.gang, found.problem, found.missing) == (None, "", {"prefill": 2, "decode": 3})
    assert found.is_declared


def test_leaving_pods_are_missing(live: Read) -> None:
    """A pod that is being deleted is no member and does not exist any more."""
    going = pod("p-1", "prefill", node="h1", meta=', deletionTimestamp: "2026-01-01T00:00:00Z"')
    found = live(gang() + pod("p-0", "prefill") + going)
    assert found.missing["prefill"] == 1
    assert made(found).roles[0].pods == ("ns/p-0",)


def test_bound_members_run(live: Read) -> None:
    """Bound pods run where they are, though placing them has pinned and labelled them unlike the others."""
    placed = pod("p-0", "prefill", node="h1", spec=pinned("h1"), labels="topology.kubernetes.io/zone: a")
    it = made(live(gang() + placed + pod("p-1", "prefill") + pod("d-0", "decode")))
    assert it.running == (BoundMember("ns/p-0", "h1"),)
    assert it.roles[0].constraints.affinity == ()
    assert it.roles[0].constraints.labels == ()


def test_unlike_bound_members_do_not_matter(live: Read) -> None:
    """A role is what has still to be placed: a bound pod of an older template may differ."""
    it = made(live(gang() + pod("p-0", "prefill", node="h1", gpus=1) + pod("p-1", "prefill", gpus=2)))
    assert it.roles[0].requests[GPU] == 2000


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"gpus": 8}, "what they request"),
        ({"spec": ", nodeSelector: {a: b}"}, "their node selectors"),
        ({"spec": ", tolerations: [{operator: Exists}]"}, "their tolerations"),
        ({"spec": pinned("h1")}, "their node affinity"),
        ({"labels": "app: other"}, "their labels"),
    ],
)
def test_unlike_pods_are_refused(live: Read, other: dict[str, object], what: str) -> None:
    """Pods of one role that differ are refused in one sentence."""
    both = pod("p-0", "prefill") + pod("p-1", "prefill", **other)  # type: ignore[arg-type]
    found = live(gang() + both + pod("x", join="", spec=f", {keeping_away('app')}"))
    assert found.problem == f"pods ns/p-0 and ns/p-1 of role prefill differ in {what}"
    assert found.gang is None
    assert found.owner is not None


def test_generations_are_alike(live: Read) -> None:
    """Labels that tell pods or their generations apart make no difference."""
    one = pod("p-0", "prefill", labels="pod-template-hash: a, apps.kubernetes.io/pod-index: '0', app: x")
    assert made(live(gang() + one + pod("p-1", "prefill", labels="pod-template-hash: b"))).roles[0].replicas == 2


def test_a_selector_that_comes_and_goes_is_heeded() -> None:
    """Labels matter from the moment somebody selects by them, though the pods stay as they are."""
    mirror = MadeUpMirror(gang() + pod("p-0", "prefill", labels="app: x") + pod("p-1", "prefill", labels="app: x"))
    reader, pods = LiveGangs(mirror), mirror.pods_of("ns/g")
    assert made(reader("ns/g", pods, {})).roles[0].constraints.labels == ()
    other = MadeUpMirror(pod("x", join="", spec=f", {keeping_away('app')}")).objects[PODS]
    mirror.objects[PODS] |= other
    assert made(reader("ns/g", pods, {})).roles[0].constraints.labels == (("app", "x"),)
    for key in other:
        del mirror.objects[PODS][key]
    assert made(reader("ns/g", pods, {})).roles[0].constraints.labels == ()


def test_pins_of_our_own_are_left_out(live: Read) -> None:
    """A pod let go is read as it was before; a pin its owner wrote stays while the pod is held."""
    rack = ", matchExpressions: [{key: rack, operator: In, values: [r1]}]"
    own = pinned(selector=rack)
    freed = pod("p-0", "prefill", spec=pinned("h1", selector=rack), gated=False)
    it = made(live(gang() + freed + pod("p-1", "prefill", spec=own)))
    (term,) = it.roles[0].constraints.affinity
    assert (len(term.labels), term.names) == (1, ())
    held = live(gang() + pod("p-0", "prefill", spec=pinned("h1")) + pod("p-1", "prefill", spec=pinned("h1")))
    assert made(held).roles[0].constraints.affinity[0].names[0].values == ("h1",)
    ours = ", schedulerName: huddle"
    bound_by_us = live(
        gang("{root: {roles: [{name: a, replicas: 1}]}}") + pod("x", "a", gated=False, spec=pinned("h1") + ours)
    )
    assert len(made(bound_by_us).roles[0].constraints.affinity) == 1


def test_surplus_pods_stay_out(live: Read) -> None:
    """Of more pods than declared those that run stay in, then the oldest."""
    pods = [pod(f"p-{i}", "prefill", meta=f', creationTimestamp: "2026-01-01T00:00:0{9 - i}Z"') for i in range(3)]
    pods.append(pod("p-3", "prefill", node="h1"))
    it = made(live(gang() + "".join(pods)))
    assert it.roles[0].pods == ("ns/p-2", "ns/p-3")


def test_succeeded_pods_have_done_their_part(live: Read) -> None:
    """They are neither members nor missing, and so many less are needed."""
    found = live(
        gang() + pod("p-0", "prefill", status="phase: Succeeded") + pod("p-1", "prefill") + pod("d-0", "decode")
    )
    assert "prefill" not in found.missing
    assert [(role.pods, role.min) for role in made(found).roles] == [(("ns/p-1",), 1), (("ns/d-0",), 1)]


def test_age_is_that_of_the_oldest(live: Read) -> None:
    """A gang waits since the first of its object and pods was made."""
    old = pod("p-0", "prefill", meta=', creationTimestamp: "2026-01-01T00:00:05Z"')
    assert made(live(gang() + old)).created == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert made(live(gang() + pod("p-0", "prefill"))).created == datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pods", "problem"),
    [
        (pod("x", "cook"), f"{ROLE_OF_X}: 'cook' is no role of the Gang; its roles are prefill, decode"),
        (pod("x"), f"{ROLE_OF_X}: is missing; its roles are prefill, decode"),
        (
            pod("x", "prefill", spec=", hostNetwork: true, initContainers: [{ports: [{containerPort: 1}]}]"),
            "Pod ns/x: spec.initContainers[0].ports[0]: a port of the host is not supported",
        ),
    ],
)  # fmt: skip
def test_pods_that_make_no_sense(live: Read, pods: str, problem: str) -> None:
    """What is wrong with a pod is said in one sentence."""
    assert live(gang() + pods).problem == problem


def test_objects_that_make_no_sense(live: Read) -> None:
    """So is what is wrong with the object."""
    found = live(gang("{root: {roles: [{name: a, replicas: 1}]}, flows: [{from: a, to: b, bytes: 1}]}") + pod("x", "a"))
    assert found.problem == "Gang ns/g: gang ns/g: role 'b' of a flow or reach rule does not exist"


def test_what_cannot_be_honoured_can_be_ignored(live: Read) -> None:
    """Hard constraints that are not supported are refused, unless they are to be ignored."""
    text = gang("{root: {roles: [{name: a, replicas: 1}]}}") + pod(
        "x", spec=", hostNetwork: true, initContainers: [{ports: [{containerPort: 1}]}]"
    )
    assert live(text).problem
    assert made(live(text, options=GangOptions(ignore_unsupported=True))).roles[0].pods == ("ns/x",)


def units(*bound: int, without: int | None = None, spec: str = UNITS) -> str:
    """All pods of UNITS, replicas `bound` of them on nodes."""
    node = {i: f"h{i}" if i in bound else "" for i in range(3)}
    leads = [pod(f"lead-{i}", "lead", node=node[i]) for i in range(3)]
    ranks = [pod(f"rank-{i}", "rank", node=node[i // 2]) for i in range(6) if i != without]
    return gang(spec) + pod("p-0", "prefill") + "".join(leads + ranks)


def test_groups_replicate_while_nothing_runs(live: Read) -> None:
    """A group all of whose pods are to be placed stays one group, its pods replica by replica."""
    (group,) = made(live(units())).root.groups
    assert (group.name, group.replicas, group.min_replicas, group.multinode) == ("unit", 3, 2, True)
    lead, rank = group.roles
    assert lead.pods == ("ns/lead-0", "ns/lead-1", "ns/lead-2")
    assert (rank.replicas, rank.pods) == (2, tuple(f"ns/rank-{i}" for i in range(6)))


def test_replicas_part_when_some_run(live: Read) -> None:
    """Once a replica runs each is a group of its own, with the same pack rule, minimum, flows and rules."""
    it = made(live(units(1)))
    (outer,) = it.root.groups
    assert (outer.name, outer.min, outer.pack) == ("unit", 2, Pack())
    assert [each.name for each in outer.groups] == ["unit#0", "unit#1", "unit#2"]
    assert {(each.pack, each.replicas, each.multinode) for each in outer.groups} == {(Pack("rack"), 1, True)}
    assert [role.pods for role in outer.groups[1].roles] == [("ns/lead-1",), ("ns/rank-2", "ns/rank-3")]
    assert {member.node for member in it.running} == {"h1"}
    (flow,), (reach,) = it.flows, it.reach
    assert flow.receivers == reach.receivers == ("lead#0", "lead#1", "lead#2", "rank#0", "rank#1", "rank#2")
    assert (flow.source, flow.target) == ("prefill", "lead+rank")


def test_a_replica_with_a_missing_pod(live: Read) -> None:
    """Only the replica that lacks a pod cannot be kept."""
    found = live(units(without=3))
    assert found.missing == {"rank": 1}
    (outer,) = made(found).root.groups
    assert [[role.replicas for role in each.roles] for each in outer.groups] == [[1, 2], [1, 1], [1, 2]]
    assert [role.min for role in outer.groups[1].roles] == [1, 2]


def test_nested_groups_part_too(live: Read) -> None:
    """Groups inside replicas are parted with them."""
    inner = "{name: pair, replicas: 2, min: 1, roles: [{name: r, replicas: 2}]}"
    spec = f"{{root: {{groups: [{{name: unit, replicas: 2, roles: [{{name: s, replicas: 1}}], groups: [{inner}]}}]}}}}"
    pods = "".join(pod(f"s-{i}", "s", node="h1" if not i else "") for i in range(2))
    pods += "".join(pod(f"r-{i}", "r") for i in range(8))
    (outer,) = made(live(gang(spec) + pods)).root.groups
    assert [each.name for each in outer.walk()] == [
        "unit", "unit#0", "pair of unit#0", "pair#0", "pair#1", "unit#1", "pair of unit#1", "pair#2", "pair#3",
    ]  # fmt: skip
    assert outer.groups[1].groups[0].min == 1
    assert outer.groups[1].groups[0].groups[0].roles[0].pods == ("ns/r-4", "ns/r-5")


def test_labels_tell_replicas(live: Read) -> None:
    """Pods with names that tell nothing say by label which replica they are in."""
    spec = "{root: {groups: [{name: unit, replicas: 2, roles: [{name: r, replicas: 2}]}]}}"
    names = {"qx": 1, "ab": 0, "zz": 1, "mm": 0}
    pods = "".join(
        pod(f"r-{name}", "r", labels=f"huddle.scheduler/replica: '{index}'") for name, index in names.items()
    )
    (group,) = made(live(gang(spec) + pods)).root.groups
    assert group.roles[0].pods == ("ns/r-ab", "ns/r-mm", "ns/r-qx", "ns/r-zz")
    silent = live(gang(spec) + "".join(pod(f"r-{name}", "r") for name in names))
    assert silent.problem == (
        "Pod ns/r-ab: metadata.labels[huddle.scheduler/replica]: pods of role r do not say which of 2 replicas they "
        "are in; number them from 0"
    )


def test_replicas_of_one_pod_need_no_number(live: Read) -> None:
    """Where a replica is one pod, it does not matter which is which."""
    spec = "{root: {groups: [{name: unit, replicas: 3, roles: [{name: r, replicas: 1}]}]}}"
    pods = pod("r-ab", "r") + pod("r-cd", "r", node="h1") + pod("r-ef", "r")
    it = made(live(gang(spec) + pods))
    assert sorted(pod for role in it.roles for pod in role.pods) == ["ns/r-ab", "ns/r-cd", "ns/r-ef"]
    assert it.running == (BoundMember("ns/r-cd", "h1"),)


def test_spread_replicas_cannot_part(live: Read) -> None:
    """A rule over all replicas is kept while none runs, and said to be unsupported afterwards."""
    role = "{name: r, replicas: 1, spread: [{level: rack, max: 1}]}"
    spec = f"{{root: {{groups: [{{name: unit, replicas: 2, roles: [{role}]}}]}}}}"
    assert made(live(gang(spec) + pod("r-0", "r") + pod("r-1", "r"))).root.groups[0].replicas == 2
    assert (
        "not supported while some of them run" in live(gang(spec) + pod("r-0", "r") + pod("r-1", "r", node="h")).problem
    )


def test_label_without_gang(live: Read) -> None:
    """Pods that name a Gang which does not exist are no gang."""
    assert live(pod("x", "a")) == LiveGang()


def test_what_changes_is_read_anew() -> None:
    """A pod or object in a new version counts as it is now, also for a reader that knew the old one."""
    mirror = MadeUpMirror(gang() + pod("p-0", "prefill") + pod("p-1", "prefill"))
    reader = LiveGangs(mirror)
    pods = mirror.pods_of("ns/g")
    first = made(reader("ns/g", pods, {}))
    assert made(reader("ns/g", pods, {})) == first
    on_node = made(reader("ns/g", pods, {"ns/p-0": "h1"}))
    assert on_node.running == (BoundMember("ns/p-0", "h1"),)
    for body in pods:
        body["metadata"]["resourceVersion"] = "2"
        body["spec"]["nodeSelector"] = {"a": "b"}
    assert made(reader("ns/g", pods, {})).roles[0].constraints.selector == (("a", "b"),)
    declared = mirror.objects[GANGS]["ns", "g"]
    declared["metadata"]["resourceVersion"] = "2"
    declared["spec"]["priority"] = 9
    assert made(reader("ns/g", pods, {})).priority == 9
    del mirror.objects[GANGS]["ns", "g"]
    assert reader("ns/g", (), {}) == LiveGang()


NATIVE = """---
kind: PodGroup
apiVersion: scheduling.k8s.io/v1beta1
metadata: {name: g}
spec: {schedulingPolicy: {gang: {minCount: 2}}, schedulingConstraints: {topology: [{key: rack}]}}
"""
KAI = """---
kind: PodGroup
apiVersion: scheduling.run.ai/v2alpha2
metadata: {name: g}
spec: {queue: q, subGroups: [{name: a, minMember: 2}, {name: b, minMember: 1}]}
"""
BY_GROUP = {"join": "", "spec": ", schedulingGroup: {podGroupName: g}"}
BY_ANNOTATION = {"join": "", "annotations": "pod-group-name: g"}


def test_native_pod_group(live: Read) -> None:
    """A PodGroup of Kubernetes: its minimum and level, the pods that name it."""
    found = live(NATIVE + pod("x", **BY_GROUP) + pod("y", node="h1", **BY_GROUP) + pod("z", **BY_GROUP))
    it = made(found)
    assert it.root.pack == Pack("rack")
    assert [(role.pods, role.min) for role in it.roles] == [(("ns/x", "ns/y", "ns/z"), 2)]
    assert it.running == (BoundMember("ns/y", "h1"),)
    assert (found.is_own, found.is_declared) == (False, True)
    assert found.owner == Owner("scheduling.k8s.io/v1beta1", "PodGroup", "g", "uid-of-g")
    assert live(NATIVE + pod("x", **BY_GROUP)).missing == {"g": 1}
    assert live(NATIVE).missing == {"g": 2}


def test_kai_pod_group(live: Read) -> None:
    """A PodGroup of KAI with subgroups: what each lacks is missing."""
    pods = pod("x", labels="kai.scheduler/subgroup-name: a", **BY_ANNOTATION)
    found = live(KAI + pods)
    assert found.missing == {"a": 1, "b": 1}
    assert [role.min for role in made(found).roles] == [2, 1]
    assert made(found).queue == "q"


def test_done_members_of_a_pod_group(live: Read) -> None:
    """Succeeded pods of a PodGroup lower its minimum; once all have, there is no gang left."""
    done = {**BY_GROUP, "status": "phase: Succeeded"}
    it = made(live(NATIVE + pod("x", **done) + pod("y", **BY_GROUP)))
    assert [(role.pods, role.min) for role in it.roles] == [(("ns/y",), 1)]
    over = live(NATIVE + pod("x", **done) + pod("y", **done))
    assert (over.gang, over.missing, over.problem) == (None, {}, "")


def test_a_gang_counts_before_a_pod_group(live: Read) -> None:
    """With both a Gang and a PodGroup of one name the Gang is read."""
    assert live(NATIVE + gang() + everyone()).is_own


def test_shared_name(live: Read) -> None:
    """Pods that share a name by annotation alone are a gang of as many as there are, and more may come."""
    kai = "kai.scheduler/topology-required-placement: rack"
    one = {**BY_ANNOTATION, "annotations": f"pod-group-name: g, {kai}"}
    found = live(pod("x", **one) + pod("y", **one))
    assert (found.is_open, found.is_declared, found.owner) == (True, False, None)
    assert made(found).root.pack == Pack("rack")
    assert [role.min for role in made(found).roles] == [2]


def test_shared_name_with_size(live: Read) -> None:
    """They may say how many there will be; contradicting each other is refused."""
    sized = {"join": "", "annotations": "pod-group-name: g, huddle.scheduler/size: '3'"}
    found = live(pod("x", **sized) + pod("y", **BY_ANNOTATION))
    assert (found.is_open, found.missing) == (False, {"g": 1})
    assert [role.min for role in made(found).roles] == [3]
    other = {"join": "", "annotations": "pod-group-name: g, huddle.scheduler/size: '4'"}
    assert (
        "differ in their annotation huddle.scheduler/size: 3, 4" in live(pod("x", **sized) + pod("y", **other)).problem
    )
    wrong = {"join": "", "annotations": "pod-group-name: g, huddle.scheduler/size: many"}
    assert "'many' is no number of pods" in live(pod("x", **wrong)).problem


SET = """---
kind: LeaderWorkerSet
apiVersion: leaderworkerset.x-k8s.io/v1
metadata: {{name: s, annotations: {{kai.scheduler/topology-required-placement: rack}}}}
spec: {{replicas: 2{policy}, leaderWorkerTemplate: {{size: 3, {leader}workerTemplate: {{spec: {{}}}}}}}}
"""


def rank(index: int, node: str = "", gpus: int = 8, annotations: str = "") -> str:
    """A pod of replica 1 of a LeaderWorkerSet s."""
    own = f"leaderworkerset.sigs.k8s.io/group-index: '1', leaderworkerset.sigs.k8s.io/worker-index: '{index}'"
    labels = f"leaderworkerset.sigs.k8s.io/name: s, {own}"
    name = f"s-1-{index}" if index else "s-1"
    return pod(name, join="", labels=labels, node=node, gpus=gpus, annotations=annotations)


def test_replica_of_a_set(live: Read) -> None:
    """One replica of a LeaderWorkerSet is a gang: all of it, in one engine, packed as the set says."""
    found = live(
        SET.format(policy="", leader="leaderTemplate: {spec: {}}, ") + rank(0, "h1") + rank(1) + rank(2), "ns/s-1"
    )
    it = made(found)
    assert [(role.name, role.pods, role.min) for role in it.roles] == [
        ("leader", ("ns/s-1",), 1),
        ("worker", ("ns/s-1-1", "ns/s-1-2"), 2),
    ]
    assert (it.root.pack, it.root.multinode, it.running) == (Pack("rack"), True, (BoundMember("ns/s-1", "h1"),))
    assert found.owner is not None
    assert (found.owner.kind, found.missing) == ("LeaderWorkerSet", {})


def test_replica_without_a_rule_is_kept_together(live: Read) -> None:
    """As a plan from files does it: the engine lies as close together as may be, unless its pods say otherwise."""
    text = SET.format(policy="", leader="").replace("rack", "''") + rank(0) + rank(1) + rank(2)
    assert made(live(text, "ns/s-1")).root.pack == Pack(None, "narrowest")


COMPUTE_DOMAIN = """---
apiVersion: resource.nvidia.com/v1beta1
kind: ComputeDomain
metadata: {name: fabric}
spec: {channel: {resourceClaimTemplate: {name: channel}}}
"""
CLAIM = ", resourceClaims: [{name: c, resourceClaimTemplateName: channel}]"


def test_pods_of_a_compute_domain_share_nvlink(live: Read) -> None:
    """Of a Gang those with claims in it are a group of their own, as long as its object and theirs are there."""
    text = gang() + pod("p-0", "prefill", spec=CLAIM) + pod("p-1", "prefill", spec=CLAIM) + pod("d-0", "decode")
    (group,) = made(live(text + COMPUTE_DOMAIN)).root.groups
    assert (group.name, group.pack) == ("ComputeDomain fabric", Pack(required="nvl"))
    assert [role.name for role in group.roles] == ["prefill"]
    problem = "claim template channel is not in the input"
    assert live(text).problem.endswith(f"spec.resourceClaims[0].resourceClaimTemplateName: {problem}")
    wish = GangOptions(compute_domain="preferred")
    assert made(live(text + COMPUTE_DOMAIN, options=wish)).root.groups[0].pack == Pack(preferred="nvl")


def test_set_without_leader_template(live: Read) -> None:
    """Without a template of its own the leader is a worker; missing ones are counted."""
    found = live(SET.format(policy="", leader="") + rank(0) + rank(1), "ns/s-1")
    assert [(role.name, role.replicas, role.min) for role in made(found).roles] == [("worker", 2, 3)]
    assert found.missing == {"worker": 1}
    assert live(SET.format(policy="", leader=""), "ns/s-0").missing == {"worker": 3}
    assert live(SET.format(policy="", leader=""), "ns/s-2") == LiveGang()


def test_workers_that_wait_for_their_leader(live: Read) -> None:
    """A set whose workers are made only once the leader runs can never be a gang, and says so."""
    found = live(SET.format(policy=", startupPolicy: LeaderReady", leader="") + rank(0), "ns/s-1")
    assert found.problem.startswith("LeaderWorkerSet ns/s: spec.startupPolicy: LeaderReady makes workers only once")


def test_replica_without_its_set(live: Read) -> None:
    """The pods alone say how many they are; unlike ones are leader and workers."""
    size = "leaderworkerset.sigs.k8s.io/size: '3'"
    found = live(rank(0, gpus=1, annotations=size) + rank(1, annotations=size), "ns/s-1")
    assert [(role.name, role.replicas, role.min) for role in made(found).roles] == [("leader", 1, 1), ("worker", 1, 2)]
    assert (found.missing, found.is_declared) == ({"worker": 1}, False)


def test_priority_of_pods(live: Read) -> None:
    """A PodGroup's class is looked up; a replica has the priority its pods were given."""
    classes = (
        "---\nkind: PriorityClass\napiVersion: scheduling.k8s.io/v1\nmetadata: {name: high, namespace: ''}\nvalue: 9\n"
    )
    named = NATIVE.replace("spec: {", "spec: {priorityClassName: high, ")
    assert made(live(classes + named + pod("x", **BY_GROUP))).priority == 9


@pytest.mark.parametrize(
    ("stated", "admitted", "most", "priority"),
    [
        (9, (0, 0), None, 9),
        (9, (0, 0), 9, 9),
        (9, (0, 0), 8, 8),
        (9, (0, 0), 0, 0),
        (9, (7, 5), 0, 5),
        (9, (20, 30), 0, 9),
        (9, (-5, 3), 0, 0),
        (-9, (0, 0), -20, -9),
        (-9, (-30, 0), -20, -20),
        (9, (None, 5), 0, 0),
    ],
)
def test_a_gang_states_no_more_than_it_may(stated: int, admitted: Sequence[int], most: int, priority: int) -> None:
    """Up to a limit of the operator, and above it as far as every pod was admitted with it."""
    text = gang().replace("priority: 3", f"priority: {stated}")
    given = ["" if at is None else f", priority: {at}" for at in admitted]
    mirror = MadeUpMirror(text + "".join(pod(f"p-{at}", "prefill", spec=more) for at, more in enumerate(given)))
    found = LiveGangs(mirror, GangOptions(max_priority=most))("ns/g", mirror.pods_of("ns/g"), {})
    assert made(found).priority == priority
    told = [notice.message for notice in found.notices if notice.code == "priority_lowered"]
    assert [text.rpartition(": ")[2] for text in told] == ([] if priority == stated else [f"{priority} counts"])


def test_a_gang_that_states_none_has_the_lowest_priority_of_its_pods(live: Read) -> None:
    """As Kubernetes admitted them."""
    text = gang().replace("priority: 3, ", "")
    found = made(live(text + pod("p-0", "prefill", spec=", priority: 4") + pod("p-1", "prefill", spec=", priority: 6")))
    assert (found.priority, found.room_priority) == (4, 4)


EXCLUSIVE = "leaderworkerset.sigs.k8s.io/exclusive-topology: rack"


def keyed(index: int, key: str = "k") -> str:
    """A pod of replica 1 of an exclusive LeaderWorkerSet s."""
    return rank(index, annotations=EXCLUSIVE).replace("labels: {", f"labels: {{{GROUP_KEY}: {key}, ")


GROUP_KEY = "leaderworkerset.sigs.k8s.io/group-key"


def test_exclusive_replica(live: Read) -> None:
    """All pods of an exclusive replica lie in one domain, where pods of other groups do not."""
    exclusive = SET.format(policy="", leader="").replace("annotations: {", f"annotations: {{{EXCLUSIVE}, ")
    exclusive = exclusive.replace("kai.scheduler/topology-required-placement: rack", "a/b: c")
    it = made(live(exclusive + keyed(0) + keyed(1) + keyed(2), "ns/s-1"))
    assert (it.root.pack, it.root.multinode) == (Pack("rack"), True)
    (term,) = it.roles[0].constraints.anti_affinity
    assert (term.topology_key, term.selector.matches("ns", {GROUP_KEY: "other"})) == ("rack", True)
    assert not term.selector.matches("ns", {GROUP_KEY: "k"})
    problem = live(exclusive + keyed(0) + keyed(1), "ns/s-1").problem
    assert "workers are made only once their leader has its domain" in problem
    assert (
        "differ in their pod anti-affinity" in live(exclusive + keyed(0) + keyed(1) + keyed(2, "x"), "ns/s-1").problem
    )


def test_rules_of_kueue_live(live: Read) -> None:
    """Kueue's annotations of pods pack a PodGroup; on pods of a Gang they are refused by name."""
    kueue = "kueue.x-k8s.io/podset-required-topology: rack"
    pods = {**BY_GROUP, "annotations": kueue}
    assert made(live(NATIVE + pod("x", **pods) + pod("y", **pods))).root.pack == Pack("rack")
    found = live(gang("{root: {roles: [{name: a, replicas: 1}]}}") + pod("x", "a", annotations=kueue))
    assert "topology rules of Kueue are not supported here" in found.problem


def test_collectives_part_with_their_replicas(live: Read) -> None:
    """Once a replica runs the collective is of all the groups that the replicas have become."""
    spec = UNITS.replace(
        "bytes: 7}]", "bytes: 7}, {from: [lead, rank], to: [lead, rank], bytes: 9, pattern: collective}]"
    )
    waiting, running = made(live(units(spec=spec))), made(live(units(1, spec=spec)))
    assert [each.pattern for each in waiting.flows] == [Pattern.ALL_TO_ALL, Pattern.COLLECTIVE]
    assert waiting.flows[1].senders == ("lead", "rank")
    assert running.flows[1].pattern is Pattern.COLLECTIVE
    assert running.flows[1].senders == running.flows[1].receivers
    assert sorted(running.flows[1].senders) == ["lead#0", "lead#1", "lead#2", "rank#0", "rank#1", "rank#2"]


COSCHEDULING = """---
kind: PodGroup
apiVersion: scheduling.x-k8s.io/v1alpha1
metadata: {name: g}
spec: {minMember: 3}
"""
VOLCANO = """---
kind: PodGroup
apiVersion: scheduling.volcano.sh/v1beta1
metadata: {name: g}
spec: {minMember: 3, networkTopology: {mode: hard, highestTierAllowed: 1}}
"""
RACKS = """---
kind: Topology
apiVersion: kai.scheduler/v1alpha1
metadata: {name: t}
spec: {levels: [{nodeLabel: rack}, {nodeLabel: kubernetes.io/hostname}]}
"""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (COSCHEDULING, {"join": "scheduling.x-k8s.io/pod-group: g"}),
        (VOLCANO + RACKS, {"join": "", "annotations": "scheduling.k8s.io/group-name: g"}),
    ],
)
def test_groups_of_other_schedulers(live: Read, text: str, named: dict[str, str]) -> None:
    """PodGroups of coscheduling and Volcano wait for their pods and say who owns the gang."""
    found = live(text + pod("x", **named) + pod("y", **named))
    assert (found.missing, found.is_declared, made(found).roles[0].min) == ({"g": 1}, True, 3)
    assert made(found).root.pack == (Pack("rack") if text.startswith(VOLCANO) else Pack())


def test_shared_names_of_other_schedulers(live: Read) -> None:
    """Without their object the pods that share a name are one open gang, or as many as they say."""
    named = {"join": "scheduling.x-k8s.io/pod-group: g"}
    found = live(pod("x", **named) + pod("y", **named))
    assert (found.is_open, made(found).roles[0].min) == (True, 2)
    kueue = {"join": "kueue.x-k8s.io/pod-group-name: g", "annotations": "kueue.x-k8s.io/pod-group-total-count: '3'"}
    assert live(pod("x", **kueue) + pod("y", **kueue)).missing == {"g": 1}
