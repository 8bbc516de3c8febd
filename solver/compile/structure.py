"""The gang in normal form: levels resolved, alike subgroups merged, what may differ taken apart.

Afterwards every group is either *rigid* (all its replicas have the same content, it may replicate) or *flexible*
(its content is a decision, there is one of it), and names no longer matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from solver.compile.eligibility import Eligibility, needed_levels
from solver.domain.budget import UNLIMITED, Budget
from solver.domain.errors import InvalidRequest, TooLarge
from solver.domain.gang import Flow, Gang, Group, Reach, Role
from solver.domain.levels import NARROWEST, TopologySpec
from solver.domain.naming import natural_key
from solver.domain.replicas import Fewest, Replica, root_replica
from solver.domain.resources import Resources
from solver.domain.snapshot import Mask, Snapshot
from solver.topology.costs import engine_gpus, engine_nodes, rank_gpus
from solver.topology.tree import Tree

#: Most units of a gang: groups, and where replicas of a group may differ each replica by itself.
MAX_UNITS = 20_000


@dataclass(frozen=True)
class UnitRole:
    """Pods that are alike inside a unit.

    names: the declared roles merged into it. low, high: pods in one replica of the unit. mask: [nodes] where they may
    go; equal masks have one mask_id. gpus: whole devices of one pod; engine_gpus: of its engine; rank_gpus: of the
    smallest rank of its group. spread: (level index, most). links: the flows and reach rules it belongs to, as
    ("from" | "to", position). engine_nodes: 1 throughout where no tier is limited by the NICs of a node.
    """

    names: tuple[str, ...]
    low: int
    high: int
    requests: Resources
    mask: Mask
    mask_id: int
    gpus: int
    engine_gpus: int
    engine_nodes: int
    rank_gpus: int
    spread: tuple[tuple[int, int], ...]
    links: frozenset[tuple[str, int]]

    def traits(self) -> tuple[object, ...]:
        """What costs and rules read of the role, apart from its counts and nodes."""
        return self.requests, self.gpus, self.engine_gpus, self.engine_nodes, self.rank_gpus, self.spread, self.links


@dataclass(frozen=True)
class Entry:
    """A child group as its parent counts it.

    units: one rigid unit with up to `high` replicas, or several flexible ones. Kept are 0 or low … high of them; they
    count as one child, or each for itself.
    """

    units: tuple["Unit", ...]
    low: int
    high: int
    counts_each: bool


@dataclass(frozen=True)
class Unit:
    """A group in normal form.

    required, preferred: level indices, 0 = none; a required level that an outer one implies is 0. needs: children
    (pods plus kept entries) that a kept replica has at least; keeps_all: all its entries are kept. fewest: pods with
    which it is kept. replicas: the declared replicas it stands for, in the order in which they are used.
    """

    name: str
    roles: tuple[UnitRole, ...]
    entries: tuple[Entry, ...]
    needs: int
    keeps_all: bool
    fewest: int
    flexible: bool
    required: int
    preferred: int
    spread: tuple[tuple[int, int], ...]
    replicas: tuple[Replica, ...]


@dataclass(frozen=True)
class Structure:
    """A gang over a snapshot and tree, in normal form. root is None when its pods can never meet its minimum.

    budget: what everything that is made of it may take.
    """

    gang: Gang
    snapshot: Snapshot
    tree: Tree
    root: Unit | None
    budget: Budget = field(default=UNLIMITED, compare=False, repr=False)

    @cached_property
    def levels(self) -> dict[str, tuple[int, ...]]:
        """Role name → levels that its nodes need."""
        return needed_levels(self.gang, self.tree)


def check_levels(gang: Gang, spec: TopologySpec) -> None:
    """Raises InvalidRequest, naming the group or role and its field, for a level word the topology does not know."""
    words: list[tuple[str, str | None]] = []
    for group in gang.root.walk():
        words += [(f"group {group.name}: pack.required", group.pack.required)]
        if group.pack.preferred != NARROWEST:
            words += [(f"group {group.name}: pack.preferred", group.pack.preferred)]
        words += [(f"group {group.name}: spread", spread.level) for spread in group.spread]
        words += [(f"role {role.name}: spread", spread.level) for role in group.roles for spread in role.spread]
    words += [("reach", reach.level) for reach in gang.reach]
    for where, word in words:
        if word == NARROWEST:
            raise InvalidRequest(f"gang {gang.name}: {where}: {word!r} is a word of preferred packs only")
        if word and spec.find(word) is None:
            known = ", ".join(level.name for level in spec.levels)
            raise InvalidRequest(f"gang {gang.name}: {where}: level {word!r} is unknown; the topology has {known}")


def build_structure(
    gang: Gang, snapshot: Snapshot, tree: Tree, merge: bool = True, budget: Budget = UNLIMITED
) -> Structure:
    """Normal form of `gang`.

    merge: whether alike subgroups become replicas of one group. Raises InvalidRequest for unknown levels, a group
    spread without or finer than its required level, and replicas that may differ in a group with preferred or spread;
    TooLarge above MAX_UNITS, and OutOfTime.
    """
    builder = _Builder(gang, snapshot, tree, merge, budget)
    if not builder.can_be_kept(gang.root):
        return Structure(gang, snapshot, tree, None, budget)
    return Structure(gang, snapshot, tree, builder.unit(gang.root, (root_replica(gang, budget),), 0), budget)


class _Builder:
    def __init__(self, gang: Gang, snapshot: Snapshot, tree: Tree, merge: bool, budget: Budget) -> None:
        self.gang, self.snapshot, self.tree, self.merge, self.budget = gang, snapshot, tree, merge, budget
        self.levels = needed_levels(gang, tree)
        self.eligibility = Eligibility(snapshot, tree, gang, budget)
        self.fewest = Fewest()
        self.roles: dict[str, UnitRole] = {}
        self.links = _links_by_role(gang, budget)
        self.flexible: dict[int, bool] = {}
        self.units = 0
        devices = snapshot.accelerators
        self.engine_gpus, self.rank_gpus = engine_gpus(gang, devices), rank_gpus(gang, devices)
        self.engine_nodes = engine_nodes(gang, devices) if tree.spec.shares_nics else {}
        self.running = {member.pod for member in gang.running}
        self.mask_ids: dict[bytes, int] = {}
        for group in gang.root.walk():
            budget.check()
            _check_group(gang, group, tree)

    def can_be_kept(self, root: Group) -> bool:
        """Whether the root can meet its minimum, and every group that has to because a member runs in it."""
        found, _ = self._kept(root)
        return found and self.fewest.of(root) is not None

    def _kept(self, group: Group) -> tuple[bool, bool]:
        """Whether all groups with running members in a subtree can be kept, and whether there are any."""
        self.budget.check()
        inside = [self._kept(child) for child in group.groups]
        has_members = any(members for _, members in inside) or any(
            pod in self.running for role in (group.roles if self.running else ()) for pod in role.pods
        )
        fine = all(possible for possible, _ in inside)
        return fine and (not has_members or self.fewest.of(group) is not None), has_members

    def unit(self, group: Group, replicas: Sequence[Replica], above: int) -> Unit:
        """Unit for `replicas` of `group`, all alike; `above` = finest required level outside."""
        self.budget.check()
        self.units += 1
        if self.units > MAX_UNITS:
            raise TooLarge(f"groups and replicas of gang {self.gang.name} that may differ", self.units, MAX_UNITS)
        own = self.tree.level(group.pack.required) if group.pack.required else 0
        required = own if own > above or self.outside(replicas, own) else 0
        entries, without_pods = self.entries(group, replicas, max(above, own))
        roles = [self.role(role) for role in group.roles if role.replicas]
        low = sum(role.low for role in roles)
        everything = sum(role.high for role in roles) + sum(e.high if e.counts_each else 1 for e in entries)
        keeps_all = group.min is None
        needs = low if group.min is None else max(low, group.min - without_pods)
        roles = [_at_least(role, needs - (everything - role.high)) for role in roles]
        flexible = (
            any(role.low < role.high for role in roles)
            or (bool(entries) and not keeps_all and needs < everything)
            or any(entry.units[0].flexible or (entry.low < entry.high and not entry.counts_each) for entry in entries)
        )
        self.flexible[id(group)] = flexible
        return Unit(
            name=group.name,
            roles=tuple(roles),
            entries=entries,
            needs=needs,
            keeps_all=keeps_all or needs == everything,
            fewest=self.fewest.of(group) or 0,
            flexible=flexible,
            required=required,
            preferred=self.tree.preferred_level(group.pack.preferred),
            spread=tuple((self.tree.level(spread.level), spread.max) for spread in group.spread),
            replicas=tuple(replicas),
        )

    def outside(self, replicas: Sequence[Replica], level: int) -> bool:
        """Whether a member of these replicas runs on a node without a domain of the level, whatever holds it there."""
        pods = {pod for replica in replicas for pod in replica.all_pods()} if level and self.gang.running else ()
        nodes = [self.snapshot.node_idx[member.node] for member in self.gang.running if member.pod in pods]
        return not all(self.tree.real[level][self.tree.domain_of[level][nodes]])

    def role(self, role: Role) -> UnitRole:
        """The role in a unit: the same in every unit that has it."""
        if role.name not in self.roles:
            self.roles[role.name] = self._role(role)
        return self.roles[role.name]

    def _role(self, role: Role) -> UnitRole:
        self.budget.check()
        mask = self.eligibility.of(role, self.levels[role.name])
        return UnitRole(
            names=(role.name,),
            low=role.min,
            high=role.replicas,
            requests=role.requests,
            mask=mask,
            mask_id=self.mask_ids.setdefault(mask.tobytes(), len(self.mask_ids)),
            gpus=self.snapshot.accelerators.devices(role.requests),
            engine_gpus=self.engine_gpus[role.name],
            engine_nodes=self.engine_nodes.get(role.name, 1),
            rank_gpus=self.rank_gpus[role.name],
            spread=tuple((self.tree.level(spread.level), spread.max) for spread in role.spread),
            links=self.links.get(role.name, frozenset()),
        )

    def entries(self, group: Group, replicas: Sequence[Replica], above: int) -> tuple[tuple[Entry, ...], int]:
        """Entries of the child groups that can be kept; and how many children are always kept without a pod."""
        found: list[Entry] = []
        without_pods = 0
        for position, child in enumerate(group.groups):
            if self.fewest.of(child) is None:
                continue
            inside = [replica for outer in replicas for replica in outer.children[position]]
            if not _has_pods(child):
                without_pods += 1
                continue
            first = self.unit(child, inside[:1], above) if id(child) not in self.flexible or len(inside) == 1 else None
            if len(inside) == 1 and first is not None:
                units: tuple[Unit, ...] = (first,)
            elif self.flexible[id(child)]:
                _check_may_differ(self.gang, child)
                units = tuple(self.unit(child, (replica,), above) for replica in inside)
            else:
                units = (self.unit(child, inside, above),)
            found.append(Entry(units, child.min_replicas, child.replicas, counts_each=False))
        return tuple(self.merged(found) if self.merge else found), without_pods

    def merged(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries with alike single subgroups put together as replicas of one unit."""
        found: dict[object, list[Entry]] = {}
        for position, entry in enumerate(entries):
            unit = entry.units[0]
            alike = entry.high == 1 and len(entry.units) == 1 and self.mergeable(unit)
            found.setdefault(_signature(unit) if alike else position, []).append(entry)
        merged = []
        for family in found.values():
            family.sort(key=lambda entry: natural_key(entry.units[0].name))
            if len(family) == 1:
                merged.append(family[0])
            else:
                unit = _merge([entry.units[0] for entry in family])
                merged.append(Entry((unit,), 1, len(family), counts_each=True))
        return merged

    def mergeable(self, unit: Unit) -> bool:
        plain = not (unit.flexible or unit.preferred or unit.spread or any(role.spread for role in unit.roles))
        running = bool(self.running) and any(
            pod in self.running for replica in unit.replicas for pod in replica.all_pods()
        )
        inner = (inner for entry in unit.entries for inner in entry.units)
        return (
            plain
            and not running
            and len(unit.replicas) == 1
            and all(not one.preferred and self.plain(one) for one in inner)
        )

    def plain(self, unit: Unit) -> bool:
        own = not (unit.preferred or unit.spread or any(role.spread for role in unit.roles))
        return own and all(self.plain(inner) for entry in unit.entries for inner in entry.units)


