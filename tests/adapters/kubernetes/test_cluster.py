"""Nodes, running pods and queues; every object counted once."""

from typing import Any

import pytest

from adapters.kubernetes.cluster import queues_by_gang, sorted_objects
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.priorities import Priorities
from adapters.kubernetes.queues import DEFAULT_FOR, NAMESPACES, read_queue
from adapters.kubernetes.running import bound_node, gang_of, read_bind_requests, read_bound_pod, read_pods
from solver.domain.constraints import UNREACHABLE, AntiAffinity, Operator, PodSelector, Requirement, Taint
from solver.domain.errors import InvalidRequest

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def doc(kind: str, name: str, api: str = "v1", meta: dict[str, Any] | None = None, **body: Any) -> Document:
    """An object from `in.yaml`."""
    return Document({"apiVersion": api, "kind": kind, "metadata": {"name": name, **(meta or {})}, **body}, "in.yaml")


def pod(name: str = "p", node: str | None = "n1", phase: str = "Running", **meta: Any) -> Document:
    """A pod of one GPU."""
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return doc("Pod", name, meta=meta, spec={"nodeName": node, "containers": [container]}, status={"phase": phase})


def queue(name: str = "q", **spec: Any) -> Document:
    """A KAI queue."""
    return doc("Queue", name, "scheduling.run.ai/v2", spec=spec)


def test_a_node_is_read() -> None:
    """Labels, taints, cordon and condition."""
    found = read_node(
        doc(
            "Node",
            "n1",
            meta={"labels": {"zone": "a"}},
            spec={"unschedulable": True, "taints": [{"key": "gpu", "effect": "NoExecute"}]},
            status={"allocatable": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]},
        )
    )
    assert (found.name, found.labels, found.taints) == ("n1", {"zone": "a"}, (Taint("gpu", "", "NoExecute"),))
    assert (found.ready, found.schedulable) == (True, False)


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        (None, True),
        ([], True),
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "MemoryPressure", "status": "False"}], False),
    ],
)
def test_a_node_is_ready_unless_its_conditions_say_otherwise(conditions: object, ready: bool) -> None:
    """Hand-written nodes report nothing and count as ready."""
    assert read_node(doc("Node", "n1", status={"conditions": conditions})).ready is ready


def test_a_node_that_nobody_hears_of_has_the_taint_that_says_so() -> None:
    """Once, whether it was added already or not; a node that says it is not ready has none."""
    silent, asleep = ({"conditions": [{"type": "Ready", "status": status}]} for status in ("Unknown", "False"))
    said = {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]}
    assert read_node(doc("Node", "n1", status=silent)).taints == (UNREACHABLE,)
    assert read_node(doc("Node", "n1", spec=said, status=silent)).taints == (UNREACHABLE,)
    assert read_node(doc("Node", "n1", status=asleep)).taints == ()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"spec": {"taints": [{"effect": "NoSchedule"}]}}, "spec.taints[0].key: is missing"),
        ({"spec": {"taints": [{"key": "a"}]}}, "spec.taints[0].effect: is missing"),
        (
            {"spec": {"taints": [{"key": "a", "effect": "No"}]}},
            "spec.taints[0].effect: must be one of NoSchedule, NoExecute, PreferNoSchedule, not 'No'",
        ),
        ({"spec": {"unschedulable": "true"}}, "spec.unschedulable: must be true or false, not 'true'"),
        ({"spec": []}, "spec: must be a mapping, not a list"),
        ({"status": {"conditions": {}}}, "status.conditions: must be a list, not a mapping"),
    ],
)
def test_malformed_nodes_are_refused(body: dict[str, Any], line: str) -> None:
    """One line names node and field."""
    with pytest.raises(InvalidRequest) as refused:
        read_node(doc("Node", "n1", **body))
    assert str(refused.value) == f"in.yaml: Node n1: {line}"


@pytest.mark.parametrize(
    ("phase", "node"), [("Running", "n1"), ("Pending", "n1"), ("", "n1"), ("Succeeded", ""), ("Failed", "")]
)
def test_a_pod_holds_its_node_until_it_ends(phase: str, node: str) -> None:
    """From binding to success or failure, whatever else happens."""
    assert bound_node(pod(phase=phase)) == node
    assert bound_node(pod(phase=phase, deletionTimestamp="2026-01-01T00:00:00Z")) == node


