"""What pods ask for and nodes offer, against kube-scheduler's way of counting."""

from typing import Any

import pytest

from adapters.kubernetes.amounts import node_resources, pod_requests
from adapters.kubernetes.objects import Document
from solver.domain.errors import InvalidRequest

GPU = "nvidia.com/gpu"
GI = 2**30


def pod(**spec: Any) -> Document:
    """A pod with these fields in its spec."""
    return Document({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec}, "in.yaml")


def box(requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A container."""
    return {"name": "c", "resources": {"requests": requests, "limits": limits}, **more}


def sidecar(**requests: Any) -> dict[str, Any]:
    """An init container that keeps running."""
    return box(requests, restartPolicy="Always")


@pytest.mark.parametrize(
    ("spec", "amounts"),
    [
        ({}, {}),
        ({"containers": None}, {}),
        ({"containers": [{"name": "c"}]}, {}),
        ({"containers": [box({"cpu": "0"})]}, {}),
        ({"containers": [box({"cpu": None})]}, {}),
        ({"containers": [box({"cpu": "1500m", "memory": "1Gi"})]}, {"cpu": 1500, "memory": GI}),
        ({"containers": [box({"cpu": 2})]}, {"cpu": 2000}),
        ({"containers": [box({"cpu": 0.25})]}, {"cpu": 250}),
        ({"containers": [box({"cpu": "1"}), box({"cpu": "2"})]}, {"cpu": 3000}),
        ({"containers": [box({GPU: "8"})]}, {"gpu": 8000}),
        ({"containers": [box(None, {GPU: 2})]}, {"gpu": 2000}),
        ({"containers": [box({"rdma/ib": "8"})]}, {"rdma/ib": 8}),
        ({"containers": [box({"nvidia.com/mig-1g.5gb": 3})]}, {"nvidia.com/mig-1g.5gb": 3}),
        ({"containers": [box({"hugepages-2Mi": "4Mi"})]}, {"hugepages-2Mi": 4 * 2**20}),
        ({"containers": [box({"ephemeral-storage": "1k"})]}, {"ephemeral-storage": 1000}),
    ],
)
def test_containers_add_up(spec: dict[str, Any], amounts: dict[str, int]) -> None:
    """Requests of all containers, in the solver's units."""
    assert dict(pod_requests(pod(**spec))) == amounts


@pytest.mark.parametrize(
    ("requests", "limits", "amounts"),
    [
        ({"cpu": "1"}, {"cpu": "4"}, {"cpu": 1000}),
        ({"cpu": "1"}, {"memory": "1k"}, {"cpu": 1000, "memory": 1000}),
        ({"cpu": "0"}, {"cpu": "4"}, {}),
        (None, {"cpu": "4", GPU: "1"}, {"cpu": 4000, "gpu": 1000}),
    ],
)
def test_limits_stand_for_missing_requests(
    requests: dict[str, Any] | None, limits: dict[str, Any], amounts: dict[str, int]
) -> None:
    """A limit counts only where there is no request, not even one of zero."""
    assert dict(pod_requests(pod(containers=[box(requests, limits)]))) == amounts


@pytest.mark.parametrize(
    ("containers", "amounts"),
    [
        ([box({"cpu": "0.1m"})], {"cpu": 1}),
        ([box({"cpu": "0.5m"}), box({"cpu": "0.5m"})], {"cpu": 1}),
        ([box({"cpu": "1001u"})], {"cpu": 2}),
        ([box({"memory": "1500m"})], {"memory": 2}),
        ([box({"memory": "0.5"}), box({"memory": "0.5"}), box({"memory": "1m"})], {"memory": 2}),
    ],
)
def test_sums_are_rounded_up_once(containers: list[Any], amounts: dict[str, int]) -> None:
    """Fractions of a unit add up exactly before they are rounded."""
    assert dict(pod_requests(pod(containers=containers))) == amounts


@pytest.mark.parametrize(
    ("init", "cpu"),
    [
        ([box({"cpu": "1"})], 4000),
        ([box({"cpu": "6"})], 6000),
        ([box({"cpu": "6"}), box({"cpu": "7"})], 7000),
        ([sidecar(cpu="1")], 5000),
        ([sidecar(cpu="1"), sidecar(cpu="2")], 7000),
        ([sidecar(cpu="1"), box({"cpu": "3"})], 5000),
        ([sidecar(cpu="1"), box({"cpu": "6"})], 7000),
        ([box({"cpu": "6"}), sidecar(cpu="1")], 6000),
        ([sidecar(cpu="2"), box({"cpu": "5"}), sidecar(cpu="9")], 15000),
        ([sidecar(cpu="2"), box({"cpu": "20"}), sidecar(cpu="9")], 22000),
    ],
)
def test_init_containers_count_with_the_sidecars_before_them(init: list[Any], cpu: int) -> None:
    """Beside a container of 4 cores: sidecars add up, other init containers only count by their peak."""
    found = pod_requests(pod(initContainers=init, containers=[box({"cpu": "4"})]))
    assert dict(found) == {"cpu": cpu}


def test_peaks_are_taken_resource_by_resource() -> None:
    """An init container may need more memory while the main one needs more cores."""
    found = pod_requests(
        pod(initContainers=[box({"cpu": "1", "memory": "8Gi"})], containers=[box({"cpu": "4", "memory": "1Gi"})])
    )
    assert dict(found) == {"cpu": 4000, "memory": 8 * GI}


def test_overhead_comes_on_top_of_the_peak() -> None:
    """The runtime's overhead is added last."""
    found = pod_requests(
        pod(initContainers=[box({"cpu": "6"})], containers=[box({"cpu": "4"})], overhead={"cpu": "250m"})
    )
    assert dict(found) == {"cpu": 6250}


@pytest.mark.parametrize(
    ("resources", "amounts"),
    [
        ({"requests": {"cpu": "2"}}, {"cpu": 2100, "gpu": 1000}),
        ({"requests": {"cpu": "9", "memory": "1k"}}, {"cpu": 9100, "gpu": 1000, "memory": 1000}),
        ({"limits": {"cpu": "9"}}, {"cpu": 4100, "gpu": 1000}),
        ({"limits": {"memory": "5"}}, {"cpu": 4100, "gpu": 1000, "memory": 5}),
        ({"requests": {"memory": "4"}, "limits": {"memory": "5"}}, {"cpu": 4100, "gpu": 1000, "memory": 4}),
        ({}, {"cpu": 4100, "gpu": 1000}),
    ],
)
def test_pod_level_requests_replace_the_sum(resources: dict[str, Any], amounts: dict[str, int]) -> None:
    """A pod-level limit counts only where no container asks; overhead still comes on top."""
    found = pod_requests(pod(containers=[box({"cpu": "4", GPU: "1"})], resources=resources, overhead={"cpu": "100m"}))
    assert dict(found) == amounts


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            {"containers": [box({GPU: "500m"})]},
            "spec.containers[0].resources.requests[nvidia.com/gpu]: must be a whole number, not '500m'",
        ),
        (
            {"containers": [box({"rdma/ib": 0.5})]},
            "spec.containers[0].resources.requests[rdma/ib]: must be a whole number, not 0.5",
        ),
        (
            {"containers": [box(), box(None, {"cpu": "-1"})]},
            "spec.containers[1].resources.limits[cpu]: '-1' is negative",
        ),
        (
            {"initContainers": [box({"memory": "lots"})]},
            "spec.initContainers[0].resources.requests[memory]: must be a quantity, not 'lots'",
        ),
        (
            {"containers": [box({"gpu": 1})]},
            "spec.containers[0].resources.requests[gpu]: is not a resource pods can ask for",
        ),
        (
            {"containers": [box({"pods": 1})]},
            "spec.containers[0].resources.requests[pods]: is not a resource pods can ask for",
        ),
        (
            {"containers": [box({"cpu": "4E"})]},
            "spec.containers[0].resources.requests[cpu]: '4E' is too large",
        ),
        (
            {"containers": [box({"cpu": "5T"})]},
            "spec.containers[0].resources.requests[cpu]: '5T' is too large",
        ),
        ({"containers": [box({"memory": "4P"}), box({"memory": "4P"})]}, "spec: the sum of memory is too large"),
        ({"overhead": {"cpu": []}}, "spec.overhead[cpu]: must be a quantity, not a list"),
        ({"containers": {}}, "spec.containers: must be a list, not a mapping"),
        ({"containers": [1]}, "spec.containers[0]: must be a mapping, not 1"),
        ({"containers": [{"resources": []}]}, "spec.containers[0].resources: must be a mapping, not a list"),
        (
            {"containers": [{"resources": {"requests": []}}]},
            "spec.containers[0].resources.requests: must be a mapping, not a list",
        ),
        (
            {"resources": {"requests": {"nvidia.com/gpu": 1}}},
            "spec.resources: may only hold cpu, memory and hugepages",
        ),
        (
            {"initContainers": [{"restartPolicy": 1}]},
            "spec.initContainers[0].restartPolicy: must be text, not 1",
        ),
    ],
)
def test_bad_requests_are_refused(spec: dict[str, Any], line: str) -> None:
    """One line names the container and the resource."""
    with pytest.raises(InvalidRequest) as refused:
        pod_requests(pod(**spec))
    assert str(refused.value) == f"in.yaml: Pod default/p: {line}"


