"""Resource claims: what can be counted is counted, what cannot is said by name."""

from typing import Any

import pytest

from adapters.files.cluster import LoadedCluster, load_cluster
from adapters.kubernetes.device_claims import ClaimBook, claimed
from adapters.kubernetes.objects import Document
from solver.domain.accelerators import DEVICE_CLASS
from solver.domain.resources import Resources

API = "resource.k8s.io/v1"
CLASS = "gpu.example.com"
DEVICES = DEVICE_CLASS + CLASS
DRIVER = "device.driver == 'example.com'"


def doc(kind: str, name: str, api: str = API, namespace: str = "", **body: Any) -> Document:
    """An object from `in.yaml`."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return Document({"apiVersion": api, "kind": kind, "metadata": metadata, **body}, "in.yaml")


def device_class(expression: str = DRIVER, name: str = CLASS) -> Document:
    """A class that selects by an expression."""
    return doc("DeviceClass", name, spec={"selectors": [{"cel": {"expression": expression}}]})


def template(name: str = "one", *requests: dict[str, Any], **devices: Any) -> Document:
    """A claim template in namespace ns; without requests one device of the class."""
    wanted = list(requests) or [{"name": "r", "exactly": {"deviceClassName": CLASS}}]
    spec = {"spec": {"devices": {"requests": wanted, **devices}}}
    return doc("ResourceClaimTemplate", name, namespace="ns", spec=spec)


def exactly(**fields: Any) -> dict[str, Any]:
    """A request for devices of the class."""
    return {"name": "r", "exactly": {"deviceClassName": CLASS, **fields}}


def resource_slice(node: str, count: int = 4, api: str = API, **spec: Any) -> Document:
    """The devices `gpu-0` … of a node, with a type each."""
    devices: list[dict[str, Any]] = [
        {"name": f"gpu-{at}", "attributes": {"type": {"string": "gpu" if at else "mig"}}} for at in range(count)
    ]
    if api.endswith("v1beta1"):
        devices = [{"name": each["name"], "basic": {"attributes": each["attributes"]}} for each in devices]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    body = {"driver": "example.com", "nodeName": node, "pool": pool, "devices": devices, **spec}
    return doc(
        "ResourceSlice", f"slice-{node}", api, spec={key: value for key, value in body.items() if value is not None}
    )


def claim(name: str, *devices: str, node: str = "a", user: str = "", **more: Any) -> Document:
    """An allocated claim in ns."""
    results = [{"driver": "example.com", "pool": node, "device": device, **more} for device in devices]
    reserved = [{"resource": "pods", "name": user}] if user else []
    status = {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}
    return doc("ResourceClaim", name, namespace="ns", spec={}, status=status)


def pod(name: str = "p", *claims: str, node: str = "") -> Document:
    """A pod of ns with claims made from templates."""
    wanted = [{"name": f"c{at}", "resourceClaimTemplateName": each} for at, each in enumerate(claims)]
    spec = {"containers": [{"name": "main"}], "resourceClaims": wanted, **({"nodeName": node} if node else {})}
    return doc("Pod", name, "v1", "ns", spec=spec, status={"phase": "Running" if node else "Pending"})


def load(*documents: Document) -> LoadedCluster:
    """The objects with nodes a and b."""
    nodes = [doc("Node", name, "v1", status={"allocatable": {"cpu": "8"}}) for name in "ab"]
    return load_cluster([*nodes, *documents])


def free(*documents: Document) -> list[int]:
    """Devices of the class that are free on a and b; none where nobody counts them."""
    snapshot = load(*documents).snapshot
    if DEVICES not in snapshot.resources:
        return []
    assert snapshot.whole_gpus.tolist() == snapshot.allocatable[:, snapshot.resources.index(DEVICES)].tolist()
    return [int(each) for each in snapshot.free[:, snapshot.resources.index(DEVICES)]]


def problem(*documents: Document, of: Document | None = None, channels: tuple[str, ...] = ()) -> str:
    """What is refused about a pod with a claim from template `one`, or empty."""
    found = claimed(ClaimBook.of(documents), of or pod("p", "one"), "ns", channels)
    return found.refused[0][1] if found.refused else ""


SITE = (device_class(), template(), resource_slice("a"), resource_slice("b", 2))


def test_claims_are_requests_for_devices_of_a_class() -> None:
    """As many as all claims of the pod want together, in every version of the API."""
    flat = template("flat", {"name": "r", "deviceClassName": CLASS, "allocationMode": "ExactCount", "count": 2})
    three = template("three", exactly(count=2, adminAccess=False), {**exactly(), "name": "s"}, config=[{"opaque": {}}])
    found = claimed(ClaimBook.of((*SITE, flat, three)), pod("p", "flat", "three"), "ns")
    assert (found.requests, found.refused) == (Resources.of({DEVICES: 5}), ())
    assert claimed(ClaimBook.of(SITE), pod(), "ns").requests == Resources()


def test_nodes_have_the_devices_of_their_slices() -> None:
    """By driver and attributes; older versions of a slice and devices with taints do not count."""
    assert free(*SITE) == [4, 2]
    assert free(device_class(), template(), resource_slice("a", api="resource.k8s.io/v1beta1")) == [4, 0]
    typed = "device.driver == \"example.com\" && device.attributes['example.com'].type == 'gpu'"
    assert free(device_class(typed), *SITE[1:]) == [3, 1]
    old = resource_slice("a", 9, pool={"name": "a", "generation": 0, "resourceSliceCount": 1})
    old.body["metadata"]["name"] = "old"
    assert free(*SITE, old) == [4, 2]
    tainted = resource_slice("a")
    tainted.body["spec"]["devices"][0]["taints"] = [{"key": "k", "effect": "NoExecute"}]
    assert free(device_class(), template(), tainted) == [3, 0]
    assert free(device_class(), resource_slice("a")) == []  # nobody asks


def test_allocated_devices_are_taken() -> None:
    """By claims, whoever they are for, once; access for administration takes nothing."""
    running = pod("q", "one", node="a")
    assert free(*SITE, claim("x", "gpu-0", "gpu-3"), claim("y", "gpu-1", node="b")) == [2, 1]
    assert free(*SITE, claim("x", "gpu-0", adminAccess=True)) == [4, 2]
    assert free(*SITE, running, claim("x", "gpu-0", user="q")) == [3, 2]
    assert free(*SITE, running) == [3, 2]  # a dump without claims


def test_a_running_pod_nobody_can_count_is_said() -> None:
    """Its devices may be among those that look free."""
    loaded = load(*SITE, pod("q", "lost", node="a"))
    assert [(each.code, each.object) for each in loaded.notices] == [("claims_not_counted", "Pod ns/q")]


REFUSED: list[tuple[tuple[Document, ...], str]] = [
    ((), "claim template one is not in the input"),
    ((template(), resource_slice("a")), f"DeviceClass {CLASS} is not in the input"),
    ((template(), device_class()), "no ResourceSlice of driver example.com is in the input"),
    ((template(), device_class("device.driver == 'a' || true")), "its selector is more than a driver and attributes"),
    ((template(), device_class("device.attributes['a'].b == 'c'")), "it selects no driver, or several"),
    (
        (*SITE[1:], device_class("device.driver == 'example.com' && device.attributes['x.y'].z == 'v'")),
        "selects by x.y/z",
    ),
    (
        (*SITE, template("two", {**exactly(), "exactly": {"deviceClassName": "other"}}), device_class(name="other")),
        "share",
    ),
    ((SITE[0], SITE[2], template("one", exactly(allocationMode="All"))), "allocationMode All is not supported"),
    ((SITE[0], SITE[2], template("one", exactly(adminAccess=True))), "adminAccess is not supported"),
    ((SITE[0], SITE[2], template("one", exactly(selectors=[{"cel": {}}]))), "selectors is not supported"),
    ((SITE[0], SITE[2], template("one", exactly(capacity={"requests": {"m": 1}}))), "capacity is not supported"),
    ((SITE[0], SITE[2], template("one", {"name": "r", "firstAvailable": [{}]})), "a list of alternatives"),
    ((SITE[0], SITE[2], template("one", constraints=[{"matchAttribute": "x/y"}])), "constraints between the devices"),
    ((*SITE[:2], resource_slice("a", nodeName=None, allNodes=True)), "allNodes is not supported"),
    ((*SITE[:2], resource_slice("a", sharedCounters=[{"name": "s"}])), "sharedCounters is not supported"),
    ((*SITE[:2], resource_slice("a", pool={"name": "a", "resourceSliceCount": 2})), "not all ResourceSlices of pool a"),
    ((*SITE, claim("x", "gpu-0", user="p")), "a pod that waits with devices allocated already"),
]


@pytest.mark.parametrize(("documents", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_more_than_counting_is_refused_by_name(documents: tuple[Document, ...], words: str) -> None:
    """One sentence about the claim, its class, or the devices."""
    found = problem(*documents)
    assert words in found
    assert "\n" not in found


def test_partitions_of_devices_are_refused() -> None:
    """Devices that share counters are no independent things."""
    parts = resource_slice("a")
    parts.body["spec"]["devices"][1]["consumesCounters"] = [{"counterSet": "s"}]
    assert "consumesCounters of a device is not supported" in problem(*SITE[:2], parts)


def test_named_claims_and_dangling_ones_are_refused() -> None:
    """A claim of its own name, and a container that uses a claim its pod does not have."""
    named = pod()
    named.body["spec"]["resourceClaims"] = [{"name": "c", "resourceClaimName": "mine"}]
    assert "may be shared by pods" in problem(*SITE, of=named)
    dangling = pod()
    dangling.body["spec"]["containers"][0]["resources"] = {"claims": [{"name": "z"}]}
    assert problem(*SITE, of=dangling) == "claim z is not among spec.resourceClaims"


def test_channels_of_a_compute_domain_are_no_devices() -> None:
    """By the template that a ComputeDomain names, or by the class."""
    assert problem(channels=("one",)) == ""
    channel = {"name": "c", "exactly": {"deviceClassName": "compute-domain-default-channel.nvidia.com"}}
    book = ClaimBook.of([template("one", channel)])
    assert claimed(book, pod("p", "one"), "ns") == claimed(book, pod(), "ns")
