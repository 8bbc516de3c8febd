"""Labels tell pods apart where a selector names them, and nowhere else."""

from collections.abc import Callable

import pytest

from adapters.manifests.added_labels import job_labels, job_set_labels, leader_worker_set_labels, stateful_set_labels
from adapters.manifests.gangs import GangInput
from solver.domain.gang import Gang, Spread

Read = Callable[..., GangInput]

GROUP = """---
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: g, namespace: ns}
spec: {minMember: 2}
"""
PER_POD = ("spark-exec-id", "jobset.sigs.k8s.io/job-key", "pod-template-hash", "apps.kubernetes.io/pod-index", "app")
SET_KEY = "leaderworkerset.sigs.k8s.io"


def away(key: str, fields: str = "") -> str:
    """Affinity of a pod that keeps away from every pod with a label."""
    selector = f"labelSelector: {{matchExpressions: [{{key: {key}, operator: Exists}}]}}"
    term = f"{{topologyKey: kubernetes.io/hostname, {selector}{fields}}}"
    return f"affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"


def pod(name: str, labels: str = "", *, spec: str = "", group: str = "g", namespace: str = "ns") -> str:
    """A pod, of the PodGroup unless it is told otherwise."""
    annotations = f", annotations: {{pod-group-name: {group}}}" if group else ""
    meta = f"{{name: {name}, namespace: {namespace}, labels: {{{labels}}}{annotations}}}"
    return f"---\napiVersion: v1\nkind: Pod\nmetadata: {meta}\nspec: {{containers: [], {spec}}}\n"


def runs(spec: str, namespace: str = "ns") -> str:
    """A pod of somebody else that runs."""
    return pod("other", spec=f"nodeName: n1, {spec}", group="", namespace=namespace)


def two(key: str) -> str:
    """A PodGroup and two pods that differ in one label."""
    return GROUP + pod("a", f"{key}: '0'") + pod("b", f"{key}: '1'")


