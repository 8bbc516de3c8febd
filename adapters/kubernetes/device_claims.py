"""What pods ask for by resource claims: so many devices of a class, or what is refused by name.

A claim that is made from a template for one pod and wants an exact count of a class that can be counted is a request
for the resource `deviceclass.resource.kubernetes.io/<class>`. Claims of channels of a ComputeDomain are no devices.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from adapters.kubernetes.device_classes import GROUP, DeviceKey, Devices, read_devices
from adapters.kubernetes.objects import Document, Fields
from solver.domain.accelerators import DEVICE_CLASS
from solver.domain.plan import Notice
from solver.domain.pods import BoundPod
from solver.domain.resources import MAX_AMOUNT, Resources
from solver.domain.snapshot import NodeRecord

KINDS = ("DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice")
_CHANNEL = re.compile(r"compute-domain-[a-z0-9.-]+\.nvidia\.com")
_EXACT = frozenset({"deviceClassName", "count", "allocationMode"})
_SHARED = "a claim of its own name may be shared by pods, which is not supported; a claim template is"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the claims of a pod come to. requests: devices by class. refused: (field, problem)."""

    requests: Resources = field(default_factory=Resources)
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ClaimBook:
    """Objects of `resource.k8s.io` in the input."""

    documents: tuple[Document, ...] = ()
    _read: dict[tuple[str, str], "Counter[str] | str"] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "ClaimBook":
        """The book of those documents that matter here."""
        return cls(tuple(doc for doc in documents if doc.api_group == GROUP and doc.kind in KINDS))

    @cached_property
    def devices(self) -> Devices:
        """Device classes, and all devices."""
        return read_devices(self.documents)

    @cached_property
    def _templates(self) -> Mapping[tuple[str, str], Document]:
        found = (doc for doc in self.documents if doc.kind == "ResourceClaimTemplate")
        return {(doc.namespace, doc.name): doc for doc in found}

    @cached_property
    def allocated(self) -> Mapping[tuple[str, str], tuple[DeviceKey, ...]]:
        """Claims that hold devices, by namespace and name; access for administration holds none."""
        found: dict[tuple[str, str], tuple[DeviceKey, ...]] = {}
        for doc in self.documents:
            if doc.kind == "ResourceClaim" and doc.has("status.allocation"):
                results = doc.parts("status.allocation.devices.results")
                found[doc.namespace, doc.name] = tuple(
                    (part.text("driver"), part.text("pool"), part.text("device"))
                    for part in results
                    if not part.flag("adminAccess", False)
                )
        return found

    @cached_property
    def users(self) -> frozenset[tuple[str, str]]:
        """Pods that own allocated claims or have them reserved, by namespace and name."""
        found: set[tuple[str, str]] = set()
        for doc in self.documents:
            if doc.kind == "ResourceClaim" and (doc.namespace, doc.name) in self.allocated:
                owners = (part for part in doc.parts("metadata.ownerReferences") if part.text("kind", "") == "Pod")
                users = (part for part in doc.parts("status.reservedFor") if part.text("resource", "") == "pods")
                found |= {(doc.namespace, part.text("name", "")) for part in (*owners, *users)}
        return frozenset(found)

    @cached_property
    def asked(self) -> frozenset[str]:
        """Classes that some claim template asks for."""
        read = (self.of_template(*key) for key in self._templates)
        return frozenset(name for found in read if not isinstance(found, str) for name in found)

    @cached_property
    def problems(self) -> Mapping[str, str]:
        """Class that is asked for → why its devices cannot be counted; empty for those that can."""
        found = {name: self.devices.problem_of(name) for name in self.asked}
        seen: dict[DeviceKey, str] = {}
        for name in sorted(name for name, problem in found.items() if not problem):
            for device in self.devices.of_class(name):
                other = seen.setdefault(device.key, name)
                if other != name:
                    text = f"DeviceClasses {other} and {name} share devices, which is not supported"
                    found[name] = found[other] = text
        return found

    def of_template(self, namespace: str, name: str) -> "Counter[str] | str":
        """Devices by class that a claim made from a template asks for, or why it cannot be honoured."""
        key = namespace, name
        if key not in self._read:
            doc = self._templates.get(key)
            problem = f"claim template {name} is not in the input"
            self._read[key] = problem if doc is None else _requests(doc.part("spec.spec.devices"))
        return self._read[key]


NO_CLAIMS = ClaimBook()


