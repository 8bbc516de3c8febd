"""A gang with its counts settled: the flat tables of roles and groups that bound and model work on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from solver.compile.shapes import Shape, axes_of
from solver.compile.structure import Structure, Unit, UnitRole


@dataclass(frozen=True)
class FrameRole:
    """Pods that are alike: `total` of them over the gang (the most there may be, in an elastic frame)."""

    source: UnitRole
    total: int

    @property
    def gpus(self) -> int:
        """Whole devices of one pod."""
        return self.source.gpus


@dataclass(frozen=True)
class FrameGroup:
    """`count` replicas of a unit over the gang.

    inside: pods of each frame role in one replica, nested groups included. roles: indices of its own roles.
    children: indices of its child groups. flexible: its content is still open (elastic frames only).
    """

    unit: Unit
    parent: int
    count: int
    inside: tuple[int, ...]
    roles: tuple[int, ...]
    children: tuple[int, ...]
    flexible: bool

    @property
    def required(self) -> int:
        """Level index of the required pack, 0 = none."""
        return self.unit.required

    @property
    def preferred(self) -> int:
        """Level index of the preferred pack, 0 = none."""
        return self.unit.preferred

    def rule_levels(self) -> tuple[object, ...]:
        """Pack and spread rules."""
        return self.required, self.preferred, self.unit.spread


@dataclass(frozen=True)
class Frame:
    """Roles and groups by index; groups[0] is the root. shape: None while the counts are open."""

    structure: Structure
    roles: tuple[FrameRole, ...]
    groups: tuple[FrameGroup, ...]
    shape: Shape | None

    @cached_property
    def pods(self) -> int:
        """Pods over all roles."""
        return sum(role.total for role in self.roles)

    @property
    def settled(self) -> bool:
        """Whether every count is what will be placed."""
        return self.shape is not None or not self.groups[0].flexible

    def shape_key(self) -> object:
        """Equal for frames that differ in names and in what their nodes look like only."""
        gang, tree = self.structure.gang, self.structure.tree
        roles = tuple((role.total, self._spread_family(role), *role.source.traits()) for role in self.roles)
        groups = tuple(
            (group.parent, group.count, group.inside, *group.rule_levels(), group.flexible) for group in self.groups
        )
        flows = tuple((flow.bytes, flow.per_request, flow.pattern) for flow in gang.flows)
        reaches = tuple((tree.level(reach.level), reach.ratio) for reach in gang.reach)
        links = self._link_settings() if gang.requests_per_second is not None else None
        return roles, groups, flows, reaches, self._bindings(), tree.spec.tiers, self.shape is None, links

    def _link_settings(self) -> object:
        """What the rule `bandwidth` reads of gang and topology."""
        spec = self.structure.tree.spec
        levels = tuple((level.uplink_gbps, level.oversubscription, level.used_gbps) for level in spec.levels)
        rate = self.structure.gang.requests_per_second
        return rate, spec.node_gbps, spec.max_link_share, spec.nvlink, levels

    def _spread_family(self, role: FrameRole) -> int:
        """The first role that is the same declared role; spread counts them together."""
        return next(at for at, other in enumerate(self.roles) if other.source.names == role.source.names)

    def _bindings(self) -> tuple[tuple[bool, ...], ...]:
        """For each flow, which reach rules bind it."""
        gang = self.structure.gang
        return tuple(tuple(reach.binds(flow) for reach in gang.reach) for flow in gang.flows)


def build_frame(structure: Structure, shape: Shape | None) -> Frame:
    """The frame of one shape, or with shape None the elastic one with every count at its highest."""
    builder = _built(structure, shape, elastic=shape is None, keep_empty=False)
    return Frame(structure, tuple(builder.roles), builder.finished(), shape)


def counts_of(structure: Structure, shape: Shape) -> tuple[list[int], list[int]]:
    """Pods by role and replicas by group of a shape, indexed as in the elastic frame."""
    builder = _built(structure, shape, elastic=True, keep_empty=True)
    return [role.total for role in builder.roles], [draft[2] for draft in builder.drafts]


def _built(structure: Structure, shape: Shape | None, elastic: bool, keep_empty: bool) -> "_Builder":
    assert structure.root is not None, "a gang that lacks pods has no frame"
    counts = iter(shape.counts if shape else [axis.high for axis in axes_of(structure.root)])
    builder = _Builder(elastic, keep_empty)
    builder.any_unit(structure.root, -1, counts)
    return builder


class _Builder:
    def __init__(self, elastic: bool, keep_empty: bool) -> None:
        self.elastic = elastic
        self.keep_empty = keep_empty
        self.roles: list[FrameRole] = []
        self.drafts: list[tuple[Unit, int, int, list[int], bool]] = []

    def any_unit(self, unit: Unit, parent: int, counts: Iterator[int]) -> None:
        if unit.flexible:
            self.flexible(unit, parent, counts)
        else:
            self.rigid(unit, parent, next(counts))

    def rigid(self, unit: Unit, parent: int, count: int) -> None:
        if not count and not self.keep_empty:
            return
        index = self.draft(unit, parent, count, flexible=False)
        for role in unit.roles:
            self.role(index, role, count * role.high)
        for entry in unit.entries:
            self.rigid(entry.units[0], index, count * entry.high)

    def flexible(self, unit: Unit, parent: int, counts: Iterator[int]) -> None:
        before = len(self.roles), len(self.drafts)
        index = self.draft(unit, parent, 1, flexible=self.elastic)
        for role in unit.roles:
            self.role(index, role, next(counts))
        for entry in unit.entries:
            for inner in entry.units:
                self.any_unit(inner, index, counts)
        if len(self.roles) == before[0] and parent >= 0:
            del self.drafts[before[1] :]

    def draft(self, unit: Unit, parent: int, count: int, flexible: bool) -> int:
        self.drafts.append((unit, parent, count, [], flexible))
        return len(self.drafts) - 1

    def role(self, group: int, role: UnitRole, total: int) -> None:
        if total or self.keep_empty:
            self.drafts[group][3].append(len(self.roles))
            self.roles.append(FrameRole(role, total))

    def finished(self) -> tuple[FrameGroup, ...]:
        groups = []
        for index, (unit, parent, count, roles, flexible) in enumerate(self.drafts):
            below = set(self.below(index))
            inside = tuple(role.total // count if at in below else 0 for at, role in enumerate(self.roles))
            children = tuple(at for at, draft in enumerate(self.drafts) if draft[1] == index)
            groups.append(FrameGroup(unit, parent, count, inside, tuple(roles), children, flexible))
        return tuple(groups)

    def below(self, group: int) -> Iterator[int]:
        yield from self.drafts[group][3]
        for at, draft in enumerate(self.drafts):
            if draft[1] == group:
                yield from self.below(at)
