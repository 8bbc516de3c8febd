"""Rule `queue`: the gang may use its queue, and fits the limits of it and of every queue above it."""

from collections.abc import Callable
from dataclasses import dataclass

from solver.compile.shapes import Axis, Shape, axes_of
from solver.compile.structure import Structure, Unit
from solver.domain.gang import Gang
from solver.domain.resources import Resources
from solver.domain.snapshot import QueueSpec, Snapshot

#: Namespaces that a message names.
_MOST_NAMES = 5


@dataclass(frozen=True)
class QueueRoom:
    """What is left of one queue's limit on one resource."""

    queue: str
    resource: str
    limit: int
    used: int

    @property
    def left(self) -> int:
        """Amount the gang may still hold."""
        return self.limit - self.used


def rooms(gang: Gang, snapshot: Snapshot) -> tuple[QueueRoom, ...]:
    """Room in the gang's queue and its ancestors; none when the input has no queues or the gang is in none."""
    queues, own = snapshot.queues, queue_of(gang, snapshot)
    if own not in queues:
        return ()
    line, default = _lineage(queues[own], dict(queues)), snapshot.default_queues
    found = []
    for queue in line:
        below = {name for name, other in queues.items() if queue.name in _names(other, dict(queues))}
        used = Resources.total(
            pod.requests
            for pod in snapshot.pods
            if (pod.queue or (default.get(pod.namespace, "") if default else "")) in below
            and pod.nominated_priority is None
            and not gang.runs(pod.name, pod.node)
        )
        found += [QueueRoom(queue.name, name, limit, used[name]) for name, limit in sorted(queue.limits.items())]
    return tuple(found)


def queue_of(gang: Gang, snapshot: Snapshot) -> str:
    """The queue a gang names, else the one its namespace has by default; empty for none."""
    return gang.queue or snapshot.default_queues.get(gang.namespace, "")


def refusal(gang: Gang, snapshot: Snapshot) -> str:
    """Why the gang cannot be in its queue: it does not exist while others do, or is for other namespaces."""
    own, queues = queue_of(gang, snapshot), snapshot.queues
    if not own or not queues:
        return ""
    if own not in queues:
        return f"queue {own} does not exist"
    if queues[own].is_open_to(gang.namespace):
        return ""
    names = sorted({*queues[own].namespaces, *queues[own].default_for})
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    told = ", ".join(names[:_MOST_NAMES]) + more
    return f"queue {own} is for namespace{'s' * (len(names) > 1)} {told}, not for {gang.namespace}"


def allowing(structure: Structure) -> Callable[[Shape], bool]:
    """Whether what a shape holds fits the room of every queue; a resource it does not hold cannot exceed anything."""
    found = rooms(structure.gang, structure.snapshot)
    axes = axes_of(structure.root) if found and structure.root else ()
    limits = [(room.left, [held_by_axis(axis, room.resource) for axis in axes]) for room in found]

    def allows(shape: Shape) -> bool:
        for left, each in limits:
            held = sum(count * one for count, one in zip(shape.counts, each, strict=True) if count)
            if held and held > left:
                return False
        return True

    return allows


def held_by(root: Unit, shape: Shape, resource: str) -> int:
    """Amount of a resource that the pods of a shape hold."""
    return sum(count * held_by_axis(axis, resource) for axis, count in zip(axes_of(root), shape.counts, strict=True))


def held_by_axis(axis: Axis, resource: str) -> int:
    """Amount of a resource that one step of an axis holds."""
    return _of_unit(axis.item, resource) if isinstance(axis.item, Unit) else axis.item.requests[resource]


def _of_unit(unit: Unit, resource: str) -> int:
    own = sum(role.requests[resource] * role.high for role in unit.roles)
    return own + sum(entry.high * _of_unit(entry.units[0], resource) for entry in unit.entries)


def _names(queue: QueueSpec, queues: dict[str, QueueSpec]) -> set[str]:
    return {each.name for each in _lineage(queue, queues)}


def _lineage(queue: QueueSpec, queues: dict[str, QueueSpec]) -> list[QueueSpec]:
    line = [queue]
    while line[-1].parent in queues and queues[line[-1].parent] not in line:
        line.append(queues[line[-1].parent])
    return line
