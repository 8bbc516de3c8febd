"""What the controller's account may change of pods, on a real API server: what binding takes, and nothing else."""

from collections.abc import Mapping
from typing import Any

import pytest

from adapters.apply.gate import release_patch
from adapters.apply.naming_node import node_patch
from adapters.kubernetes.resources import PODS
from support.controlplane.api import Api, Json, Refused
from support.controlplane.waiting import eventually
from support.installing import DRY, SYSTEM

pytestmark = pytest.mark.controlplane

GATES = [{"name": "huddle.scheduler/gang"}, {"name": "example.com/other"}]
WANTED = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
PREFERRED = [{"weight": 1, "preference": WANTED["nodeSelectorTerms"][0]}]


def pod(name: str, **metadata: Any) -> Json:
    """One that is gated twice, with labels, annotations, an affinity and a toleration of its own."""
    own = {"labels": {"app": "llm"}, "annotations": {"team": "a"}, **metadata}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": WANTED,
        "preferredDuringSchedulingIgnoredDuringExecution": PREFERRED,
    }
    spec = {
        "containers": [{"name": "main", "image": "llm:1"}],
        "schedulingGates": GATES,
        "affinity": {"nodeAffinity": affinity},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "terminationGracePeriodSeconds": 30,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **own}, "spec": spec}


@pytest.fixture
def made(installed: Api, account: Api, namespace: str) -> Json:
    """A gated pod, once the policies are in force."""
    body = installed.create(PODS.path(namespace), pod("p"))
    path = PODS.path(namespace, "p")
    eventually(lambda: refusal(account, path, {"metadata": {"labels": {"x": "y"}}}), "the policy is in force", 60.0)
    other = {"status": {"phase": "Failed"}}
    eventually(lambda: refusal(account, f"{path}/status", other), "the policy for the status is in force", 60.0)
    return body


def refusal(api: Api, path: str, patch: Any, kind: str = "merge", verb: str = "PATCH") -> str:
    """What admission says to a call that would change something; empty: it would be done."""
    try:
        if verb == "DELETE":
            api.call("DELETE", path, DRY_DELETE)
        else:
            api.patch(path, patch, kind, **DRY)
    except Refused as refused:
        return str(refused)
    return ""


DRY_DELETE = {"dryRun": ["All"]}


def test_binding_a_gang_goes_through(account: Api, made: Json, namespace: str) -> None:
    """Naming the node, taking the gate off, nominating, conditions, and the deletion of a member."""
    path = PODS.path(namespace, "p")
    status = {
        "nominatedNodeName": "n1",
        "conditions": [{"type": "huddle.scheduler/Placed", "status": "False", "reason": "Waits"}],
    }
    assert refusal(account, f"{path}/status", {"status": status}, "strategic") == ""
    named = account.patch(path, node_patch(made, "n1"), "json")
    assert named["metadata"]["annotations"]["huddle.scheduler/node"] == "n1"
    free = account.patch(path, release_patch(named, "n1"), "json")
    assert free["spec"]["schedulingGates"] == [{"name": "example.com/other"}]
    assert refusal(account, path, None, verb="DELETE") == ""


#: A JSON patch that makes a pod tolerate everything.
TOLERATE = [{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}]
WRONG: Mapping[str, tuple[Any, str]] = {
    "image": ({"spec": {"containers": [{"name": "main", "image": "evil:1"}]}}, "of the spec"),
    "toleration": (TOLERATE, "of the spec"),
    "node selector": ({"spec": {"nodeSelector": {"zone": "z"}}}, "of the spec"),
    "deadline": ({"spec": {"activeDeadlineSeconds": 1}}, "of the spec"),
    "preferred affinity": (
        {"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": None}}}},
        "of the spec",
    ),
    "gate of another": ({"spec": {"schedulingGates": GATES[:1]}}, "and no other"),
    "label": ({"metadata": {"labels": {"app": "other"}}}, "no labels"),
    "label that goes": ({"metadata": {"labels": {"app": None}}}, "no labels"),
    "label of the leader": ({"metadata": {"labels": {"huddle.scheduler/leads": "true"}}}, "no labels"),
    "annotation": ({"metadata": {"annotations": {"team": "b"}}}, "of the annotations"),
    "annotation that goes": ({"metadata": {"annotations": {"team": None}}}, "of the annotations"),
    "annotation that comes": ({"metadata": {"annotations": {"more": "c"}}}, "of the annotations"),
    "finalizer": ({"metadata": {"finalizers": ["example.com/stay"]}}, "finalizers"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_account_changes_nothing_else(installed: Api, account: Api, made: Json, namespace: str, what: str) -> None:
    """Each is refused with a sentence, and others may do it."""
    path = PODS.path(namespace, "p")
    patch, words = WRONG[what]
    kind = {"toleration": "json", "gate of another": "merge"}.get(what, "strategic")
    found = refusal(account, path, patch, kind)
    assert "ValidatingAdmissionPolicy 'huddle-controller-pods'" in found
    assert words in found
    assert refusal(installed, path, patch, kind) == ""


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Succeeded"},
        {"podIP": "10.0.0.1"},
        {"containerStatuses": [{"name": "main", "ready": True, "image": "", "imageID": "", "restartCount": 0}]},
        {"conditions": [{"type": "Ready", "status": "True"}]},
    ],
    ids=["phase", "address", "containers", "condition"],
)
def test_the_account_says_nothing_else_of_a_pod(account: Api, made: Json, namespace: str, status: Json) -> None:
    """Of its status, too."""
    path = PODS.path(namespace, "p", "status")
    assert "of the status" in refusal(account, path, {"status": status}, "strategic")


def test_some_pods_are_not_deleted(installed: Api, account: Api, made: Json, namespace: str) -> None:
    """Those of a DaemonSet; other accounts may."""
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}
    installed.create(PODS.path(namespace), pod("of-a-daemon-set", ownerReferences=[owner]))
    path = PODS.path(namespace, "of-a-daemon-set")
    eventually(lambda: refusal(account, path, None, verb="DELETE"), "the policy for deletions is in force", 60.0)
    assert refusal(installed, path, None, verb="DELETE") == ""


def test_the_leader_labels_its_own_pods(installed: Api, account: Api, made: Json) -> None:
    """With the one label, and no other."""
    installed.create(PODS.path(SYSTEM), locked(pod("replica")))
    path = PODS.path(SYSTEM, "replica")
    assert refusal(account, path, {"metadata": {"labels": {"huddle.scheduler/leads": "true"}}}) == ""
    assert "no labels" in refusal(account, path, {"metadata": {"labels": {"app": "x"}}})


def locked(body: Json) -> Json:
    """The pod as the namespace of Huddle takes it."""
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {**body["spec"]["containers"][0], "securityContext": secure}
    seccomp = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True, "runAsUser": 65532}
    return {**body, "spec": {**body["spec"], "containers": [container], "securityContext": seccomp}}
