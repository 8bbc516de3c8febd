"""Several gangs as one: each is an optional child of a common root, with its names kept apart by a prefix."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.compile.frame import Frame
from solver.compile.shapes import Axis, axes_of
from solver.compile.structure import Structure, Unit
from solver.domain.accelerators import Accelerators
from solver.domain.gang import Flow, Gang, Group, Role
from solver.domain.plan import Assignment

_MARK = "|"


@dataclass(frozen=True)
class Bundle:
    """`members` as children of `gang`, which places any of them or none."""

    members: tuple[Gang, ...]
    gang: Gang

    def families(self, frame: Frame) -> list[list[int]]:
        """Frame roles of each member."""
        found: list[list[int]] = [[] for _ in self.members]
        for at, role in enumerate(frame.roles):
            found[owner(role.source.names[0])].append(at)
        return found

    def axes_by_member(self, structure: Structure) -> list[frozenset[int]]:
        """Positions of the axes of each member."""
        assert structure.root is not None
        owners = [_owner_of_axis(axis) for axis in axes_of(structure.root)]
        return [frozenset(at for at, who in enumerate(owners) if who == member) for member in range(len(self.members))]

    def apart(self, assignments: Sequence[Assignment]) -> list[tuple[Assignment, ...]]:
        """Assignments of each member, under their own names."""
        found: list[list[Assignment]] = [[] for _ in self.members]
        for item in assignments:
            found[owner(item.pod)].append(replace(item, pod=_plain(item.pod), role=_plain(item.role)))
        return [tuple(items) for items in found]


def bundle(gangs: Sequence[Gang], accelerators: Accelerators) -> Bundle:
    """A bundle of gangs without running members, all of one topology."""
    roots = tuple(_renamed(at, gang.root) for at, gang in enumerate(gangs))
    flows = tuple(flow for at, gang in enumerate(gangs) for flow in _flows(at, gang, accelerators))
    reach = tuple(
        replace(rule, senders=_marked_all(at, rule.senders), receivers=_marked_all(at, rule.receivers))
        for at, gang in enumerate(gangs)
        for rule in gang.reach
    )
    root = Group("bundle", groups=roots, min=0)
    return Bundle(tuple(gangs), Gang("batch/bundle", root, topology=gangs[0].topology, flows=flows, reach=reach))


def owner(name: str) -> int:
    """The member a marked name belongs to."""
    return int(name.partition(_MARK)[0])


def _owner_of_axis(axis: Axis) -> int:
    return owner(axis.item.name if isinstance(axis.item, Unit) else axis.item.names[0])


def _plain(name: str) -> str:
    return name.partition(_MARK)[2]


def _marked(at: int, name: str) -> str:
    return f"{at}{_MARK}{name}"


def _marked_all(at: int, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_marked(at, name) for name in names)


def _renamed(at: int, group: Group) -> Group:
    return replace(
        group,
        name=_marked(at, group.name),
        roles=tuple(_renamed_role(at, role) for role in group.roles),
        groups=tuple(_renamed(at, child) for child in group.groups),
    )


def _renamed_role(at: int, role: Role) -> Role:
    return replace(role, name=_marked(at, role.name), pods=_marked_all(at, role.pods))


def _flows(at: int, gang: Gang, accelerators: Accelerators) -> list[Flow]:
    """The gang's flows; one without any gets a silent one among its GPU pods, for `proximity`."""
    if gang.flows:
        return [
            replace(flow, senders=_marked_all(at, flow.senders), receivers=_marked_all(at, flow.receivers))
            for flow in gang.flows
        ]
    users = _marked_all(at, [role.name for role in gang.roles if accelerators.devices(role.requests)])
    return [Flow(users, users, 0, Fraction(0))] if users else []