def test_a_bound_pod_is_read() -> None:
    """Requests, labels, anti-affinity, queue and gang."""
    term = {"topologyKey": "rack", "labelSelector": {"matchLabels": {"a": "b"}}}
    running = Document(
        {
            "kind": "Pod",
            "metadata": {
                "name": "p",
                "namespace": "ml",
                "labels": {"kai.scheduler/queue": "team"},
                "annotations": {"pod-group-name": "pg"},
            },
            "spec": {
                "nodeName": "n1",
                "containers": [{"resources": {"requests": {"cpu": "2"}}}],
                "affinity": {"podAntiAffinity": {REQUIRED: [term]}},
            },
        },
        "in.yaml",
    )
    found = read_bound_pod(running, "n1", {"ml/pg": "other"})
    assert (found.name, found.node, found.queue, found.gang) == ("ml/p", "n1", "team", "ml/pg")
    assert dict(found.requests) == {"cpu": 2000}
    selector = PodSelector((Requirement("a", Operator.IN, ("b",)),), ("ml",))
    assert found.anti_affinity == (AntiAffinity("rack", selector),)


def test_a_pod_takes_the_queue_of_its_group() -> None:
    """Where the pod itself names none."""
    member = pod(annotations={"pod-group-name": "pg"})
    assert read_bound_pod(member, "n1", {"default/pg": "team"}).queue == "team"
    assert read_bound_pod(member, "n1").queue == ""


def test_gang_membership() -> None:
    """KAI's annotation before the native field; neither is no gang."""
    native = doc("Pod", "p", meta={"namespace": "a"}, spec={"schedulingGroup": {"podGroupName": "g"}})
    assert gang_of(native) == "a/g"
    assert gang_of(pod(annotations={"pod-group-name": "h"})) == "default/h"
    assert gang_of(pod()) == ""


def test_pods_are_sorted_into_bound_and_pending() -> None:
    """A pod on an unknown node is left out with a notice; ended ones vanish."""
    pods = [pod("a"), pod("b", None), pod("c", "gone"), pod("d", phase="Failed"), pod("e", None, phase="Succeeded")]
    found = read_pods(pods, {"n1"})
    assert [bound.name for bound in found.bound] == ["default/a"]
    assert [doc.name for doc in found.pending] == ["b"]
    assert [(notice.code, notice.object, notice.field) for notice in found.notices] == [
        ("node_unknown", "Pod default/c", "spec.nodeName")
    ]


def nominated(name: str, node: str, **spec: object) -> Document:
    """A waiting pod that is nominated to a node."""
    return doc("Pod", name, spec=spec, status={"phase": "Pending", "nominatedNodeName": node})


def test_nominated_pods_hold_room_by_priority() -> None:
    """Their own, else that of their class, else the default one, else 0; they still wait."""
    classes = [
        doc("PriorityClass", "high", "scheduling.k8s.io/v1", value=7),
        doc("PriorityClass", "usual", "scheduling.k8s.io/v1", value=4, globalDefault=True),
        doc("PriorityClass", "modest", "scheduling.k8s.io/v1", value=3, globalDefault=True),
    ]
    pods = [
        nominated("a", "n1", priority=9, priorityClassName="high"),
        nominated("b", "n1", priorityClassName="high"),
        nominated("c", "n1", priorityClassName="unknown"),
        nominated("d", "n1", priorityClassName="system-node-critical"),
        nominated("e", "n1"),
    ]
    found = read_pods(pods, {"n1"}, priorities=lambda: Priorities(classes))
    assert [each.nominated_priority for each in found.bound] == [9, 7, 0, 2_000_001_000, 3]
    assert [each.name for each in found.pending] == ["a", "b", "c", "d", "e"]
    assert read_pods(pods[4:], {"n1"}).bound[0].nominated_priority == 0


def test_who_is_not_nominated() -> None:
    """Pods that are bound, have ended or wait for a node that is not there; BindRequests promise more."""
    there = doc("Pod", "a", spec={"nodeName": "n1"}, status={"nominatedNodeName": "n2"})
    over = doc("Pod", "b", status={"phase": "Failed", "nominatedNodeName": "n2"})
    gone, plain = nominated("c", "gone"), nominated("d", "")
    promised = read_bind_requests([bind_request("e", "n2")])
    found = read_pods([there, over, gone, plain, nominated("e", "n1")], {"n1", "n2"}, promised)
    assert [(each.name, each.node, each.nominated_priority) for each in found.bound] == [
        ("default/a", "n1", None),
        ("default/e", "n2", None),
    ]
    assert [each.name for each in found.pending] == ["c", "d"]


