"""What the gangs of a batch share, by counting: how many of them there can be room for at most."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solver.domain.accelerators import Accelerators
from solver.domain.constraints import Toleration
from solver.domain.gang import Gang, Role
from solver.domain.replicas import least
from solver.domain.resources import PODS
from solver.domain.snapshot import Mask, Snapshot, exact_sum
from solver.rules import queue

#: By gang: the least an admitted one takes.
Needs = tuple[int, ...]
#: So much of a resource in one piece.
Piece = tuple[str, int]


@dataclass(frozen=True)
class Supply:
    """One thing the gangs share. capacity: how much there is. needs: of it, by gang."""

    capacity: int
    needs: Needs


def supplies(snapshot: Snapshot, gangs: Sequence[Gang]) -> list[Supply]:
    """Each resource of the nodes open to any gang, devices in pieces as large as a pod asks for, and room of queues."""
    nodes = open_to_any(snapshot, gangs)
    found = [Supply(_pieces(snapshot, nodes, name, 1), _needs(gangs, name, 1)) for name in snapshot.resources]
    pieces = device_needs(gangs, snapshot.accelerators)
    found += [Supply(_pieces(snapshot, nodes, *piece), needs) for piece, needs in pieces.items()]
    return found + _of_queues(snapshot, gangs)


def open_to_any(snapshot: Snapshot, gangs: Sequence[Gang]) -> Mask:
    """Nodes that are open to at least one of some gangs."""
    return snapshot.open_to(frozenset[tuple[Toleration, ...]]().union(*(gang.tolerations for gang in gangs)))


def device_needs(gangs: Sequence[Gang], accelerators: Accelerators) -> Mapping[Piece, Needs]:
    """By resource that counts devices and amount of it that some pod asks for: the fewest such pieces a gang takes.

    The free devices of a node make so many whole pieces, and a pod takes as many as fit into what it asks for. Members
    that run hold what is theirs already: their gang is taken to need nothing more.
    """
    asked = {item for gang in gangs for role in gang.roles for item in role.requests}
    pieces = sorted(item for item in asked if item[1] and accelerators.counts(item[0]))
    return {(name, size): _needs(gangs, name, size) for name, size in pieces}


def most_by_class(shared: Sequence[Supply], classes: Sequence[Collection[int]], admitted: Sequence[int]) -> list[int]:
    """For each class of gangs, first things first, how many of it can be admitted at most.

    admitted: how many are. As long as those are the most there can be, what they take at least is gone for the
    classes after them.
    """
    left = [supply.capacity for supply in shared]
    most: list[int] = []
    closed = True
    for members, count in zip(classes, admitted, strict=True):
        needs = [sorted(supply.needs[at] for at in members) for supply in shared]
        most.append(min(_fitting(need, room) for need, room in zip(needs, left, strict=True)))
        closed = closed and count == most[-1]
        if closed:
            left = [room - sum(need[:count]) for need, room in zip(needs, left, strict=True)]
    return most


def _fitting(needs: Sequence[int], room: int) -> int:
    """How many of the needs fit together, given smallest first; one that needs nothing always does."""
    total = 0
    for count, need in enumerate(needs):
        total += need
        if need and total > room:
            return count
    return len(needs)


def _pieces(snapshot: Snapshot, nodes: Mask, resource: str, size: int) -> int:
    if resource not in snapshot.resources:
        return 0
    column = np.maximum(snapshot.free[:, snapshot.resources.index(resource)], 0)
    return exact_sum(column[nodes] // size)


def _needs(gangs: Sequence[Gang], resource: str, size: int) -> Needs:
    def weight(role: Role) -> int:
        return 1 if resource == PODS else role.requests[resource] // size

    return tuple(0 if gang.running else least(gang.root, weight) or 0 for gang in gangs)


def _of_queues(snapshot: Snapshot, gangs: Sequence[Gang]) -> list[Supply]:
    """Room of every queue on each resource it limits, for all gangs in it and below it."""
    left: dict[tuple[str, str], int] = {}
    inside: dict[tuple[str, str], set[int]] = {}
    for at, gang in enumerate(gangs):
        for room in () if gang.running else queue.rooms(gang, snapshot):
            left[room.queue, room.resource] = room.left
            inside.setdefault((room.queue, room.resource), set()).add(at)
    return [
        Supply(
            capacity,
            tuple(need if at in inside[name, resource] else 0 for at, need in enumerate(_needs(gangs, resource, 1))),
        )
        for (name, resource), capacity in left.items()
    ]