def roles(found: GangInput, at: int = 0) -> list[tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
    """Pods and labels of each role of a gang."""
    return [(role.pods, role.constraints.labels) for role in found.gangs[at].roles]


@pytest.mark.parametrize("key", PER_POD)
def test_labels_nobody_selects_make_no_roles(read: Read, key: str) -> None:
    """Whatever a label is called, pods that differ in it alone are alike."""
    assert roles(read(two(key))) == [(("ns/a", "ns/b"), ())]


@pytest.mark.parametrize("key", PER_POD)
def test_labels_that_a_running_pod_selects_make_roles(read: Read, key: str) -> None:
    """A pod that runs keeps away from some of the pods: they differ, in that label alone."""
    found = read(two(key), cluster=runs(away(key)))
    assert roles(found) == [(("ns/a",), ((key, "0"),)), (("ns/b",), ((key, "1"),))]


def test_whoever_selects_counts(read: Read) -> None:
    """A pod of the gang itself, and one of another gang of the call; not a pod that waits in the cluster or has ended.

    Nor one whose selector looks at another namespace.
    """
    split = [("ns/a",), ("ns/b",)]
    of_its_own = two("rank") + pod("c", spec=away("rank"))
    assert [pods for pods, _ in roles(read(of_its_own, ignore_unsupported=True))] == [*split, ("ns/c",)]
    assert [pods for pods, _ in roles(read(two("rank") + pod("x", spec=away("rank"), group="")))] == split
    assert [pods for pods, _ in roles(read(two("rank"), cluster=pod("x", spec=away("rank"), group="")))] == [
        ("ns/a", "ns/b")
    ]
    ended = runs(away("rank")) + "status: {phase: Succeeded}\n"
    assert [pods for pods, _ in roles(read(two("rank"), cluster=ended))] == [("ns/a", "ns/b")]
    assert [pods for pods, _ in roles(read(two("rank"), cluster=runs(away("rank"), "other")))] == [("ns/a", "ns/b")]
    everywhere = runs(away("rank", ", namespaceSelector: {}"), "other")
    assert [pods for pods, _ in roles(read(two("rank"), cluster=everywhere))] == split


def test_equal_labels_make_one_role(read: Read) -> None:
    """A selected label that all pods share stays with their role, for whoever keeps away from it."""
    text = GROUP + pod("a", "app: x, rank: '0'") + pod("b", "app: x, rank: '1'")
    assert roles(read(text, cluster=runs(away("app")))) == [(("ns/a", "ns/b"), (("app", "x"),))]


def test_pods_that_keep_away_from_their_like_are_spread(read: Read) -> None:
    """The rule is the same whether labels that nobody selects tell the pods apart or not."""
    text = GROUP + "".join(pod(f"p-{at}", f"app: x, rank: '{at}'", spec=away("app")) for at in range(3))
    (role,) = read(text).gangs[0].roles
    assert role.spread == (Spread("kubernetes.io/hostname", 1),)


def lws(template_labels: str = "", spec: str = "", leader: str = "") -> str:
    """A LeaderWorkerSet of two replicas with three pods each."""
    template = f"{{metadata: {{labels: {{{template_labels}}}}}, spec: {{containers: [], {spec}}}}}"
    return (
        "---\napiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: s, namespace: ns}\n"
        f"spec: {{replicas: 2, leaderWorkerTemplate: {{size: 3, {leader}workerTemplate: {template}}}}}\n"
    )


def test_labels_that_a_set_adds_are_known(read: Read) -> None:
    """A selector may name the labels that the set gives its pods: its name, the replica, its key and the rank."""
    first, second = (
        [role.constraints.labels for role in gang.roles]
        for gang in read(lws("app: x"), cluster=runs(away(f"{SET_KEY}/group-index"))).gangs
    )
    assert (first, second) == (
        [((f"{SET_KEY}/group-index", "0"),)],
        [((f"{SET_KEY}/group-index", "1"),)],
    )
    found = read(lws(), cluster=runs(away(f"{SET_KEY}/worker-index")))
    assert [(role.name, role.pods) for role in found.gangs[0].roles] == [
        ("worker", ("ns/s-0",)),
        ("worker-2", ("ns/s-0-1",)),
        ("worker-3", ("ns/s-0-2",)),
    ]
    assert [role.name for role in read(lws()).gangs[0].roles] == ["worker"]


def test_a_set_whose_pods_keep_away_from_their_like(read: Read) -> None:
    """A template that selects by the set's own label spreads the pods, leader included."""
    text = lws(spec=away(f"{SET_KEY}/name"))
    (gang, _) = read(text).gangs
    assert [role.spread for role in gang.roles] == [(Spread("kubernetes.io/hostname", 1),)]


def test_templates_of_other_gangs_select(read: Read) -> None:
    """What a template of another gang of the call selects is kept, so that both know of each other."""
    found = read(lws("app: x, tier: y", spec="") + GROUP + pod("a", spec=away("tier")))
    gangs: dict[str, Gang] = {gang.name: gang for gang in found.gangs}
    assert [role.constraints.labels for role in gangs["ns/s-0"].roles] == [(("tier", "y"),)]


def test_what_controllers_add() -> None:
    """The labels of each kind of controller, as its pods carry them."""
    assert leader_worker_set_labels("ns", "s", 1, 2) == {
        f"{SET_KEY}/name": "s",
        f"{SET_KEY}/group-index": "1",
        f"{SET_KEY}/group-key": "20faa1e762319b8f201455d6b3ddd8c2cd258c7a",
        f"{SET_KEY}/worker-index": "2",
    }
    assert job_labels("j") == {"batch.kubernetes.io/job-name": "j", "job-name": "j"}
    assert job_labels("j", 3)["batch.kubernetes.io/job-completion-index"] == "3"
    labels = job_set_labels("ns", "set", "workers", 4, 1, before=2)
    assert labels["jobset.sigs.k8s.io/jobset-name"] == "set"
    assert labels["jobset.sigs.k8s.io/replicatedjob-name"] == "workers"
    assert labels["jobset.sigs.k8s.io/job-index"] == "1"
    assert labels["jobset.sigs.k8s.io/job-global-index"] == "3"
    assert len(labels["jobset.sigs.k8s.io/job-key"]) == 40
    assert stateful_set_labels("db", 1) == {
        "statefulset.kubernetes.io/pod-name": "db-1",
        "apps.kubernetes.io/pod-index": "1",
    }
