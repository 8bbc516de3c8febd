"""What a pod takes and a node has, in thousandths: computed here anew, with nothing of what is being audited."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

Amounts = Mapping[str, int]
Json = Mapping[str, Any]

_BINARY = {unit: 1024 ** (power + 1) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"))}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "m": Fraction(1, 1000), "": 1}


def milli(quantity: object) -> int:
    """A quantity as Kubernetes writes it, in thousandths, rounded up."""
    text = str(quantity)
    digits = text.rstrip("KMGTPikm")
    unit = text[len(digits) :]
    factor = Fraction(_BINARY.get(unit) or _DECIMAL[unit])
    return -(-Fraction(digits) * factor * 1000 // 1)


def node_room(node: Json) -> Amounts:
    """What pods may take of a node."""
    return {name: milli(amount) for name, amount in ((node.get("status") or {}).get("allocatable") or {}).items()}


def pod_takes(pod: Json) -> Amounts:
    """The larger of what containers ask for together and what any init container asks for, and the overhead; a pod."""
    spec = pod["spec"]
    running = [_requests(container) for container in spec["containers"]]
    sidecars = [_requests(each) for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    first = [_requests(each) for each in spec.get("initContainers") or () if each.get("restartPolicy") != "Always"]
    together = _sum([*running, *sidecars])
    for each in first:
        alone = _sum([each, *sidecars])
        together = {name: max(together.get(name, 0), alone.get(name, 0)) for name in {*together, *alone}}
    overhead = {name: milli(amount) for name, amount in (spec.get("overhead") or {}).items()}
    return _sum([together, overhead, {"pods": 1000}])


def _requests(container: Json) -> Amounts:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: milli(amount) for name, amount in asked.items()}


def _sum(parts: list[Amounts]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total