def _at_least(role: UnitRole, low: int) -> UnitRole:
    return role if low <= role.low else replace(role, low=low)


def _has_pods(group: Group) -> bool:
    return any(role.pods for role in group.roles) or any(_has_pods(child) for child in group.groups)


def _links_by_role(gang: Gang, budget: Budget) -> dict[str, frozenset[tuple[str, int]]]:
    """Role name → its places in flows and reach rules."""
    found: dict[str, set[tuple[str, int]]] = {}
    declared: tuple[Flow | Reach, ...] = (*gang.flows, *gang.reach)
    for position, link in enumerate(declared):
        budget.check()
        for side, names in (("from", link.senders), ("to", link.receivers)):
            for name in names:
                found.setdefault(name, set()).add((side, position))
    return {name: frozenset(links) for name, links in found.items()}


def _role_signature(role: UnitRole) -> tuple[object, ...]:
    return (
        role.low, role.high, role.requests.items, role.mask_id, role.engine_gpus, role.engine_nodes, role.rank_gpus,
        tuple(sorted(role.links)),
    )  # fmt: skip


def _signature(unit: Unit) -> tuple[object, ...]:
    """Equal for units that differ by names only."""
    roles = tuple(sorted((_role_signature(role) for role in unit.roles), key=repr))
    entries = tuple(sorted(((_signature(entry.units[0]), entry.low, entry.high) for entry in unit.entries), key=repr))
    return (unit.required, unit.needs, unit.keeps_all, roles, entries)


