"""Why a gang cannot be placed: counting first, then the rule families without which it could be."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from solver.bound.solve import placeable
from solver.bound.tables import Budget, OutOfTime
from solver.compile.eligibility import exclusions, finest_levels
from solver.compile.layout import TreeTooLarge
from solver.compile.shapes import Shape, TooManyShapes, shapes_of
from solver.compile.structure import Structure, build_structure
from solver.domain.gang import Gang, Group, Pack, Role, Spread
from solver.domain.plan import Reason, ReasonCode
from solver.domain.replicas import fewest_pods
from solver.domain.resources import GPU, MILLI_GPU, PODS
from solver.domain.snapshot import Ints, Mask
from solver.rules import queue

Amounts = dict[str, int]


def reasons_for(structure: Structure, deadline: float) -> tuple[Reason, ...]:
    """Reasons of a gang that is proven impossible; at least one, each true by itself."""
    for look in (_pods_missing, _queue, _no_node_for_a_pod, _capacity, _too_few_places):
        found = tuple(look(structure))
        if found:
            return found
    return tuple(_families(structure, deadline)) or (_unexplained(structure),)


def _pods_missing(structure: Structure) -> Iterator[Reason]:
    """Groups whose pods can never meet their minimum, innermost cause only."""
    if fewest_pods(structure.gang.root) is not None and structure.root is not None:
        return
    for group in structure.gang.root.walk():
        for role in group.roles:
            if role.min > role.replicas:
                yield _reason(
                    ReasonCode.PODS_MISSING,
                    f"role {role.name} has {_count(role.replicas, 'pod')}, its minimum is {role.min}",
                    (role.name,),
                    needed=role.min,
                    present=role.replicas,
                )
        short = any(role.min > role.replicas for role in group.roles)
        if fewest_pods(group) is None and not short and group.min is not None:
            have = sum(role.replicas for role in group.roles)
            have += sum(fewest_pods(child) is not None for child in group.groups)
            if have < group.min:
                yield _reason(
                    ReasonCode.PODS_MISSING,
                    f"group {group.name} has {have} of the {group.min} children it needs",
                    (group.name,),
                    needed=group.min,
                    present=have,
                )


def _queue(structure: Structure) -> Iterator[Reason]:
    name = structure.gang.queue
    if queue.missing(structure):
        yield _reason(ReasonCode.QUEUE, f"queue {name} does not exist", (name,))
        return
    shape = _smallest(structure)
    if shape is None or structure.root is None:
        return
    for room in queue.rooms(structure):
        held = queue.held_by(structure.root, shape, room.resource)
        if held and held > room.left:
            yield _reason(
                ReasonCode.QUEUE,
                f"queue {room.queue} has {_amount(room.resource, max(0, room.left))} left of its limit of "
                f"{_amount(room.resource, room.limit)}; the gang needs {_amount(room.resource, held)}",
                (room.queue,),
                needed=held,
                left=max(0, room.left),
                limit=room.limit,
            )


def _no_node_for_a_pod(structure: Structure) -> Iterator[Reason]:
    """Roles of which not one pod fits anywhere."""
    for role in _needed_roles(structure.gang.root):
        mask = _mask(structure, role)
        excluded = _excluded(structure, [role])
        if not mask.any():
            nodes = len(structure.snapshot.nodes)
            text = f"no node may hold a pod of role {role.name}" if nodes else "the cluster has no nodes"
            yield _reason(ReasonCode.ELIGIBLE, _with(text, excluded), (role.name,), nodes=nodes, eligible=0)
            continue
        for resource, amount in (*role.requests, (PODS, 1)):
            free = _free(structure, resource)[mask]
            if int(free.max()) < amount:
                text = (
                    f"a pod of role {role.name} needs {_amount(resource, amount)}; the freest of "
                    f"{_count(int(mask.sum()), 'eligible node')} has {_amount(resource, int(free.max()))} free"
                )
                yield _reason(
                    ReasonCode.CAPACITY,
                    _with(text, excluded),
                    (role.name,),
                    needed=_whole(resource, amount),
                    largest=_whole(resource, int(free.max())),
                )


def _capacity(structure: Structure) -> Iterator[Reason]:
    """Resources of which all eligible nodes together have too little."""
    roles = _needed_roles(structure.gang.root)
    asked = _asked(structure.gang.root)
    mask = np.any([_mask(structure, role) for role in roles], axis=0) if roles else np.zeros(0, dtype=np.bool_)
    running = _running_amounts(structure)
    for resource, amount in asked.items():
        needed = amount - running.get(resource, 0)
        free = int(_free(structure, resource)[mask].sum())
        if needed > free:
            users = [role for role in roles if role.requests[resource] or resource == PODS]
            text = (
                f"the gang needs {_amount(resource, needed)}; "
                f"{_count(int(mask.sum()), 'eligible node')} with {_amount(resource, free)} free"
            )
            yield _reason(
                ReasonCode.CAPACITY,
                _with(text, _excluded(structure, users)),
                (structure.gang.name,),
                needed=_whole(resource, needed),
                free=_whole(resource, free),
            )


def _too_few_places(structure: Structure) -> Iterator[Reason]:
    """Roles of which not enough pods fit on the nodes even if nothing else of the gang were placed."""
    running = {member.pod for member in structure.gang.running}
    for role, count in _sure_pods(structure.gang.root):
        needed = count - sum(pod in running for pod in role.pods)
        places = _places(structure, role)
        if needed > int(places.sum()):
            text = (
                f"the gang needs {_count(needed, 'pod')} of role {role.name} ({_request(role)}); "
                f"the eligible nodes have room for {int(places.sum())}"
            )
            yield _reason(
                ReasonCode.CAPACITY,
                _with(text, _excluded(structure, [role])),
                (role.name,),
                needed=needed,
                places=int(places.sum()),
            )


def _places(structure: Structure, role: Role) -> Ints:
    """[nodes] pods of the role that each node could take if nothing else came."""
    rooms = [_free(structure, resource) // amount for resource, amount in (*role.requests, (PODS, 1)) if amount]
    return np.where(_mask(structure, role), np.min(rooms, axis=0), 0)


def _sure_pods(group: Group, times: int = 1) -> Iterator[tuple[Role, int]]:
    """Roles with the pods of them that have to be placed, as far as minimums alone tell."""
    times *= group.min_replicas
    for role in group.roles:
        if role.min:
            yield role, times * role.min
    if group.min is None:
        for child in group.groups:
            yield from _sure_pods(child, times)


def _families(structure: Structure, deadline: float) -> Iterator[Reason]:
    """Rule families that alone make the difference; when none does, every family that takes part."""
    gang = structure.gang
    without = {
        ReasonCode.REACH: replace(gang, reach=()) if gang.reach else None,
        ReasonCode.SPREAD: _dropped(gang, spread=True),
        ReasonCode.PACK: _dropped(gang, pack=True),
    }
    present = {code: other for code, other in without.items() if other is not None}
    if not present:
        yield _fragmented(structure)
        return
    try:
        alone = [code for code, other in present.items() if _fits(structure, other, deadline)]
        together = alone or _fits(structure, _bare(gang), deadline)
    except (TreeTooLarge, TooManyShapes, OutOfTime):
        alone, together = [], True
    if not together:
        yield _fragmented(structure)
        return
    for code in alone or present:
        yield from _of_family(structure, code)


def _dropped(gang: Gang, pack: bool = False, spread: bool = False) -> Gang | None:
    root = _stripped(gang.root, pack, spread)
    return None if root == gang.root else replace(gang, root=root)


def _bare(gang: Gang) -> Gang:
    return replace(gang, root=_stripped(gang.root, pack=True, spread=True), reach=())


def _stripped(group: Group, pack: bool, spread: bool) -> Group:
    """The group without required levels or spreads; preferred levels go with the required ones."""
    roles = tuple(replace(role, spread=()) for role in group.roles) if spread else group.roles
    return replace(
        group,
        roles=roles,
        groups=tuple(_stripped(child, pack, spread) for child in group.groups),
        pack=Pack() if pack and group.pack.required else group.pack,
        spread=() if spread or (pack and group.pack.required) else group.spread,
    )


def _fits(structure: Structure, gang: Gang, deadline: float) -> bool:
    other = build_structure(gang, structure.snapshot, structure.tree)
    if other.root is None:
        return False
    rooms = queue.rooms(other)
    shapes = [shape for shape in shapes_of(other.root) if queue.allows(rooms, other.root, shape)]
    return any(placeable(other, shapes, Budget(deadline))) if shapes else False


def _of_family(structure: Structure, code: ReasonCode) -> Iterator[Reason]:
    gang = structure.gang
    if code is ReasonCode.PACK:
        packed = [group for group in gang.root.walk() if group.pack.required]
        found = [reason for group in packed if (reason := _pack_reason(structure, group))]
        yield from found or [_pack_together(structure, packed)]
    elif code is ReasonCode.SPREAD:
        for owner, spread in _spreads(gang.root):
            level = structure.tree.level_names[structure.tree.level(spread.level)]
            text = f"{owner} may have at most {spread.max} in one {level}; the {level}s with room do not suffice"
            yield _reason(ReasonCode.SPREAD, text, (owner,), max=spread.max)
    else:
        for reach in gang.reach:
            sides = f"{'+'.join(reach.senders)} → {'+'.join(reach.receivers)}"
            text = f"no placement gives every {reach.level} with one side of {sides} enough of the other"
            yield _reason(ReasonCode.REACH, text, (*reach.senders, *reach.receivers))


def _spreads(root: Group) -> Iterator[tuple[str, Spread]]:
    for group in root.walk():
        for spread in group.spread:
            yield f"group {group.name}", spread
        for role in group.roles:
            for spread in role.spread:
                yield f"role {role.name}", spread


def _pack_reason(structure: Structure, group: Group) -> Reason | None:
    """Shortage of one replica of a group in the best domain of its level; None when one replica fits by amounts."""
    tree = structure.tree
    level = tree.level(group.pack.required or "")
    roles = _needed_roles(group)
    mask = np.any([_mask(structure, role) for role in roles], axis=0)
    for resource, amount in _asked(group, one=True).items():
        free = np.where(mask, _free(structure, resource), 0)
        sums = np.bincount(tree.domain_of[level], weights=free, minlength=1)
        best = int(sums.max(initial=0))
        if best < amount:
            name = tree.level_names[level]
            text = f"{_what(group, structure)} needs {_amount(resource, amount)} in one {name}; "
            text += f"the fullest has {_amount(resource, best, short=True)} free"
            return _reason(
                ReasonCode.PACK,
                _with(text, _excluded(structure, roles)),
                (group.name,),
                needed=_whole(resource, amount),
                largest=_whole(resource, best),
            )
    return None


def _pack_together(structure: Structure, packed: Sequence[Group]) -> Reason:
    names = [f"{group.name} in one {group.pack.required}" for group in packed]
    roles = [role for group in packed for role in _needed_roles(group)]
    text = f"the free capacity lies so that not all of these fit at once: {', '.join(names)}"
    return _reason(ReasonCode.PACK, _with(text, _excluded(structure, roles)), tuple(group.name for group in packed))


def _what(group: Group, structure: Structure) -> str:
    return "the gang" if group is structure.gang.root else f"a replica of group {group.name}"


def _fragmented(structure: Structure) -> Reason:
    """Every role would fit by itself, but the pods of all roles do not fit on the nodes together."""
    roles = _needed_roles(structure.gang.root)
    largest = max(roles, key=lambda role: (role.requests[GPU], role.requests.items))
    places = int(_places(structure, largest).sum())
    text = (
        f"the free capacity is too fragmented: the eligible nodes have room for {_count(places, 'pod')} of role "
        f"{largest.name} ({_request(largest)}), but not for all pods of the gang together"
    )
    return _reason(ReasonCode.CAPACITY, _with(text, _excluded(structure, roles)), (largest.name,), places=places)


def _request(role: Role) -> str:
    return (
        ", ".join(_amount(resource, amount) for resource, amount in sorted(role.requests, key=_gpus_first)) or "1 pod"
    )


def _gpus_first(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != GPU, item[0]


def _unexplained(structure: Structure) -> Reason:
    return _reason(
        ReasonCode.GANG,
        f"not every minimum of gang {structure.gang.name} can be placed at the same time",
        (structure.gang.name,),
    )


def _needed_roles(group: Group) -> list[Role]:
    """Roles of which at least one pod has to be placed, as far as minimums alone tell; else all roles."""
    sure = [role for role, _ in _sure_pods(group)]
    return sure or [role for inner in group.walk() for role in inner.roles if role.replicas]


def _asked(group: Group, one: bool = False) -> Amounts:
    """Amounts of everything that has to be placed for sure, of one replica or of the fewest."""
    whole = replace(group, replicas=1, min_replicas=1) if one else group
    found: Amounts = {}
    for role, count in _sure_pods(whole):
        for resource, amount in (*role.requests, (PODS, 1)):
            found[resource] = found.get(resource, 0) + count * amount
    order = {GPU: 0, PODS: 2}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 1), item[0])))


def _running_amounts(structure: Structure) -> Amounts:
    running = {member.pod for member in structure.gang.running}
    found: Amounts = {}
    for role in structure.gang.roles:
        count = sum(pod in running for pod in role.pods)
        for resource, amount in (*role.requests, (PODS, 1)):
            found[resource] = found.get(resource, 0) + count * amount
    return found


def _smallest(structure: Structure) -> Shape | None:
    try:
        shapes = shapes_of(structure.root) if structure.root else []
    except TooManyShapes:
        return None
    return min(shapes, key=lambda shape: shape.pods, default=None)


def _mask(structure: Structure, role: Role) -> Mask:
    level = finest_levels(structure.gang, structure.tree)[role.name]
    mask = np.ones(len(structure.snapshot.nodes), dtype=np.bool_)
    for _, excluded in exclusions(structure.snapshot, structure.tree, structure.gang, role, level):
        mask &= ~excluded
    return mask


def _free(structure: Structure, resource: str) -> Ints:
    snapshot = structure.snapshot
    if resource not in snapshot.resources:
        return np.zeros(len(snapshot.nodes), dtype=np.int64)
    return np.maximum(snapshot.free[:, snapshot.resources.index(resource)], 0)


def _excluded(structure: Structure, roles: Sequence[Role]) -> list[tuple[str, int]]:
    """(cause, nodes) for nodes that none of the roles may use, most first; a node counts for each of its causes."""
    levels = finest_levels(structure.gang, structure.tree)
    by_role = [
        dict(exclusions(structure.snapshot, structure.tree, structure.gang, role, levels[role.name])) for role in roles
    ]
    if not by_role:
        return []
    causes = [cause for cause in by_role[0] if all(cause in other for other in by_role)]
    counts = [(cause, int(np.all([other[cause] for other in by_role], axis=0).sum())) for cause in causes]
    return sorted(((cause, count) for cause, count in counts if count), key=lambda item: (-item[1], item[0]))


def _with(text: str, excluded: Sequence[tuple[str, int]]) -> str:
    return "; ".join([text, *(f"{_count(count, 'node')} excluded by {cause}" for cause, count in excluded)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _amount(resource: str, amount: int, short: bool = False) -> str:
    """An amount in the unit people use; short leaves the resource's name out."""
    if resource == GPU:
        return f"{amount / MILLI_GPU:g}" if short else _count_float(amount / MILLI_GPU, "GPU")
    if resource == "cpu":
        return f"{amount / 1000:g} CPUs"
    if resource in ("memory", "ephemeral-storage"):
        return f"{amount / 2**30:.4g} GiB" + ("" if short else f" {resource}")
    return f"{amount}" if short else f"{amount} {resource}"


def _count_float(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def _whole(resource: str, amount: int) -> int:
    """GPUs as whole devices, everything else in its own unit."""
    return amount // MILLI_GPU if resource == GPU else amount


def _reason(code: ReasonCode, message: str, objects: Sequence[str] = (), **numbers: int) -> Reason:
    return Reason(code, message, tuple(objects), numbers)
