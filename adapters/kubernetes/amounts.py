"""What pods ask for and nodes offer, in the solver's units.

`nvidia.com/gpu` becomes `gpu` in thousandths; any other name with a slash is an extended resource, a count.
"""

import math
from collections.abc import Callable, Iterable

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
#: What the container called so counts for, of what its spec asks for.
_Resized = Callable[[str, Amounts], Amounts]


def pod_requests(pod: Fields) -> Resources:
    """What a pod (a mapping with `spec`) asks for before it runs, as kube-scheduler counts it.

    The larger of what runs together (containers and sidecars) and the peak of any init container with the
    sidecars started before it; pod-level requests replace that sum; overhead comes on top. Limits stand for
    missing requests.
    Raises InvalidRequest for quantities that are malformed or too large.
    """
    return _total(pod, lambda _, asked: asked)


def held_requests(pod: Fields, infeasible: bool | None = None) -> Resources:
    """What a pod holds of the node it is bound to, as kube-scheduler counts pods that are resized in place.

    As `pod_requests`, where each container and sidecar counts for the larger of what its spec asks for, what its status
    says is allocated to it and what its status says it runs with; so does the pod with its pod-level requests. While a
    resize is infeasible the spec is only a wish: then the status counts for each resource it names. infeasible: whether
    it is; None reads that from the conditions. Raises InvalidRequest as `pod_requests` does.
    """
    if not pod.has("status"):
        return pod_requests(pod)
    if infeasible is None:
        infeasible = resize_is_infeasible(pod)
    told = {
        status.text("name", ""): _status_amounts(status, "")
        for field in ("status.initContainerStatuses", "status.containerStatuses")
        for status in pod.parts(field)
    }
    return _total(pod, lambda name, asked: _resized(asked, told.get(name, {}), infeasible), infeasible)


def resize_is_infeasible(pod: Fields) -> bool:
    """Whether the kubelet has said that it will never give a pod what its spec asks for now."""
    pending = [part for part in pod.parts("status.conditions") if part.text("type", "") == "PodResizePending"]
    if pending:
        return pending[0].text("reason", "") == "Infeasible"
    return pod.text("status.resize", "") == "Infeasible"  # before Kubernetes 1.33


def node_resources(node: Fields) -> Resources:
    """What a node offers: `status.allocatable`, else `status.capacity`, rounded down.

    Names that are no resource of a pod are left out. A list without `pods` takes the kubelet's default, 110.
    Raises InvalidRequest for malformed quantities.
    """
    field = "status.allocatable" if node.has("status.allocatable") else "status.capacity"
    amounts = _amounts(node, field, node=True)
    return Resources.of({PODS: DEFAULT_PODS} | {name: int(amount) for name, amount in amounts.items()})


def _total(pod: Fields, resized: _Resized, infeasible: bool = False) -> Resources:
    asked = _container_requests(pod, resized)
    level = _pod_level(pod, asked)
    if level:
        asked.update(_resized(level, _status_amounts(pod, "status."), infeasible))
    return _rounded(pod, "spec", _sum([asked, _amounts(pod, "spec.overhead")]))


def _resized(asked: Amounts, told: Amounts, infeasible: bool) -> Amounts:
    """What a spec and a status come to."""
    return {**asked, **told} if infeasible else _larger(asked, told)


def _status_amounts(status: Fields, prefix: str) -> Amounts:
    """The larger of what is allocated and what the container or pod runs with, where its status says so."""
    found = (_amounts(status, f"{prefix}{field}") for field in ("allocatedResources", "resources.requests"))
    return _larger(*found)


def _container_requests(pod: Fields, resized: _Resized) -> Amounts:
    together = _sum(resized(part.text("name", ""), _asked(part)) for part in pod.parts("spec.containers"))
    if not pod.has("spec.initContainers"):
        return together
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.parts("spec.initContainers"):
        asked, stays = _asked(container), container.text("restartPolicy", "") == "Always"
        step = _sum([sidecars, resized(container.text("name", ""), asked) if stays else asked])
        peak = _larger(peak, step)
        if stays:
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
