"""Dynamic resource allocation, the part that is a matter of counting: device classes, and what nodes have of them.

A class that selects by driver, and by attributes of a device that are texts, is a resource of nodes: as many as
ResourceSlices of the input publish for a node, less what is allocated. What is more than counting is said by name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adapters.kubernetes.objects import Document, Fields

GROUP = "resource.k8s.io"
_DRIVER = re.compile(r"""device\.driver\s*==\s*(?P<quote>["'])(?P<driver>[^"']+)(?P=quote)""")
_ATTRIBUTE = re.compile(
    r"""device\.attributes\[(?P<q>["'])(?P<domain>[^"']+)(?P=q)\]\.(?P<name>\w+)\s*==\s*(?P<w>["'])(?P<value>[^"']*)(?P=w)"""
)
#: Fields of a device with which it is more than one thing to count.
_BEYOND = (
    "consumesCounters", "nodeName", "nodeSelector", "allNodes", "allowMultipleAllocations", "bindsToNode",
    "bindingConditions",
)  # fmt: skip
_OF_SLICES = ("nodeSelector", "allNodes", "perDeviceNodeSelection", "sharedCounters")
_REPELLING = ("NoSchedule", "NoExecute")

#: A device: its driver, pool and name.
DeviceKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """Devices of a driver with these attributes: (qualified name, text). problem: why nobody can count them here."""

    driver: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Device:
    key: DeviceKey
    node: str
    attributes: Mapping[str, object]
    is_open: bool


@dataclass
class Devices:
    """All devices of the input. problems: driver → why its devices cannot be counted."""

    classes: Mapping[str, DeviceClass]
    devices: list[_Device] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def problem_of(self, name: str) -> str:
        """Why nobody can count the devices of a class; empty where they can be."""
        found = self.classes.get(name)
        if found is None:
            return f"DeviceClass {name} is not in the input"
        if found.problem:
            return f"DeviceClass {name}: {found.problem}"
        if found.driver in self.problems:
            return self.problems[found.driver]
        of_driver = [device for device in self.devices if device.key[0] == found.driver]
        if not of_driver:
            return f"no ResourceSlice of driver {found.driver} is in the input"
        for attribute, _ in found.attributes:
            if not all(isinstance(device.attributes.get(attribute), str) for device in of_driver):
                return f"DeviceClass {name} selects by {attribute}, which not every device of its driver has as a text"
        return ""

    def of_class(self, name: str) -> list[_Device]:
        """The devices of a class without problem."""
        wanted = self.classes[name]
        return [
            device
            for device in self.devices
            if device.key[0] == wanted.driver
            and all(device.attributes.get(attribute) == value for attribute, value in wanted.attributes)
        ]


def read_devices(documents: Iterable[Document]) -> Devices:
    """The DeviceClasses and ResourceSlices among some documents. Raises InvalidRequest for malformed ones."""
    ours = [doc for doc in documents if doc.api_group == GROUP]
    found = Devices({doc.name: _class(doc) for doc in ours if doc.kind == "DeviceClass"})
    pools: dict[tuple[str, str], list[Document]] = {}
    for doc in ours:
        if doc.kind == "ResourceSlice":
            pools.setdefault((doc.text("spec.driver"), doc.text("spec.pool.name")), []).append(doc)
    for (driver, pool), slices in pools.items():
        newest = max(doc.whole("spec.pool.generation", 0) for doc in slices)
        current = [doc for doc in slices if doc.whole("spec.pool.generation", 0) == newest]
        if len(current) < current[0].whole("spec.pool.resourceSliceCount", 1):
            found.problems[driver] = f"not all ResourceSlices of pool {pool} of driver {driver} are in the input"
        for doc in current:
            _add_slice(found, driver, pool, doc)
    return found


def _class(doc: Document) -> DeviceClass:
    if doc.has("spec.suitableNodes"):
        return DeviceClass(problem="suitableNodes is not supported")
    drivers: list[str] = []
    attributes: list[tuple[str, str]] = []
    for selector in doc.parts("spec.selectors"):
        for clause in selector.text("cel.expression").split("&&"):
            words = clause.strip()
            if (driver := _DRIVER.fullmatch(words)) is not None:
                drivers.append(driver["driver"])
            elif (attribute := _ATTRIBUTE.fullmatch(words)) is not None:
                attributes.append((f"{attribute['domain']}/{attribute['name']}", attribute["value"]))
            else:
                return DeviceClass(problem=f"its selector is more than a driver and attributes: {words[:80]}")
    if len(set(drivers)) != 1:
        return DeviceClass(problem="it selects no driver, or several")
    return DeviceClass(drivers[0], tuple(dict.fromkeys(attributes)))


def _add_slice(found: Devices, driver: str, pool: str, doc: Document) -> None:
    beyond = [name for name in _OF_SLICES if doc.find(f"spec.{name}")]
    node = doc.text("spec.nodeName", "")
    if beyond or not node:
        why = beyond[0] if beyond else "devices of no single node"
        found.problems[driver] = f"ResourceSlice {doc.name} of driver {driver}: {why} is not supported"
        return
    for part in doc.parts("spec.devices"):
        body = part.part("basic") if part.has("basic") else part
        more = [name for name in _BEYOND if part.find(name) or body.find(name)]
        if more:
            found.problems[driver] = (
                f"ResourceSlice {doc.name} of driver {driver}: {more[0]} of a device is not supported"
            )
        taints = [*part.parts("taints"), *(body.parts("taints") if body is not part else ())]
        is_open = not any(taint.text("effect", "") in _REPELLING for taint in taints)
        key = (driver, pool, part.text("name"))
        found.devices.append(_Device(key, node, _attributes(driver, body), is_open))


def _attributes(driver: str, device: Fields) -> dict[str, object]:
    """Qualified name → the value; an attribute without a domain is one of the driver's."""
    found: dict[str, object] = {}
    for name, value in device.mapping("attributes").items():
        qualified = name if "/" in name else f"{driver}/{name}"
        found[qualified] = value.get("string") if isinstance(value, Mapping) else None
    return found
