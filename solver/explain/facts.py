"""Numbers that reasons are made of: what has to be placed, and what the nodes have for it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from solver.compile.eligibility import exclusions
from solver.compile.shapes import Shape, TooManyShapes, shapes_of
from solver.compile.structure import Structure
from solver.domain.gang import Group, Role
from solver.domain.resources import GPU, PODS
from solver.domain.snapshot import Ints, Mask

Amounts = dict[str, int]


def new_pods(structure: Structure, group: Group, one: bool = False) -> list[tuple[Role, int]]:
    """Roles with the pods of them that have to be placed anew, as far as minimums alone tell; what runs is done.

    one: for one replica of the group instead of its fewest.
    """
    running = {member.pod for member in structure.gang.running}
    whole = replace(group, replicas=1, min_replicas=1) if one else group
    counts = [(role, count - sum(pod in running for pod in role.pods)) for role, count in _sure_pods(whole)]
    return [(role, count) for role, count in counts if count > 0]


def _sure_pods(group: Group, times: int = 1) -> Iterator[tuple[Role, int]]:
    """Pods that every allowed choice of children places."""
    times *= group.min_replicas
    everything = sum(role.replicas for role in group.roles) + len(group.groups)
    optional = 0 if group.min is None else max(0, everything - group.min)
    for role in group.roles:
        sure = role.min if group.min is None else max(role.min, role.replicas - optional)
        if sure:
            yield role, times * sure
    if not optional:
        for child in group.groups:
            yield from _sure_pods(child, times)


def new_roles(structure: Structure, group: Group) -> list[Role]:
    """Roles of which at least one pod has to be placed anew; else all roles with pods."""
    sure = [role for role, _ in new_pods(structure, group)]
    return sure or [role for inner in group.walk() for role in inner.roles if role.replicas]


def new_amounts(structure: Structure, group: Group, one: bool = False) -> Amounts:
    """What `new_pods` ask for together, devices first and pods last."""
    found: Amounts = {}
    for role, count in new_pods(structure, group, one):
        for resource, amount in (*role.requests, (PODS, 1)):
            found[resource] = found.get(resource, 0) + count * amount
    counts = structure.snapshot.accelerators.counts
    order = {name: 0 if counts(name) else 2 if name == PODS else 1 for name in found}
    return dict(sorted(found.items(), key=lambda item: (order[item[0]], item[0] != GPU, item[0])))


def running_nodes(structure: Structure, group: Group) -> list[int]:
    """Nodes on which members of the group already run."""
    pods = {pod for inner in group.walk() for role in inner.roles for pod in role.pods}
    index = structure.snapshot.node_idx
    return sorted({index[member.node] for member in structure.gang.running if member.pod in pods})


def smallest_shape(structure: Structure) -> Shape | None:
    """The shape with the fewest pods; None when there are too many to list."""
    try:
        shapes = shapes_of(structure.root, structure.budget) if structure.root else []
    except TooManyShapes:
        return None
    return min(shapes, key=lambda shape: shape.pods, default=None)


def eligible_nodes(structure: Structure, role: Role) -> Mask:
    """[nodes] where a new pod of the role may go, capacity aside."""
    levels = structure.levels[role.name]
    mask = np.ones(len(structure.snapshot.nodes), dtype=np.bool_)
    looked = exclusions(structure.snapshot, structure.tree, structure.gang, role, levels, structure.budget)
    for _, excluded in looked:
        mask &= ~excluded
    return mask


def free_amounts(structure: Structure, resource: str) -> Ints:
    """[nodes] what is free of a resource, 0 where none exists or it is overcommitted."""
    snapshot = structure.snapshot
    if resource not in snapshot.resources:
        return np.zeros(len(snapshot.nodes), dtype=np.int64)
    return np.maximum(snapshot.free[:, snapshot.resources.index(resource)], 0)


def places(structure: Structure, role: Role) -> Ints:
    """[nodes] pods of the role that each node could take if nothing else came."""
    rooms = [free_amounts(structure, resource) // amount for resource, amount in (*role.requests, (PODS, 1)) if amount]
    return np.where(eligible_nodes(structure, role), np.min(rooms, axis=0), 0)


def excluded_nodes(structure: Structure, roles: Sequence[Role]) -> list[tuple[str, int]]:
    """(cause, nodes) for nodes that none of the roles may use, most first; a node counts for each of its causes."""
    levels = structure.levels
    by_role = [
        dict(exclusions(structure.snapshot, structure.tree, structure.gang, role, levels[role.name], structure.budget))
        for role in roles
    ]
    if not by_role:
        return []
    causes = [cause for cause in by_role[0] if all(cause in other for other in by_role)]
    counts = [(cause, int(np.all([other[cause] for other in by_role], axis=0).sum())) for cause in causes]
    return sorted(((cause, count) for cause, count in counts if count), key=lambda item: (-item[1], item[0]))
