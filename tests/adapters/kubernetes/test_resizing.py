"""What pods hold while they are resized in place, and that it is read once for pods that are alike."""

from typing import Any

import msgspec
import pytest

from adapters.kubernetes.amounts import held_requests, pod_requests
from adapters.kubernetes.decoding import decoder
from adapters.kubernetes.objects import Document
from adapters.kubernetes.remembered_requests import RememberedRequests
from adapters.kubernetes.resources import PODS
from adapters.kubernetes.running import read_bound_pod
from solver.domain.errors import InvalidRequest

Body = dict[str, Any]

INFEASIBLE = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
DEFERRED = [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}]


def box(name: str, cpu: str, **more: Any) -> Body:
    """A container that asks for cores."""
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}


def told(name: str, runs_with: str = "", allocated: str = "") -> Body:
    """What the status says of a container; empty amounts are left out."""
    found: Body = {"name": name}
    if runs_with:
        found["resources"] = {"requests": {"cpu": runs_with}}
    if allocated:
        found["allocatedResources"] = {"cpu": allocated}
    return found


def pod(*containers: Body, status: Body | None = None, **spec: Any) -> Document:
    """A pod with this status."""
    body = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}
    return Document(body if status is None else {**body, "status": status}, "in.yaml")


def cores(pod: Document) -> float:
    """Cores that the pod holds."""
    return held_requests(pod)["cpu"] / 1000


@pytest.mark.parametrize(
    ("status", "held"),
    [
        (None, 8),
        ({}, 8),
        ({"containerStatuses": None}, 8),
        ({"containerStatuses": [told("main")]}, 8),
        ({"containerStatuses": [told("other", "80", "80")]}, 8),
        ({"containerStatuses": [told("main", "80", "80")]}, 80),
        ({"containerStatuses": [told("main", "80")]}, 80),
        ({"containerStatuses": [told("main", "", "80")]}, 80),
        ({"containerStatuses": [told("main", "80", "8")]}, 80),
        ({"containerStatuses": [told("main", "8", "80")]}, 80),
        ({"containerStatuses": [told("main", "4", "4")]}, 8),
        ({"containerStatuses": [told("main", "4", "4")], "conditions": DEFERRED}, 8),
        ({"containerStatuses": [told("main", "4", "2")], "conditions": INFEASIBLE}, 4),
        ({"containerStatuses": [told("main")], "conditions": INFEASIBLE}, 8),
        ({"containerStatuses": [told("main", "80")], "conditions": INFEASIBLE}, 80),
        ({"containerStatuses": [told("main", "4")], "resize": "Infeasible"}, 4),
        ({"containerStatuses": [told("main", "4")], "resize": "InProgress"}, 8),
        ({"containerStatuses": [told("main", "4")], "resize": "Infeasible", "conditions": DEFERRED}, 8),
    ],
)
def test_the_larger_of_spec_and_status_counts(status: Body | None, held: float) -> None:
    """Unless the resize is infeasible, when only the status does."""
    assert cores(pod(box("main", "8"), status=status)) == held


def test_each_container_counts_by_its_own_status() -> None:
    """One that shrinks and one that grows both hold the larger amount."""
    status = {"containerStatuses": [told("a", "8", "8"), told("b", "1", "1")]}
    assert cores(pod(box("a", "2"), box("b", "4"), status=status)) == 12


def test_what_the_status_does_not_name_is_held_as_asked_for() -> None:
    """GPUs stay counted while a resize of cores is infeasible."""
    container = box("main", "8")
    container["resources"]["requests"]["nvidia.com/gpu"] = "2"
    status = {"containerStatuses": [told("main", "4")], "conditions": INFEASIBLE}
    assert dict(held_requests(pod(container, status=status))) == {"cpu": 4000, "gpu": 2000}


def test_sidecars_count_by_their_status_and_other_init_containers_do_not() -> None:
    """An init container that ends cannot be resized."""
    sidecar = box("side", "1", restartPolicy="Always")
    status = {"initContainerStatuses": [told("init", "50", "50"), told("side", "3", "3")]}
    assert cores(pod(box("main", "2"), status=status, initContainers=[box("init", "1"), sidecar])) == 5


@pytest.mark.parametrize(
    ("status", "held"),
    [
        ({}, 6),
        ({"resources": {"requests": {"cpu": "9"}}}, 9),
        ({"allocatedResources": {"cpu": "9"}}, 9),
        ({"resources": {"requests": {"cpu": "3"}}}, 6),
        ({"resources": {"requests": {"cpu": "3"}}, "conditions": INFEASIBLE}, 3),
    ],
)
def test_requests_of_the_whole_pod_follow_the_same_rule(status: Body, held: float) -> None:
    """By the status of the pod itself."""
    level = {"requests": {"cpu": "6"}}
    assert cores(pod(box("main", "2"), status=status, resources=level)) == held


def test_a_status_does_not_change_what_a_pod_asks_for_elsewhere() -> None:
    """A template has none, and a copy of a pod starts as its spec says."""
    assert pod_requests(pod(box("main", "8"), status={"containerStatuses": [told("main", "80")]}))["cpu"] == 8000


def test_malformed_amounts_of_a_status_are_refused() -> None:
    """With the field."""
    status = {"containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "many"}}]}
    with pytest.raises(InvalidRequest, match=r"status.containerStatuses\[0\].allocatedResources\[cpu\]"):
        held_requests(pod(box("main", "8"), status=status))


def test_bound_pods_hold_what_their_status_says() -> None:
    """Whoever reads them."""
    status = {"containerStatuses": [told("main", "80", "80")]}
    assert read_bound_pod(pod(box("main", "8"), status=status), "h1").requests["cpu"] == 80_000


def decoded(name: str, *containers: Body, **status: Any) -> Document:
    """A pod as the mirror has it."""
    body = {"metadata": {"name": name}, "spec": {"containers": list(containers)}, "status": status}
    return Document(decoder(PODS).body(msgspec.json.encode(body)), "API server")


def test_remembered_amounts_are_those_that_are_read() -> None:
    """Pods of one template differ in what their statuses say, and in whether their resize is feasible."""
    remembered = RememberedRequests()
    main, grown, shrunk = box("main", "8"), told("main", "80", "80"), told("main", "4", "4")
    pods = [
        decoded("a", main),
        decoded("b", main, containerStatuses=[grown]),
        decoded("c", main, containerStatuses=[shrunk]),
        decoded("d", main, containerStatuses=[shrunk], conditions=INFEASIBLE),
        decoded("e", main, containerStatuses=[shrunk], resources={"requests": {"cpu": "1"}}),
        decoded("f", main, containerStatuses=[grown], conditions=INFEASIBLE),
    ]
    for _ in range(2):
        assert [remembered(pod) for pod in pods] == [held_requests(pod) for pod in pods]
    assert [remembered(pod)["cpu"] for pod in pods] == [8000, 80_000, 8000, 4000, 8000, 80_000]


def test_pods_that_are_alike_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when their statuses are there, and the same."""
    read: list[str] = []

    def counting(pod: Document, infeasible: bool | None = None) -> Any:
        read.append(pod.name)
        return held_requests(pod, infeasible)

    monkeypatch.setattr("adapters.kubernetes.remembered_requests.held_requests", counting)
    remembered = RememberedRequests()
    for number in range(5):
        remembered(decoded(f"p{number}", box("main", "8"), containerStatuses=[told("main", "8", "8")]))
    assert set(read) == {"p0"}
