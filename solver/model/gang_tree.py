"""Rule `gang` in the model: which children are kept and how many pods, tied to the Boolean `placed`."""

from collections.abc import Sequence
from dataclasses import dataclass

from solver.compile.frame import counting_of
from solver.compile.problem import Problem
from solver.compile.shapes import axes_of
from solver.compile.structure import Entry, Structure, Unit
from solver.model.build import PlacementModel
from solver.model.variables import Expr, Variables
from solver.rules.queue import held_by_axis, rooms


@dataclass
class GangChoice:
    """The open counts of an elastic gang: one expression for each axis, pods and kept child-group replicas.

    present: name of a child unit → whether it is kept.
    """

    placed: Expr
    axes: list[Expr]
    present: dict[str, Expr]
    pods: Expr
    kept_replicas: Expr


def settle_counts(model: PlacementModel) -> Expr:
    """Tie the root to a frame whose counts are settled: everything or nothing. Returns `placed`."""
    variables = model.variables
    placed = variables.boolean(None if not model.root.hints or model.root.hints[0] is None else 1)
    for count, dim in zip(model.root.counts, model.root.space.dims, strict=True):
        variables.add(count == dim.cap * placed)
    return placed


@dataclass(frozen=True)
class Limit:
    """At most `most` of a resource for the axes at the given positions together; None = all axes."""

    resource: str
    most: int
    axes: frozenset[int] | None = None


def open_counts(model: PlacementModel, limits: Sequence[Limit]) -> GangChoice:
    """Tie the root of an elastic frame to the gang's own rules and to `limits`."""
    structure = model.problem.frame.structure
    assert structure.root is not None
    chooser = _Chooser(model.variables)
    placed = model.variables.boolean()
    chooser.unit(structure.root, placed, is_root=True)
    axes = axes_of(structure.root)
    pods = sum(axis.pods * count for axis, count in zip(axes, chooser.axes, strict=True))
    groups = sum(axis.groups * count for axis, count in zip(axes, chooser.axes, strict=True))
    own = 0 if structure.root.flexible else placed
    choice = GangChoice(placed, chooser.axes, chooser.present, pods, groups + chooser.kept - own)
    _link(model, choice)
    for limit in limits:
        held = sum(
            held_by_axis(axis, limit.resource) * count
            for at, (axis, count) in enumerate(zip(axes, choice.axes, strict=True))
            if limit.axes is None or at in limit.axes
        )
        model.variables.add(held <= max(0, limit.most))
    return choice


def queue_limits(structure: Structure) -> list[Limit]:
    """What the queue of a gang leaves it."""
    return [Limit(room.resource, room.left) for room in rooms(structure.gang, structure.snapshot)]


class _Chooser:
    def __init__(self, variables: Variables) -> None:
        self.variables = variables
        self.axes: list[Expr] = []
        self.present: dict[str, Expr] = {}
        self.kept: Expr = 0

    def unit(self, unit: Unit, kept: Expr, is_root: bool = False) -> None:
        if not unit.flexible:
            self.axes.append(kept)
            return
        children: Expr = 0
        for role in unit.roles:
            pods = self.variables.integer(0, role.high)
            self.variables.add(pods >= role.low * kept)
            self.variables.add(pods <= role.high * kept)
            self.axes.append(pods)
            children = children + pods
        for entry in unit.entries:
            children = children + self.entry(entry, kept, unit.keeps_all)
        self.variables.add(children >= unit.needs * kept)
        if not is_root:
            self.kept = self.kept + kept

    def entry(self, entry: Entry, parent: Expr, for_sure: bool) -> Expr:
        """Variables of one entry; returns the children it counts for."""
        if entry.counts_each:
            count = self.variables.integer(0, entry.high)
            self.variables.add(count == entry.high * parent if for_sure else count <= entry.high * parent)
            self.axes.append(count)
            return count
        present = self.present[entry.units[0].name] = self.variables.boolean()
        self.variables.add(present == parent if for_sure else present <= parent)
        if not entry.units[0].flexible:
            count = self.variables.integer(0, entry.high)
            self.axes.append(count)
        else:
            count = 0
            before: Expr = parent
            for unit in entry.units:
                kept = self.variables.boolean()
                self.variables.add(kept == parent if unit.fewest == 0 else kept <= before)
                self.unit(unit, kept)
                count, before = count + kept, kept
        self.variables.add(count >= entry.low * present)
        self.variables.add(count <= entry.high * present)
        return present


def _link(model: PlacementModel, choice: GangChoice) -> None:
    """The root's counts are what the axes say."""
    frame, variables = model.problem.frame, model.variables
    roles, groups = _by_axis(model.problem)
    for count, dim in zip(model.root.counts, model.root.space.dims, strict=True):
        if dim.kind == "role":
            variables.add(count == roles[dim.item][1] * choice.axes[roles[dim.item][0]])
        elif dim.kind == "group":
            variables.add(count == groups[dim.item][1] * choice.axes[groups[dim.item][0]])
        else:
            inside = [r for r, size in enumerate(frame.groups[dim.item].inside) if size]
            pods = sum(roles[r][1] * choice.axes[roles[r][0]] for r in inside)
            variables.add(pods >= count)
            variables.add(pods <= sum(frame.roles[r].total for r in inside) * count)


def _by_axis(problem: Problem) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
    """Role → (axis, pods a step) and group → (axis, replicas a step), read off unit shapes."""
    counting = counting_of(problem.frame.structure)
    return dict(enumerate(counting.roles)), {at: each for at, each in enumerate(counting.groups) if each[0] >= 0}