def _merge(units: Sequence[Unit]) -> Unit:
    """One unit standing for `units`, which have equal signatures; parts are matched by signature."""
    ordered = [sorted(unit.roles, key=lambda role: repr(_role_signature(role))) for unit in units]
    roles = tuple(
        replace(family[0], names=tuple(name for role in family for name in role.names))
        for family in zip(*ordered, strict=True)
    )
    inner = [sorted(unit.entries, key=lambda e: repr((_signature(e.units[0]), e.low, e.high))) for unit in units]
    entries = tuple(
        Entry((_merge([entry.units[0] for entry in family]),), family[0].low, family[0].high, family[0].counts_each)
        for family in zip(*inner, strict=True)
    )
    replicas = tuple(replica for unit in units for replica in unit.replicas)
    name = "+".join(unit.name for unit in units)
    return replace(units[0], name=name, roles=roles, entries=entries, replicas=replicas)


def _check_group(gang: Gang, group: Group, tree: Tree) -> None:
    where = f"gang {gang.name}: group {group.name}"
    required = tree.level(group.pack.required) if group.pack.required else 0
    for spread in group.spread:
        if not required:
            raise InvalidRequest(f"{where}: spread of replicas needs a required pack level")
        if tree.level(spread.level) > required:
            raise InvalidRequest(f"{where}: spread level {spread.level!r} is finer than its required level")


def _check_may_differ(gang: Gang, child: Group) -> None:
    if any(group.pack.preferred or group.spread for group in child.walk()):
        raise InvalidRequest(
            f"gang {gang.name}: group {child.name} replicates while its replicas may differ in size; "
            "preferred and spread are not supported in it"
        )
