"""A gang with its counts settled: the flat tables of roles and groups that bound and model work on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from solver.compile.shapes import Shape, axes_of
from solver.compile.structure import Structure, Unit, UnitRole
from solver.domain.budget import Budget

#: Bytes of one number in a tuple.
_POINTER_BYTES = 8


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
    """Roles and groups by index; groups[0] is the root. shape: None while the counts are open.

    kept: what terms and rules have worked out of the frame alone, by their name.
    """

    structure: Structure
    roles: tuple[FrameRole, ...]
    groups: tuple[FrameGroup, ...]
    shape: Shape | None
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def pods(self) -> int:
        """Pods over all roles."""
        return sum(role.total for role in self.roles)

    def members(self, side: str, position: int) -> tuple[int, ...]:
        """Roles at one end of a flow or reach rule; side: "from" or "to"."""
        return self._members.get((side, position), ())

    @cached_property
    def _members(self) -> dict[tuple[str, int], tuple[int, ...]]:
        found: dict[tuple[str, int], list[int]] = {}
        for at, role in enumerate(self.roles):
            self.structure.budget.check()
            for link in role.source.links:
                found.setdefault(link, []).append(at)
        return {link: tuple(roles) for link, roles in found.items()}

    @property
    def settled(self) -> bool:
        """Whether every count is what will be placed."""
        return self.shape is not None or not self.groups[0].flexible

    def shape_key(self) -> object:
        """Equal for frames that differ in names and in what their nodes look like only."""
        gang, tree = self.structure.gang, self.structure.tree
        families = zip(self.roles, self._spread_families(), strict=True)
        roles = tuple((role.total, family, *role.source.traits()) for role, family in families)
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

    def _spread_families(self) -> list[int]:
        """For each role the first that is the same declared role; spread counts them together."""
        first: dict[tuple[str, ...], int] = {}
        return [first.setdefault(role.source.names, at) for at, role in enumerate(self.roles)]

    def _bindings(self) -> tuple[tuple[int, ...], ...]:
        """For each flow, the reach rules that bind it."""
        binding = self.structure.gang.binding
        return tuple(binding(flow) for flow in self.structure.gang.flows)


def build_frame(structure: Structure, shape: Shape | None) -> Frame:
    """The frame of one shape, or with shape None the elastic one with every count at its highest."""
    builder = _built(structure, shape, elastic=shape is None, keep_empty=False)
    return Frame(structure, tuple(builder.roles), builder.finished(), shape)


@dataclass(frozen=True)
class Counting:
    """What the steps of each axis come to in the elastic frame: pods by role, replicas by group, and its axis.

    A flexible group has one replica whatever its axes say: its axis is −1.
    """

    roles: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, int], ...]

    def of(self, shape: Shape) -> tuple[list[int], list[int]]:
        """Pods by role and replicas by group of a shape."""
        pods = [each * shape.counts[axis] for axis, each in self.roles]
        return pods, [each if axis < 0 else each * shape.counts[axis] for axis, each in self.groups]


def counting_of(structure: Structure) -> Counting:
    """How the shapes of a gang are counted, indexed as its elastic frame is."""
    builder = _built(structure, None, elastic=True, keep_empty=True, step=True)
    return Counting(
        tuple(zip(builder.axis_of_role, (role.total for role in builder.roles), strict=True)),
        tuple((draft.axis, draft.count) for draft in builder.drafts),
    )


def _built(
    structure: Structure, shape: Shape | None, elastic: bool, keep_empty: bool, step: bool = False
) -> "_Builder":
    """step: with one step of each axis."""
    assert structure.root is not None, "a gang that lacks pods has no frame"
    axes = axes_of(structure.root)
    counts = shape.counts if shape else [1 if step else axis.high for axis in axes]
    builder = _Builder(elastic, keep_empty, structure.budget)
    builder.any_unit(structure.root, -1, enumerate(counts))
    return builder


@dataclass
class _Draft:
    unit: Unit
    parent: int
    count: int
    flexible: bool
    axis: int
    roles: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)


class _Builder:
    def __init__(self, elastic: bool, keep_empty: bool, budget: Budget) -> None:
        self.elastic, self.keep_empty, self.budget = elastic, keep_empty, budget
        self.roles: list[FrameRole] = []
        self.axis_of_role: list[int] = []
        self.drafts: list[_Draft] = []

    def any_unit(self, unit: Unit, parent: int, counts: Iterator[tuple[int, int]]) -> None:
        self.budget.check()
        if unit.flexible:
            self.flexible(unit, parent, counts)
        else:
            axis, count = next(counts)
            self.rigid(unit, parent, count, axis)

    def rigid(self, unit: Unit, parent: int, count: int, axis: int) -> None:
        if not count and not self.keep_empty:
            return
        self.budget.check()
        index = self.draft(_Draft(unit, parent, count, False, axis))
        for role in unit.roles:
            self.role(index, role, count * role.high, axis)
        for entry in unit.entries:
            self.rigid(entry.units[0], index, count * entry.high, axis)

    def flexible(self, unit: Unit, parent: int, counts: Iterator[tuple[int, int]]) -> None:
        before = len(self.roles), len(self.drafts)
        index = self.draft(_Draft(unit, parent, 1, self.elastic, -1))
        for role in unit.roles:
            axis, count = next(counts)
            self.role(index, role, count, axis)
        for entry in unit.entries:
            for inner in entry.units:
                self.any_unit(inner, index, counts)
        if len(self.roles) == before[0] and parent >= 0:
            del self.drafts[before[1] :]

    def draft(self, draft: _Draft) -> int:
        self.drafts.append(draft)
        return len(self.drafts) - 1

    def role(self, group: int, role: UnitRole, total: int, axis: int) -> None:
        if total or self.keep_empty:
            self.drafts[group].roles.append(len(self.roles))
            self.roles.append(FrameRole(role, total))
            self.axis_of_role.append(axis)

    def finished(self) -> tuple[FrameGroup, ...]:
        count = len(self.roles)
        self.budget.allow("groups times roles of the gang", _POINTER_BYTES * len(self.drafts) * count)
        below = [list(draft.roles) for draft in self.drafts]
        for at in range(len(self.drafts) - 1, 0, -1):
            parent = self.drafts[at].parent
            self.drafts[parent].children.append(at)
            below[parent] += below[at]
        groups = []
        for draft, roles in zip(self.drafts, below, strict=True):
            self.budget.check()
            inside = [0] * count
            for at in roles:
                inside[at] = self.roles[at].total // draft.count
            children = tuple(reversed(draft.children))
            groups.append(
                FrameGroup(
                    draft.unit, draft.parent, draft.count, tuple(inside), tuple(draft.roles), children, draft.flexible
                )
            )
        return tuple(groups)