def node(**status: Any) -> Document:
    """A node with these fields in its status."""
    return Document({"kind": "Node", "metadata": {"name": "n"}, "status": status}, "in.yaml")


@pytest.mark.parametrize(
    ("status", "amounts"),
    [
        ({}, {"pods": 110}),
        ({"capacity": {"cpu": "4", "pods": "9"}}, {"cpu": 4000, "pods": 9}),
        ({"allocatable": {"cpu": "3", "pods": "9"}, "capacity": {"cpu": "4"}}, {"cpu": 3000, "pods": 9}),
        ({"allocatable": {"pods": "0"}}, {}),
        ({"allocatable": {GPU: "8", "rdma/ib": "2"}}, {"gpu": 8000, "rdma/ib": 2, "pods": 110}),
        ({"allocatable": {"attachable-volumes-x": "25", "cpu": "1"}}, {"cpu": 1000, "pods": 110}),
        ({"allocatable": {"cpu": "1500u", "memory": "1500m"}}, {"cpu": 1, "memory": 1, "pods": 110}),
    ],
)
def test_nodes_offer_what_is_allocatable(status: dict[str, Any], amounts: dict[str, int]) -> None:
    """Allocatable before capacity, rounded down; without a pod count the kubelet's default."""
    assert dict(node_resources(node(**status))) == amounts


def test_a_bad_node_is_refused() -> None:
    """One line names the node and the resource."""
    with pytest.raises(InvalidRequest) as refused:
        node_resources(node(allocatable={GPU: "many"}))
    expected = "in.yaml: Node n: status.allocatable[nvidia.com/gpu]: must be a quantity, not 'many'"
    assert str(refused.value) == expected
