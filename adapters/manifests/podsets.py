"""Kueue's topology rules and exclusive domains as pack rules: which roles lie together, and slices of a role.

A podset is what one template makes: here a role. Podsets that share a group name lie together. Slices become a group
that replicates, or, where a member runs, one group for each slice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.kubernetes.foreign_rules import (
    KUEUE_GROUP,
    KUEUE_PREFERRED,
    KUEUE_REQUIRED,
    KUEUE_SLICE_LEVEL,
    KUEUE_SLICE_SIZE,
)
from adapters.kubernetes.objects import Fields
from solver.domain.errors import InvalidRequest
from solver.domain.gang import MAX_PODS, Flow, Group, Pack, Role, Spread

_AT = "metadata.annotations"


@dataclass(frozen=True, slots=True)
class PodsetRule:
    """What Kueue's annotations of a template say. group: podsets of one name lie together, empty = it stands alone.

    slice_level, slice_size: each so many pods, in the order of their names, lie in one domain of the level; 0 = none.
    """

    pack: Pack = field(default_factory=Pack)
    group: str = ""
    slice_level: str = ""
    slice_size: int = 0

    def __bool__(self) -> bool:
        return self != NO_RULE

    @property
    def slices(self) -> Pack:
        """The pack rule of one slice."""
        return Pack(self.slice_level or None)

    @property
    def without_slices(self) -> "PodsetRule":
        """The rule but for its slices."""
        return replace(self, slice_level="", slice_size=0)

    def of_template(self, template: str) -> "PodsetRule":
        """The rule for all roles that one template makes: without a group's name they still lie together."""
        return replace(self, group=self.group or f"template {template}") if self.pack != Pack() else self


NO_RULE = PodsetRule()


@dataclass(frozen=True, slots=True)
class Family:
    """Roles whose pods follow one pack rule together. name: what messages and groups call them."""

    name: str
    roles: frozenset[str]
    pack: Pack


def podset_rule(template: Fields, slice_size: int = 0) -> PodsetRule:
    """The rule of a pod or template. slice_size: of slices that do not say it; 0 = they have to.

    Raises InvalidRequest for a slice without size or level, or with a wrong size.
    """
    found = template.texts(_AT)
    level, size = found.get(KUEUE_SLICE_LEVEL, ""), found.get(KUEUE_SLICE_SIZE, "")
    if level and not size and slice_size:
        size = str(slice_size)
    if level and not size:
        raise template.refuse(f"{_AT}[{KUEUE_SLICE_SIZE}]", f"is missing: {KUEUE_SLICE_LEVEL} needs it")
    if size and not level:
        raise template.refuse(f"{_AT}[{KUEUE_SLICE_LEVEL}]", f"is missing: {KUEUE_SLICE_SIZE} needs it")
    if size and not (size.isascii() and size.isdigit() and 1 <= int(size[:9]) <= MAX_PODS):
        raise template.refuse(f"{_AT}[{KUEUE_SLICE_SIZE}]", f"{size!r} is no number of pods (1 to {MAX_PODS})")
    pack = Pack(found.get(KUEUE_REQUIRED) or None, found.get(KUEUE_PREFERRED) or None)
    return PodsetRule(pack, found.get(KUEUE_GROUP, "") if pack != Pack() else "", level, int(size or 0))


def families_of(rules: Mapping[str, PodsetRule]) -> list[Family]:
    """Roles that Kueue packs together. Raises InvalidRequest when podsets of one group name differ in their rule."""
    found: dict[str, list[str]] = {}
    for role, rule in rules.items():
        if rule.pack != Pack():
            found.setdefault(f"group {rule.group}" if rule.group else f"podset {role}", []).append(role)
    families = []
    for name, roles in found.items():
        if len({rules[role].pack for role in roles}) > 1:
            raise InvalidRequest(f"{KUEUE_GROUP}: podsets of {name} differ in their topology")
        families.append(Family(name, frozenset(roles), rules[roles[0]].pack))
    return families


def arranged(root: Group, rules: Mapping[str, PodsetRule], others: Sequence[Family], running: Collection[str]) -> Group:
    """`root` with the rules of its podsets and of other families in its tree.

    rules: by role name. running: pods that run. Raises InvalidRequest where roles that lie together are in different
    groups, where a rule meets pods of which only some are needed, and for slices that do not divide their podset.
    """
    families = _merged([*families_of(rules), *others])
    if not families and not any(rule.slice_size for rule in rules.values()):
        return root
    return _arranged(root, rules, families, frozenset(running))


def in_slices(flows: Iterable[Flow], root: Group) -> tuple[Flow, ...]:
    """Flows between what their roles have become in `root`."""
    names = list(dict.fromkeys(role.name for group in root.walk() for role in group.roles))

    def become(roles: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for role in roles for name in names if name == role or name.startswith(f"{role}#"))

    return tuple(
        replace(
            flow,
            senders=become(flow.senders),
            receivers=become(flow.receivers),
            sender_name=flow.source,
            receiver_name=flow.target,
        )
        if any(role not in names for role in (*flow.senders, *flow.receivers))
        else flow
        for flow in flows
    )


def inside(group: Group, pack: Pack) -> Group:
    """The group packed like that too: by its own rule if it has none in the way, else by one around it."""
    own = group.pack
    fits = all(one is None or other is None or one == other for one, other in _pairs(own, pack))
    if fits:
        return replace(group, pack=Pack(own.required or pack.required, own.preferred or pack.preferred))
    level = pack.required or pack.preferred
    return Group(group.name, groups=(replace(group, name=f"{group.name} in {level}"),), pack=pack)