def test_victims_hold_their_room_until_they_are_gone() -> None:
    """A terminating pod is still there."""
    leaving = doc("Pod", "a", meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}, spec={"nodeName": "n1"})
    assert [each.name for each in read_pods([leaving], {"n1"}).bound] == ["default/a"]


def bind_request(pod_name: str, node: str, phase: str | None = None) -> Document:
    """A KAI BindRequest."""
    spec = {"podName": pod_name, "selectedNode": node}
    return doc("BindRequest", pod_name, "scheduling.run.ai/v1alpha2", spec=spec, status={"phase": phase})


def test_a_bind_request_that_has_not_failed_counts_as_bound() -> None:
    """The scheduler that wrote it has spent the capacity; a pod that is bound already stays where it is."""
    requests = [bind_request("a", "n2"), bind_request("b", "n2", "Failed"), bind_request("c", "n2", "Pending")]
    promised = read_bind_requests(requests)
    found = read_pods([pod("a", None), pod("b", None), pod("c", "n1")], {"n1", "n2"}, promised)
    assert [(bound.name, bound.node) for bound in found.bound] == [("default/a", "n2"), ("default/c", "n1")]
    assert [doc.name for doc in found.pending] == ["b"]


@pytest.mark.parametrize("annotation", ["gpu-fraction", "gpu-memory", "nvidia.com/mig-x"])
def test_running_fractions_take_a_device_with_a_notice(annotation: str) -> None:
    """Somebody else's share makes no cluster unreadable."""
    found = read_pods([pod(annotations={annotation: "0.5"})], {"n1"})
    assert found.bound[0].requests["gpu"] == 1000
    field = f"metadata.annotations[{annotation}]"
    assert [(each.code, each.object, each.field) for each in found.notices] == [
        ("gpu_share_counted", "Pod default/p", field)
    ]


def test_anti_affinity_of_running_pods_is_widened_with_a_notice() -> None:
    """Namespaces cannot be looked up, so a selector over them means all of them."""
    term = {"topologyKey": "rack", "labelSelector": {}, "namespaceSelector": {"matchLabels": {"a": "b"}}}
    running = doc("Pod", "p", spec={"nodeName": "n1", "affinity": {"podAntiAffinity": {REQUIRED: [term]}}})
    found = read_pods([running], {"n1"})
    assert found.bound[0].anti_affinity == (AntiAffinity("rack", PodSelector()),)
    assert [notice.code for notice in found.notices] == ["anti_affinity_widened"]


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({}, {}),
        ({"resources": {}}, {}),
        ({"resources": {"gpu": {"limit": 8}}}, {"gpu": 8000}),
        ({"resources": {"gpu": {"limit": 0.5}}}, {"gpu": 500}),
        ({"resources": {"gpu": {"limit": -1}}}, {}),
        ({"resources": {"gpu": {"limit": 0}}}, {"gpu": 0}),
        ({"resources": {"gpu": {"quota": 5}}}, {"gpu": 0}),
        ({"resources": {"gpu": {}}}, {"gpu": 0}),
        ({"resources": {"cpu": {"limit": 1500}, "memory": {"limit": 2}}}, {"cpu": 1500, "memory": 2_000_000}),
        ({"resources": {"memory": {"limit": 1e14}}}, {}),
    ],
)
def test_queue_limits(spec: dict[str, Any], limits: dict[str, int]) -> None:
    """GPUs, millicores and megabytes; −1 and absent are unlimited, 0 and a block without limit allow nothing."""
    assert read_queue(queue(**spec)).limits == limits


def test_queue_parent() -> None:
    """Queues form a tree."""
    assert read_queue(queue(parentQueue="org")).parent == "org"


def _annotated(**annotations: str) -> Document:
    body = {"apiVersion": "scheduling.run.ai/v2", "kind": "Queue"}
    return Document({**body, "metadata": {"name": "q", "annotations": annotations}, "spec": {}}, "in.yaml")


