"""Reasons that counting alone finds; each is a proof by itself."""

from collections.abc import Iterator

import numpy as np

from solver.compile.structure import Structure
from solver.domain.gang import Group
from solver.domain.plan import Reason, ReasonCode
from solver.domain.replicas import fewest_pods
from solver.domain.resources import PODS
from solver.domain.snapshot import exact_sum
from solver.explain.facts import (
    eligible_nodes,
    excluded_nodes,
    free_amounts,
    new_amounts,
    new_pods,
    new_roles,
    places,
    smallest_shape,
)
from solver.explain.wording import amount_text, counted, in_devices, reason, request_text, with_exclusions
from solver.rules import queue


def pods_missing(structure: Structure) -> Iterator[Reason]:
    """Groups whose pods can never meet their minimum, innermost cause only."""
    if fewest_pods(structure.gang.root) is not None and structure.root is not None:
        return
    for group in structure.gang.root.walk():
        for role in group.roles:
            if role.min > role.replicas:
                yield reason(
                    ReasonCode.PODS_MISSING,
                    f"role {role.name} has {counted(role.replicas, 'pod')}, its minimum is {role.min}",
                    (role.name,),
                    needed=role.min,
                    present=role.replicas,
                )
        short = any(role.min > role.replicas for role in group.roles)
        if fewest_pods(group) is None and not short and group.min is not None:
            have = sum(role.replicas for role in group.roles)
            have += sum(fewest_pods(child) is not None for child in group.groups)
            if have < group.min:
                yield reason(
                    ReasonCode.PODS_MISSING,
                    f"group {group.name} has {have} of the {group.min} children it needs",
                    (group.name,),
                    needed=group.min,
                    present=have,
                )


def queue_full(structure: Structure) -> Iterator[Reason]:
    """The gang cannot be in its queue, or that or one above it has too little left even for the fewest pods."""
    refusal = queue.refusal(structure.gang, structure.snapshot)
    if refusal:
        yield reason(ReasonCode.QUEUE, refusal, (queue.queue_of(structure.gang, structure.snapshot),))
        return
    shape = smallest_shape(structure)
    if shape is None or structure.root is None:
        return
    for room in queue.rooms(structure.gang, structure.snapshot):
        held = queue.held_by(structure.root, shape, room.resource)
        left = max(0, room.left)
        if held and held > room.left:
            yield reason(
                ReasonCode.QUEUE,
                f"queue {room.queue} has {amount_text(room.resource, left)} left of its limit of "
                f"{amount_text(room.resource, room.limit)}; the gang needs {amount_text(room.resource, held)}",
                (room.queue,),
                needed=in_devices(room.resource, held),
                left=in_devices(room.resource, left),
                limit=in_devices(room.resource, room.limit),
            )


def runs_outside(structure: Structure) -> Iterator[Reason]:
    """Groups of which a member runs on a node without the level that is required of the group."""
    tree, members = structure.tree, structure.gang.running
    for group in structure.gang.root.walk() if members else ():
        if not group.pack.required:
            continue
        level, pods = tree.level(group.pack.required), _pods_in(group)
        inside = [member for member in members if member.pod in pods]
        nodes = np.array([structure.snapshot.node_idx[member.node] for member in inside], dtype=np.int64)
        lost = [inside[at] for at in np.flatnonzero(~tree.real[level][tree.domain_of[level][nodes]])]
        if lost:
            name, first = tree.level_names[level], lost[0]
            who = "the gang" if group is structure.gang.root else f"group {group.name}"
            text = (
                f"{who} has to lie in one {name}, but {counted(len(lost), 'pod')} of it "
                f"{'runs' if len(lost) == 1 else 'run'} on a node without label {tree.spec.levels[level - 1].label}: "
                f"{first.pod} on {first.node}"
            )
            yield reason(ReasonCode.PACK, text, (group.name, first.pod, first.node), pods=len(lost))


def _pods_in(group: Group) -> frozenset[str]:
    return frozenset(pod for inner in group.walk() for role in inner.roles for pod in role.pods)


def no_node_for_a_pod(structure: Structure) -> Iterator[Reason]:
    """Roles of which not one new pod fits anywhere."""
    for role, _ in new_pods(structure, structure.gang.root):
        mask = eligible_nodes(structure, role)
        excluded = excluded_nodes(structure, [role])
        if not mask.any():
            nodes = len(structure.snapshot.nodes)
            text = f"no node may hold a pod of role {role.name}" if nodes else "the cluster has no nodes"
            yield reason(ReasonCode.ELIGIBLE, with_exclusions(text, excluded), (role.name,), nodes=nodes, eligible=0)
            continue
        for resource, amount in (*role.requests, (PODS, 1)):
            largest = int(free_amounts(structure, resource)[mask].max())
            if largest < amount:
                text = (
                    f"a pod of role {role.name} needs {amount_text(resource, amount)}; the freest of "
                    f"{counted(int(mask.sum()), 'eligible node')} has {amount_text(resource, largest)} free"
                )
                yield reason(
                    ReasonCode.CAPACITY,
                    with_exclusions(text, excluded),
                    (role.name,),
                    needed=in_devices(resource, amount),
                    largest=in_devices(resource, largest),
                )


def too_little_in_all(structure: Structure) -> Iterator[Reason]:
    """Resources of which all eligible nodes together have too little."""
    root = structure.gang.root
    roles = new_roles(structure, root)
    mask = np.any([eligible_nodes(structure, role) for role in roles], axis=0)
    nodes = int(mask.sum())
    for resource, needed in new_amounts(structure, root).items():
        free = exact_sum(free_amounts(structure, resource)[mask])
        if needed > free:
            users = [role for role in roles if role.requests[resource] or resource == PODS]
            text = (
                f"the gang needs {amount_text(resource, needed)}; {counted(nodes, 'eligible node')} "
                f"{'has' if nodes == 1 else 'have'} {amount_text(resource, free)} free"
            )
            yield reason(
                ReasonCode.CAPACITY,
                with_exclusions(text, excluded_nodes(structure, users)),
                (structure.gang.name,),
                needed=in_devices(resource, needed),
                free=in_devices(resource, free),
            )


def too_few_places(structure: Structure) -> Iterator[Reason]:
    """Roles of which not enough pods fit on the nodes even if nothing else of the gang were placed."""
    for role, needed in new_pods(structure, structure.gang.root):
        room = int(places(structure, role).sum())
        if needed > room:
            text = (
                f"the gang needs {counted(needed, 'pod')} of role {role.name} ({request_text(role)}); "
                f"the eligible nodes have room for {room}"
            )
            yield reason(
                ReasonCode.CAPACITY,
                with_exclusions(text, excluded_nodes(structure, [role])),
                (role.name,),
                needed=needed,
                places=room,
            )
