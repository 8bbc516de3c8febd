"""What pods ask for and nodes offer, in the solver's units.

`nvidia.com/gpu` becomes `gpu` in thousandths; any other name with a slash is an extended resource, a count.
"""

import math
from collections.abc import Iterable

from adapters.kubernetes.objects import Fields, shown
from adapters.kubernetes.quantity import Amount, QuantityError, parse_quantity
from solver.domain.resources import (
    CPU,
    EPHEMERAL_STORAGE,
    GPU,
    MAX_AMOUNT,
    MEMORY,
    MILLI_GPU,
    PODS,
    Resources,
)

GPU_RESOURCE = "nvidia.com/gpu"
DEFAULT_PODS = 110
_HUGE_PAGES = "hugepages-"

#: Solver resource → exact amount in its unit.
Amounts = dict[str, Amount]


def pod_requests(pod: Fields) -> Resources:
    """What a pod (a mapping with `spec`) asks for, as kube-scheduler counts it.

    The larger of what runs together (containers and sidecars) and the peak of any init container with the
    sidecars started before it; pod-level requests replace that sum; overhead comes on top. Limits stand for
    missing requests.
    Raises InvalidRequest for quantities that are malformed or too large.
    """
    asked = _container_requests(pod)
    asked.update(_pod_level(pod, asked))
    return _rounded(pod, "spec", _sum([asked, _amounts(pod, "spec.overhead")]))


def node_resources(node: Fields) -> Resources:
    """What a node offers: `status.allocatable`, else `status.capacity`, rounded down.

    Names that are no resource of a pod are left out. A list without `pods` takes the kubelet's default, 110.
    Raises InvalidRequest for malformed quantities.
    """
    field = "status.allocatable" if node.has("status.allocatable") else "status.capacity"
    amounts = _amounts(node, field, node=True)
    return Resources.of({PODS: DEFAULT_PODS} | {name: int(amount) for name, amount in amounts.items()})


def _container_requests(pod: Fields) -> Amounts:
    together = _sum(_asked(container) for container in pod.parts("spec.containers"))
    if not pod.has("spec.initContainers"):
        return together
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.parts("spec.initContainers"):
        step = _sum([sidecars, _asked(container)])
        peak = _larger(peak, step)
        if container.text("restartPolicy", "") == "Always":
            sidecars = step
    return _larger(_sum([together, sidecars]), peak)


def _asked(container: Fields) -> Amounts:
    found = _amounts(container, "resources.requests")
    for name, amount in _amounts(container, "resources.limits").items():
        found.setdefault(name, amount)
    return found


def _pod_level(pod: Fields, asked: Amounts) -> Amounts:
    """Pod-level requests; a pod-level limit counts only where no container asks for the resource."""
    if not pod.has("spec.resources"):
        return {}
    found = _amounts(pod, "spec.resources.requests")
    for name, amount in _amounts(pod, "spec.resources.limits").items():
        if name not in asked:
            found.setdefault(name, amount)
    for name in found:
        if name not in (CPU, MEMORY) and not name.startswith(_HUGE_PAGES):
            raise pod.refuse("spec.resources", "may only hold cpu, memory and hugepages")
    return found


def _amounts(fields: Fields, path: str, *, node: bool = False) -> Amounts:
    """The resource list at `path`; null amounts count as absent."""
    found: Amounts = {}
    for name, value in fields.mapping(path).items():
        if value is None:
            continue
        place = _place(name, node)
        if place is None:
            if node:
                continue
            raise fields.refuse(f"{path}[{name}]", "is not a resource pods can ask for")
        target, scale, whole = place
        try:
            amount = parse_quantity(value) * scale
        except QuantityError as error:
            raise fields.refuse(f"{path}[{name}]", str(error)) from error
        if whole and not isinstance(amount, int):
            raise fields.refuse(f"{path}[{name}]", f"must be a whole number, not {shown(value)}")
        if amount > MAX_AMOUNT:
            raise fields.refuse(f"{path}[{name}]", f"{shown(value)} is too large")
        found[target] = amount
    return found


def _place(name: str, node: bool) -> tuple[str, int, bool] | None:
    """Solver resource, scale to its unit, whether only whole numbers make sense; None for other names."""
    if name == CPU:
        return CPU, 1000, False
    if name in (MEMORY, EPHEMERAL_STORAGE) or name.startswith(_HUGE_PAGES):
        return name, 1, False
    if name == GPU_RESOURCE:
        return GPU, MILLI_GPU, True
    if "/" in name or (node and name == PODS):
        return name, 1, True
    return None


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total[name] + amount if name in total else amount
    return total


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _rounded(fields: Fields, path: str, amounts: Amounts) -> Resources:
    """Rounded up to whole units; refuses sums no node could hold."""
    for name, amount in amounts.items():
        if amount > MAX_AMOUNT:
            raise fields.refuse(path, f"the sum of {name} is too large")
    return Resources.of({name: math.ceil(amount) for name, amount in amounts.items()})