def test_queues_of_namespaces() -> None:
    """Two annotations say whose gangs may be in a queue, and whose are unless they name another."""
    found = read_queue(_annotated(**{NAMESPACES: "team-a, team-b,team-a", DEFAULT_FOR: "team-a"}))
    assert (found.namespaces, found.default_for) == (("team-a", "team-b"), ("team-a",))
    assert read_queue(queue()).namespaces == ()
    for text in ("", "a,,b", "Team", "a b"):
        with pytest.raises(
            InvalidRequest, match=r"annotations\[huddle.scheduler/namespaces\]: '.*' is no name of a nam"
        ):
            read_queue(_annotated(**{NAMESPACES: text}))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"resources": {"gpu": {"limit": -2}}}, "spec.resources.gpu.limit: -2 is out of range (-1 to 1e+15)"),
        (
            {"resources": {"gpu": {"limit": -0.5}}},
            "spec.resources.gpu.limit: must be -1 or not negative, not -0.5",
        ),
        ({"resources": {"gpu": {"limit": "8"}}}, "spec.resources.gpu.limit: must be a number, not '8'"),
        ({"resources": {"cpu": 5}}, "spec.resources.cpu: must be a mapping, not 5"),
        ({"parentQueue": 1}, "spec.parentQueue: must be text, not 1"),
    ],
)
def test_malformed_queues_are_refused(spec: dict[str, Any], line: str) -> None:
    """One line names queue and field."""
    with pytest.raises(InvalidRequest) as refused:
        read_queue(queue(**spec))
    assert str(refused.value) == f"in.yaml: Queue q: {line}"


def test_objects_are_sorted_by_what_they_are() -> None:
    """Foreign kinds of the same name are none of ours."""
    found = sorted_objects(
        [
            doc("Node", "n"),
            pod(),
            queue(),
            doc("Queue", "v", "scheduling.volcano.sh/v1beta1"),
            doc("Topology", "t", "kai.scheduler/v1alpha1"),
            doc("PodGroup", "g", "scheduling.run.ai/v2alpha2"),
            doc("PodGroup", "h", "scheduling.volcano.sh/v1beta1"),
            doc("Namespace", "ns"),
        ]
    )
    names = [[doc.name for doc in docs] for docs in (found.nodes, found.pods, found.queues, found.topologies)]
    assert names == [["n"], ["p"], ["q"], ["t"]]
    assert [doc.name for doc in found.pod_groups] == ["g"]
    assert [doc.name for doc in found.others] == ["v", "h", "ns"]


@pytest.mark.parametrize("flip", [False, True])
def test_a_bound_copy_of_a_pod_wins(flip: bool) -> None:
    """In either order, the copy that holds capacity is the one that counts."""
    copies = [pod(node=None, uid="u"), pod(node="n1", uid="u")]
    found = sorted_objects(copies[::-1] if flip else copies)
    assert [doc.text("spec.nodeName", "") for doc in found.pods] == ["n1"]


def test_equal_names_in_two_namespaces_are_two_pods() -> None:
    """The namespace belongs to the identity."""
    assert len(sorted_objects([pod(namespace="a"), pod(namespace="b")]).pods) == 2


def test_one_node_seen_twice_counts_once() -> None:
    """The same uid, or none, is the same node."""
    nodes = [doc("Node", "n", meta={"uid": "1"}), doc("Node", "n", meta={"uid": "1"}), doc("Node", "n")]
    assert len(sorted_objects(nodes).nodes) == 1


def test_two_nodes_of_one_name_are_refused() -> None:
    """Different uids are different machines."""
    with pytest.raises(InvalidRequest) as refused:
        sorted_objects([doc("Node", "n", meta={"uid": "1"}), doc("Node", "n", meta={"uid": "2"})])
    expected = "in.yaml: Node n: metadata.uid: another node of this name has uid '1', this one '2'"
    assert str(refused.value) == expected


def test_queues_by_gang() -> None:
    """The field before the label; groups without a queue are left out."""
    api = "scheduling.run.ai/v2alpha2"
    groups = [
        doc("PodGroup", "a", api, spec={"queue": "q"}),
        doc("PodGroup", "b", api, meta={"labels": {"kai.scheduler/queue": "r"}}),
        doc("PodGroup", "c", api),
    ]
    assert queues_by_gang(groups) == {"default/a": "q", "default/b": "r"}
