"""Reasons by elimination: the rule families without which the gang could be placed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from solver.bound.screen import placeable
from solver.compile.shapes import shapes_of
from solver.compile.structure import Structure, build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import TooLarge
from solver.domain.gang import Gang, Group, Pack, Reach, Role, Spread
from solver.domain.plan import Reason, ReasonCode
from solver.domain.resources import GPU
from solver.explain.facts import (
    eligible_nodes,
    excluded_nodes,
    free_amounts,
    new_amounts,
    new_pods,
    new_roles,
    places,
    running_nodes,
)
from solver.explain.links import any_placeable, link_reason, without_links
from solver.explain.wording import amount_text, counted, in_devices, reason, request_text, with_exclusions
from solver.rules import queue

#: Groups of which a reason says what each needs, at most.
_MOST_GROUPS = 8


def rule_families(structure: Structure, budget: Budget) -> Iterator[Reason]:
    """Rule families that alone make the difference; when none does, every family that takes part."""
    gang = structure.gang
    without = {
        ReasonCode.BANDWIDTH: without_links(structure),
        ReasonCode.REACH: replace(gang, reach=()) if gang.reach else None,
        ReasonCode.SPREAD: _dropped(gang, spread=True),
        ReasonCode.PACK: _dropped(gang, pack=True),
    }
    present = {code: other for code, other in without.items() if other is not None}
    if not present:
        yield _fragmented(structure)
        return
    try:
        alone = [code for code, other in present.items() if _fits(structure, other, budget)]
        together = alone or _fits(structure, _bare(gang), budget)
    except (TooLarge, OutOfTime):
        alone, together = [], True
    if not together:
        yield _fragmented(structure)
        return
    if ReasonCode.SPREAD in alone and any(group.spread for group in gang.root.walk()):
        alone = [code for code in alone if code is not ReasonCode.PACK]  # a group's spread goes with its pack level
    for code in alone or present:
        yield from link_reason(structure, budget) if code is ReasonCode.BANDWIDTH else _of_family(structure, code)


def _dropped(gang: Gang, pack: bool = False, spread: bool = False) -> Gang | None:
    root = _stripped(gang.root, pack, spread)
    return None if root == gang.root else replace(gang, root=root)


def _bare(gang: Gang) -> Gang:
    return replace(gang, root=_stripped(gang.root, pack=True, spread=True), reach=(), requests_per_second=None)


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


def _fits(structure: Structure, gang: Gang, budget: Budget) -> bool:
    other = build_structure(gang, structure.snapshot, structure.tree, budget=budget)
    if other.root is None:
        return False
    shapes = list(filter(queue.allowing(other), shapes_of(other.root, budget)))
    if not shapes:
        return False
    fits = placeable(other, shapes, budget)
    if without_links(other) is None or not other.root.flexible:
        return any(fits)
    return any_placeable(other, [shape for shape, fit in zip(shapes, fits, strict=True) if fit], budget)


def _of_family(structure: Structure, code: ReasonCode) -> Iterator[Reason]:
    gang = structure.gang
    if code is ReasonCode.PACK:
        packed = [group for group in gang.root.walk() if group.pack.required]
        found = [each for group in packed if (each := _pack_reason(structure, group))]
        yield from found or [_pack_together(structure, packed)]
    elif code is ReasonCode.SPREAD:
        for owner, spread in _spreads(gang.root):
            yield _spread_reason(structure, owner, spread)
    else:
        for reach in gang.reach:
            yield _reach_reason(structure, reach)


def _spread_reason(structure: Structure, owner: Role | Group, spread: Spread) -> Reason:
    """How many may be in one domain, and how many domains have room for a pod."""
    roles = new_roles(structure, owner) if isinstance(owner, Group) else [owner]
    number, name = _domains_with_room(structure, roles, spread.level)
    who = f"{'group' if isinstance(owner, Group) else 'role'} {owner.name}"
    have = "has" if number == 1 else "have"
    text = (
        f"{who} may have at most {spread.max} in one {name}; {counted(number, name)} {have} room, which is not enough"
    )
    return reason(ReasonCode.SPREAD, text, (who,), max=spread.max, domains=number)


def _reach_reason(structure: Structure, reach: Reach) -> Reason:
    """How many domains have room for one side, and for the other."""
    numbers, name = [], ""
    for side in (reach.senders, reach.receivers):
        roles = [role for role in structure.gang.roles if role.name in side]
        number, name = _domains_with_room(structure, roles, reach.level)
        numbers.append(number)
    sides = f"{'+'.join(reach.senders)} → {'+'.join(reach.receivers)}"
    text = (
        f"no placement gives every {name} with one side of {sides} enough of the other; {counted(numbers[0], name)} "
        f"could take senders and {numbers[1]} receivers"
    )
    objects = (*reach.senders, *reach.receivers)
    return reason(ReasonCode.REACH, text, objects, senders=numbers[0], receivers=numbers[1])


def _domains_with_room(structure: Structure, roles: Sequence[Role], word: str) -> tuple[int, str]:
    """How many domains of a level have a node with room for a pod of one of the roles, and how the level is called."""
    tree = structure.tree
    level = tree.level(word)
    has_room = np.any([places(structure, role) > 0 for role in roles], axis=0)
    domains = np.unique(tree.domain_of[level][has_room])
    return int(tree.real[level][domains].sum()), tree.level_names[level]


def _spreads(root: Group) -> Iterator[tuple[Role | Group, Spread]]:
    for group in root.walk():
        for spread in group.spread:
            yield group, spread
        for role in group.roles:
            for spread in role.spread:
                yield role, spread


def _pack_reason(structure: Structure, group: Group) -> Reason | None:
    """Shortage of one replica of a group in the best domain of its level; None when one replica fits by amounts."""
    tree = structure.tree
    level = tree.level(group.pack.required or "")
    roles = new_roles(structure, group)
    mask = np.any([eligible_nodes(structure, role) for role in roles], axis=0)
    homes = {int(tree.domain_of[level][node]) for node in running_nodes(structure, group)}
    name, who = tree.level_names[level], _what(group, structure)
    if len(homes) > 1:
        text = f"{who} has to lie in one {name}, but its running pods are in {len(homes)}"
        return reason(ReasonCode.PACK, text, (group.name,), domains=len(homes))
    for resource, needed in new_amounts(structure, group, one=True).items():
        free = np.where(mask, free_amounts(structure, resource), 0)
        sums = np.bincount(tree.domain_of[level], weights=free, minlength=1)
        best = int(sums[list(homes)].max() if homes else sums.max(initial=0))
        if best < needed:
            asked, left = amount_text(resource, needed), amount_text(resource, best, short=True)
            text = f"{who} needs {asked} in one {name}; the fullest has {left} free"
            if homes:
                text = f"{who} needs {asked} more in the {name} it runs in, which has {left} free"
            return reason(
                ReasonCode.PACK,
                with_exclusions(text, excluded_nodes(structure, roles)),
                (group.name,),
                needed=in_devices(resource, needed),
                largest=in_devices(resource, best),
            )
    return _too_few_in_one(structure, group, sorted(homes))


def _too_few_in_one(structure: Structure, group: Group, homes: Sequence[int]) -> Reason | None:
    """The role of which one replica of a group has more pods than any domain has room for, however large its sum."""
    tree = structure.tree
    level = tree.level(group.pack.required or "")
    name, who = tree.level_names[level], _what(group, structure)
    for role, needed in new_pods(structure, group, one=True):
        room = np.bincount(tree.domain_of[level], weights=places(structure, role), minlength=1)
        best = int(room[homes].max() if homes else room.max(initial=0))
        if best < needed:
            asked = f"{counted(needed, 'pod')} of role {role.name} ({request_text(role)})"
            text = f"{who} needs {asked} in one {name}; the fullest has room for {best}"
            if homes:
                text = f"{who} needs {asked} more in the {name} it runs in, which has room for {best}"
            text = with_exclusions(text, excluded_nodes(structure, [role]))
            return reason(ReasonCode.PACK, text, (group.name,), needed=needed, places=best)
    return None


def _pack_together(structure: Structure, packed: Sequence[Group]) -> Reason:
    """What each of the first few needs in one domain, and what the fullest one has."""
    tree, shown = structure.tree, []
    for group in packed[:_MOST_GROUPS]:
        level = tree.level(group.pack.required or "")
        text = f"{group.name} in one {tree.level_names[level]}"
        needed = next(iter(new_amounts(structure, group, one=True).items()), None)
        if needed is not None:
            resource, amount = needed
            sums = np.bincount(tree.domain_of[level], weights=free_amounts(structure, resource), minlength=1)
            times = f"{group.min_replicas} times " if group.min_replicas > 1 else ""
            left = amount_text(resource, int(sums.max(initial=0)), short=True)
            text += f" ({times}{amount_text(resource, amount)}, the fullest has {left} free)"
        shown.append(text)
    more = len(packed) - len(shown)
    shown += [f"and {more} more"] if more else []
    roles = [role for group in packed for role in new_roles(structure, group)]
    text = f"the free capacity lies so that not all of these fit at once: {', '.join(shown)}"
    text = with_exclusions(text, excluded_nodes(structure, roles))
    return reason(ReasonCode.PACK, text, tuple(group.name for group in packed), groups=len(packed))


def _what(group: Group, structure: Structure) -> str:
    return "the gang" if group is structure.gang.root else f"a replica of group {group.name}"


def _fragmented(structure: Structure) -> Reason:
    """Every role would fit by itself, but the pods of all roles do not fit on the nodes together."""
    roles = new_roles(structure, structure.gang.root)
    devices = structure.snapshot.accelerators.devices
    largest = max(roles, key=lambda role: (devices(role.requests), role.requests[GPU], role.requests.items))
    room = int(places(structure, largest).sum())
    text = (
        f"the free capacity is too fragmented: the eligible nodes have room for {counted(room, 'pod')} of role "
        f"{largest.name} ({request_text(largest)}), but not for all pods of the gang together"
    )
    text = with_exclusions(text, excluded_nodes(structure, roles))
    return reason(ReasonCode.CAPACITY, text, (largest.name,), places=room)