def _pairs(one: Pack, other: Pack) -> tuple[tuple[str | None, str | None], ...]:
    return (one.required, other.required), (one.preferred, other.preferred)


def _merged(families: Iterable[Family]) -> list[Family]:
    """Families of the same roles once for each rule, the largest first."""
    known = {(family.roles, family.pack): family for family in families}
    return sorted(known.values(), key=lambda family: -len(family.roles))


def _arranged(
    group: Group, rules: Mapping[str, PodsetRule], families: Sequence[Family], running: frozenset[str]
) -> Group:
    whole = [family for family in families if family.roles == _names(group)]
    rest = [family for family in families if family not in whole]
    of_children = [[family for family in rest if family.roles <= _names(child)] for child in group.groups]
    here = [family for family in rest if not any(family in found for found in of_children)]
    children = tuple(
        _arranged(child, rules, found, running) for child, found in zip(group.groups, of_children, strict=True)
    )
    changed = _parted(replace(group, groups=children), rules, here, running)
    for family in whole:
        changed = inside(changed, family.pack)
    return changed


def _names(group: Group) -> frozenset[str]:
    return frozenset(role.name for inner in group.walk() for role in inner.roles)


def _parted(
    group: Group, rules: Mapping[str, PodsetRule], families: Sequence[Family], running: frozenset[str]
) -> Group:
    """The group with those of its own roles in child groups that lie together or come in slices."""
    own = {role.name: role for role in group.roles}
    alone = [family for family in families if sum(own[name].replicas for name in family.roles if name in own) == 1]
    outer = _outermost([family for family in families if family not in alone], own)
    sliced = [name for name, role in own.items() if rules.get(name, NO_RULE).slice_size and role.min <= role.replicas]
    if outer or sliced:
        group = _all_needed(group)
        own = {role.name: role for role in group.roles}
    groups = [
        _arranged(_child(group, one), rules, [family for family in families if family.roles <= one.roles], running)
        for one in outer
    ]
    taken = {name for one in outer for name in one.roles}
    groups += [_slices(own[name], rules[name], group.multinode, running) for name in sliced if name not in taken]
    roles = [_apart(role, alone) for name, role in own.items() if name not in taken and name not in sliced]
    return replace(group, roles=tuple(roles), groups=(*group.groups, *groups))


def _child(group: Group, family: Family) -> Group:
    """A group of those roles of `group` that are a family."""
    roles = tuple(role for role in group.roles if role.name in family.roles)
    return Group(f"{group.name}: {family.name}", roles, multinode=group.multinode)


def _outermost(families: Sequence[Family], own: Collection[str]) -> list[Family]:
    """Families that lie in no other one. Raises InvalidRequest where two overlap or reach beyond these roles."""
    found: list[Family] = []
    for family in families:
        if not family.roles <= frozenset(own):
            raise InvalidRequest(f"{family.name}: pods of different groups that lie together are not supported")
        met = [other for other in found if other.roles & family.roles]
        if any(not family.roles <= other.roles for other in met):
            raise InvalidRequest(f"{family.name}: overlaps with other pods that lie together, which is not supported")
        if not met:
            found.append(family)
    return found


def _apart(role: Role, alone: Sequence[Family]) -> Role:
    """A role of one pod needs only a node that has the level: at most one of it in a domain says just that."""
    levels = [level for one in alone if role.name in one.roles for level in (one.pack.required, one.pack.preferred)]
    spread = (*role.spread, *(Spread(level, 1) for level in levels if level))
    return replace(role, spread=tuple(dict.fromkeys(spread)))


def _all_needed(group: Group) -> Group:
    """The group with every child needed. Raises InvalidRequest when only some are."""
    if group.min is None:
        return group
    children = sum(role.replicas for role in group.roles) + len(group.groups)
    if group.min < children:
        problem = f"only {group.min} of {children} pods are needed, so a rule for some of them is not supported"
        raise InvalidRequest(f"group {group.name}: {problem}")
    roles = tuple(replace(role, min=max(role.min, role.replicas)) for role in group.roles)
    if group.min > children:
        roles = (replace(roles[0], min=roles[0].min + group.min - children), *roles[1:])
    return replace(group, roles=roles, min=None)


def _slices(role: Role, rule: PodsetRule, multinode: bool, running: frozenset[str]) -> Group:
    """A role in slices of so many pods. Raises InvalidRequest where they do not divide it."""
    size, count = rule.slice_size, role.replicas
    if count % size or role.min % size or not role.min:
        raise InvalidRequest(f"role {role.name}: slices of {size} pods do not divide {role.min} to {count} pods")
    name = f"{role.name} slices"
    if not running.intersection(role.pods):
        one = replace(role, replicas=size, min=size)
        return Group(name, (one,), (), count // size, role.min // size, pack=rule.slices, multinode=multinode)
    groups = []
    for at in range(count // size):
        pods = role.pods[at * size : (at + 1) * size]
        one = replace(role, name=f"{role.name}#{at}", replicas=size, min=size, pods=pods)
        groups.append(Group(f"{name}#{at}", (one,), pack=rule.slices, multinode=multinode))
    return Group(name, groups=tuple(groups), min=role.min // size)
