"""Shapes: what of an elastic gang is placed. A shape fixes the count of every axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

from solver.compile.structure import Entry, Unit, UnitRole

#: More shapes than this are not listed; CP-SAT then decides without the tree.
MAX_SHAPES = 100_000


class TooManyShapes(Exception):
    """The gang has more shapes than can be listed."""


@dataclass(frozen=True)
class Axis:
    """One decision: pods of a flexible unit's role, or replicas of a rigid unit."""

    item: UnitRole | Unit
    high: int

    @property
    def pods(self) -> int:
        """Pods of one step."""
        return pods_of(self.item) if isinstance(self.item, Unit) else 1

    @property
    def groups(self) -> int:
        """Kept child-group replicas of one step, nested ones included."""
        return groups_of(self.item) if isinstance(self.item, Unit) else 0


@dataclass(frozen=True)
class Shape:
    """Counts by axis, with what the term `replicas` makes of them."""

    counts: tuple[int, ...]
    pods: int
    kept_replicas: int


def pods_of(unit: Unit) -> int:
    """Pods of one replica of a rigid unit."""
    return sum(role.high for role in unit.roles) + sum(entry.high * pods_of(entry.units[0]) for entry in unit.entries)


def groups_of(unit: Unit) -> int:
    """Group replicas in one replica of a rigid unit, itself included."""
    return 1 + sum(entry.high * groups_of(entry.units[0]) for entry in unit.entries)


def axes_of(unit: Unit) -> tuple[Axis, ...]:
    """Axes of a root unit: itself when it is rigid, else its roles and entries in order."""
    if not unit.flexible:
        return (Axis(unit, 1),)
    found = [Axis(role, role.high) for role in unit.roles]
    for entry in unit.entries:
        for inner in entry.units:
            found += axes_of(inner) if inner.flexible else [Axis(inner, entry.high)]
    return tuple(found)


def shapes_of(root: Unit) -> list[Shape]:
    """All shapes the gang's own rules allow, best `replicas` first, then more of what is declared first.

    Raises TooManyShapes above MAX_SHAPES.
    """
    axes = axes_of(root)
    extra = 0 if root.flexible else 1
    found = []
    for counts, groups in _contents(root) if root.flexible else [((1,), 0)]:
        pods = sum(axis.pods * count for axis, count in zip(axes, counts, strict=True))
        kept = groups + sum(axis.groups * count for axis, count in zip(axes, counts, strict=True)) - extra
        found.append(Shape(counts, pods, kept))
        if len(found) > MAX_SHAPES:
            raise TooManyShapes
    return sorted(found, key=lambda s: (-s.pods, -s.kept_replicas, tuple(-count for count in s.counts)))


Content = tuple[tuple[int, ...], int]  # counts of a kept flexible unit's axes; kept flexible units inside


def _contents(unit: Unit) -> Iterator[Content]:
    """Every content of one kept replica of a flexible unit."""
    roles = [range(role.low, role.high + 1) for role in unit.roles]
    options = [list(_entry_options(entry, unit.keeps_all)) for entry in unit.entries]
    _refuse_explosion([len(choice) for choice in roles] + [len(choice) for choice in options])
    for pods in product(*roles):
        for chosen in product(*options):
            children = sum(kept for _, kept, _ in chosen)
            if sum(pods) + children >= unit.needs:
                counts = pods + tuple(count for counts, _, _ in chosen for count in counts)
                yield counts, sum(groups for _, _, groups in chosen)


def _entry_options(entry: Entry, kept_for_sure: bool) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """(counts, children they count for, kept flexible units) of an entry; alike units in one order only."""
    first = entry.units[0]
    if not first.flexible:
        fewest = entry.high if entry.counts_each else entry.low
        for count in range(fewest if kept_for_sure else 0, entry.high + 1):
            if entry.counts_each:
                yield (count,), count, 0
            elif count == 0 or count >= entry.low:
                yield (count,), min(count, 1), 0
        return
    empty: Content = ((0,) * len(axes_of(first)), 0)
    full = [(counts, groups + 1) for counts, groups in _contents(first)]
    choices = full if first.fewest == 0 else [*full, empty]
    _refuse_explosion([len(choices)] * len(entry.units))
    for combination in combinations_with_replacement(choices, len(entry.units)):
        kept = sum(groups > 0 for _, groups in combination)
        if kept >= entry.low or (kept == 0 and not kept_for_sure):
            counts = tuple(count for part, _ in combination for count in part)
            yield counts, min(kept, 1), sum(groups for _, groups in combination)


def in_order(root: Unit, counts: Sequence[int]) -> tuple[int, ...]:
    """The same counts with alike flexible units in the one order `shapes_of` uses: kept ones first."""
    return _ordered(root, iter(counts))


def _ordered(unit: Unit, counts: Iterator[int]) -> tuple[int, ...]:
    if not unit.flexible:
        return (next(counts),)
    found = tuple(next(counts) for _ in unit.roles)
    for entry in unit.entries:
        parts = [_ordered(inner, counts) for inner in entry.units]
        for part in sorted(parts, key=lambda part: (not any(part), part)):
            found += part
    return found


def _refuse_explosion(sizes: list[int]) -> None:
    total = 1
    for size in sizes:
        total *= size
        if total > 20 * MAX_SHAPES:
            raise TooManyShapes
