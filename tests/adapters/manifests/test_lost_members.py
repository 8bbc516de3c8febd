"""Members whose node is gone: lost, said, and in nobody's way."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember

Read = Callable[..., GangInput]

GROUP = """---
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: g, namespace: ns}
spec: {minMember: 3}
"""
SET = """---
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: s, namespace: ns}
spec:
  replicas: 1
  leaderWorkerTemplate: {size: 3, workerTemplate: {spec: {containers: [{name: main}]}}}
"""


def pod(name: str, node: str = "", *, group: str = "g", status: str = "", meta: str = "") -> str:
    """A pod of ns."""
    annotations = f"annotations: {{pod-group-name: {group}}}" if group else "annotations: {}"
    bound = f", nodeName: {node}" if node else ""
    return (
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: ns, {annotations}{meta}}}\n"
        f"spec: {{containers: []{bound}}}\nstatus: {{{status}}}\n"
    )


def lost(found: GangInput, gang: str) -> list[tuple[str, str]]:
    """What is said of lost members of a gang."""
    notices = [notice for notice in found.notices[gang] if notice.code == "member_lost"]
    return [(notice.object, notice.field) for notice in notices]


def test_a_member_on_a_node_that_is_gone_is_lost(read: Read) -> None:
    """The others run, whoever waits takes its place, and the lost pod is named."""
    text = GROUP + pod("a", "gone") + pod("b", "n1") + pod("c", "n2") + pod("d")
    found = read(text, nodes={"n1", "n2"})
    (gang,) = found.gangs
    assert gang.running == (BoundMember("ns/b", "n1"), BoundMember("ns/c", "n2"))
    assert gang.roles[0].pods == ("ns/b", "ns/c", "ns/d")
    assert lost(found, "ns/g") == [("Pod ns/a", "spec.nodeName")]


def test_without_anybody_waiting_its_pod_is_missing(read: Read) -> None:
    """The minimum stays what it is, so the gang asks for a replacement."""
    (gang,) = read(GROUP + pod("a", "gone") + pod("b", "n1") + pod("c", "n1"), nodes={"n1"}).gangs
    assert (gang.roles[0].min, gang.roles[0].replicas) == (3, 2)


def test_nobody_who_knows_the_nodes_loses_nothing(read: Read) -> None:
    """Gangs alone, without a cluster, run where they say."""
    (gang,) = read(GROUP + pod("a", "gone") + pod("b")).gangs
    assert gang.running == (BoundMember("ns/a", "gone"),)


def test_a_gang_of_lost_pods_alone_fails_nobody_else(read: Read) -> None:
    """There is nothing to place until other pods exist, which is said; the other gang is read."""
    other = GROUP.replace("name: g,", "name: h,")
    found = read(GROUP + pod("a", "gone") + other + pod("x", group="h"), nodes={"n1"})
    assert [gang.name for gang in found.gangs] == ["ns/h"]
    assert [(notice.code, notice.object) for notice in found.general] == [("member_lost", "Pod ns/a")]
    with pytest.raises(InvalidRequest, match="no gang to plan"):
        read(GROUP + pod("a", "gone"), nodes={"n1"})


def test_declared_names_are_placed_anew(read: Read) -> None:
    """A set makes a pod of the same name again."""
    text = SET + pod("s-0", "n1", group="") + pod("s-0-1", "gone", group="")
    found = read(text, nodes={"n1"})
    (gang,) = found.gangs
    assert gang.running == (BoundMember("ns/s-0", "n1"),)
    assert gang.roles[0].pods == ("ns/s-0", "ns/s-0-1", "ns/s-0-2")
    assert lost(found, "ns/s-0") == [("Pod ns/s-0-1", "spec.nodeName")]


def test_a_gang_makes_up_for_lost_pods(read: Read) -> None:
    """The one that is lost is no member of the Gang that its label names; another pod is to be made for it."""
    own = """---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: own, namespace: ns}
spec: {root: {roles: [{name: worker, replicas: 2, template: {spec: {containers: [{name: main}]}}}]}}
"""
    label = ", labels: {huddle.scheduler/gang: own}"
    text = own + pod("a", "gone", group="", meta=label) + pod("b", "n1", group="", meta=label)
    found = read(text, nodes={"n1"})
    (gang,) = found.gangs
    assert gang.running == (BoundMember("ns/b", "n1"),)
    assert len(gang.roles[0].pods) == 2
    assert "ns/a" not in gang.roles[0].pods
    assert lost(found, "ns/own") == [("Pod ns/a", "spec.nodeName")]


def test_pods_of_one_owner(read: Read) -> None:
    """A lost one is no member of their gang, and named there."""
    owner = ", ownerReferences: [{controller: true, kind: ReplicaSet, name: web}]"
    text = (
        pod("a", "gone", group="", meta=owner) + pod("b", group="", meta=owner) + pod("c", "n1", group="", meta=owner)
    )
    found = read(text, nodes={"n1"})
    (gang,) = found.gangs
    assert (gang.name, gang.roles[0].pods) == ("ns/web", ("ns/b", "ns/c"))
    assert lost(found, "ns/web") == [("Pod ns/a", "spec.nodeName")]


@pytest.mark.parametrize("over", ["phase: Failed", "phase: Succeeded"])
def test_pods_that_have_ended_are_not_lost(read: Read, over: str) -> None:
    """Their node may be gone."""
    found = read(GROUP + pod("a", "gone", status=over) + pod("b"), nodes={"n1"})
    assert lost(found, "ns/g") == []


def test_a_newer_copy_that_waits_counts_before_a_lost_one(read: Read) -> None:
    """A pod made again under the same name waits, whatever an older list of the cluster says."""
    found = read(GROUP + pod("a") + pod("b"), cluster=pod("a", "gone"), nodes={"n1"})
    assert found.gangs[0].roles[0].pods == ("ns/a", "ns/b")
    assert found.gangs[0].running == ()
    assert lost(found, "ns/g") == []


def test_a_bind_request_for_a_node_that_is_gone_binds_nothing(read: Read) -> None:
    """The pod waits."""
    request = """---
apiVersion: scheduling.run.ai/v1alpha2
kind: BindRequest
metadata: {name: a, namespace: ns}
spec: {podName: a, selectedNode: gone}
"""
    found = read(GROUP + pod("a") + request, nodes={"n1"})
    assert (found.gangs[0].running, lost(found, "ns/g")) == ((), [])