def claimed(book: ClaimBook, pod: Fields, namespace: str, channels: Iterable[str] = ()) -> Claimed:
    """What the claims of a pod, or pod template with `spec`, ask for. channels: claim templates of ComputeDomains."""
    refused = _dangling(pod)
    if not pod.has("spec.resourceClaims"):
        return Claimed(refused=tuple(refused))
    total: Counter[str] = Counter()
    skipped = set(channels)
    for at, claim in enumerate(pod.parts("spec.resourceClaims")):
        template = claim.text("resourceClaimTemplateName", "")
        if template in skipped:
            continue
        if not template:
            refused.append((f"spec.resourceClaims[{at}]", _SHARED))
            continue
        place = f"spec.resourceClaims[{at}].resourceClaimTemplateName"
        found = book.of_template(namespace, template)
        if isinstance(found, str):
            refused.append((place, found))
            continue
        for name, count in found.items():
            if _CHANNEL.fullmatch(name):
                continue
            if problem := book.problems[name]:
                refused.append((place, problem))
            else:
                total[name] += count
    if not pod.text("spec.nodeName", "") and _is_shown(book, pod, namespace):
        refused.append(("spec.resourceClaims", "a pod that waits with devices allocated already is not supported"))
    return Claimed(_resources(total), tuple(refused))


def with_devices(book: ClaimBook, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
    """The nodes with the devices of every class that is asked for and can be counted."""
    counts: dict[str, Counter[str]] = {}
    taken = frozenset(key for keys in book.allocated.values() for key in keys)
    for name in _countable(book):
        for device in book.devices.of_class(name):
            if device.is_open or device.key in taken:
                counts.setdefault(device.node, Counter())[name] += 1
    return [
        replace(node, allocatable=Resources.total((node.allocatable, _resources(counts[node.name]))))
        if node.name in counts
        else node
        for node in nodes
    ]


def held_devices(
    book: ClaimBook, pods: Iterable[Document], nodes: frozenset[str]
) -> tuple[list[BoundPod], list[Notice]]:
    """Pods that stand for allocated devices, and what is not known of pods that run with claims nobody shows.

    nodes: those there are.
    """
    by_key = {device.key: (name, device.node) for name in _countable(book) for device in book.devices.of_class(name)}
    found: list[BoundPod] = []
    for (namespace, claim), keys in book.allocated.items():
        by_node: dict[str, Counter[str]] = {}
        for key in keys:
            name, node = by_key.get(key, ("", ""))
            if node in nodes:
                by_node.setdefault(node, Counter())[name] += 1
        for node, counted in by_node.items():
            found.append(BoundPod(f"{namespace}/claim:{claim}@{node}", node, _resources(counted)))
    notices: list[Notice] = []
    for pod in pods:
        node = pod.text("spec.nodeName", "")
        if node not in nodes or not pod.has("spec.resourceClaims") or _is_shown(book, pod, pod.namespace):
            continue
        asked = claimed(book, pod, pod.namespace)
        if asked.requests.items and not asked.refused:
            found.append(BoundPod(f"{pod.full_name}:claims", node, asked.requests))
        elif asked.refused and book.asked:
            where, problem = asked.refused[0]
            notices.append(Notice("claims_not_counted", pod.described, where, problem))
    return found, notices


def _requests(devices: Fields) -> "Counter[str] | str":
    """Devices by class of a claim's requests, or what about them cannot be honoured."""
    if devices.items("constraints"):
        return "constraints between the devices of a claim are not supported"
    found: Counter[str] = Counter()
    for request in devices.parts("requests"):
        name = request.text("name", "")
        if request.items("firstAvailable"):
            return f"request {name}: a list of alternatives is not supported"
        exact = request.part("exactly") if request.has("exactly") else request
        more = sorted(key for key, value in exact.body.items() if value and key not in _EXACT and key != "name")
        if more:
            return f"request {name}: {more[0]} is not supported"
        mode = exact.text("allocationMode", "") or "ExactCount"
        if mode != "ExactCount":
            return f"request {name}: allocationMode {mode} is not supported"
        found[exact.text("deviceClassName")] += exact.whole("count", 1, minimum=1, maximum=MAX_AMOUNT)
    return found


def _countable(book: ClaimBook) -> list[str]:
    return [name for name in sorted(book.asked) if not _CHANNEL.fullmatch(name) and not book.problems[name]]


def _is_shown(book: ClaimBook, pod: Fields, namespace: str) -> bool:
    """Whether the input has an allocated claim that was made for a pod, or is reserved for it."""
    statuses = pod.parts("status.resourceClaimStatuses")
    own = {(namespace, part.text("resourceClaimName", "")) for part in statuses}
    return not own.isdisjoint(book.allocated) or (namespace, pod.text("metadata.name", "")) in book.users


def _dangling(pod: Fields) -> list[tuple[str, str]]:
    """Containers that use claims which the pod does not have."""
    known = {claim.text("name", "") for claim in pod.parts("spec.resourceClaims")}
    return [
        (f"spec.containers[{at}].resources.claims", f"claim {name} is not among spec.resourceClaims")
        for at, container in enumerate(pod.parts("spec.containers"))
        for claim in container.parts("resources.claims")
        if (name := claim.text("name", "")) not in known
    ]


def _resources(counted: Mapping[str, int]) -> Resources:
    return Resources.of({DEVICE_CLASS + name: count for name, count in counted.items()})
