"""Shapes: what of an elastic gang is placed. A shape fixes the count of every axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb

import numpy as np

from solver.compile.structure import Entry, Unit, UnitRole
from solver.domain.budget import UNLIMITED, Budget
from solver.domain.errors import TooLarge
from solver.domain.snapshot import Ints

#: More shapes than this are not listed; CP-SAT then decides without the tree.
MAX_SHAPES = 100_000
#: More contents than this are not gone through, whatever is left of them.
_MAX_CONTENTS = 20 * MAX_SHAPES
#: Where counting stops.
_MANY = _MAX_CONTENTS + 1
#: Bytes that one count of a listed shape takes.
_COUNT_BYTES = 8


class TooManyShapes(TooLarge):
    """The gang has more shapes than can be listed."""

    def __init__(self, number: int = _MANY) -> None:
        super().__init__("ways to choose what of the gang is placed", number, MAX_SHAPES)


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
    found: list[Axis] = []
    _add_axes(unit, 1, found)
    return tuple(found)


def _add_axes(unit: Unit, high: int, found: list[Axis]) -> None:
    if not unit.flexible:
        found.append(Axis(unit, high))
        return
    found += [Axis(role, role.high) for role in unit.roles]
    for entry in unit.entries:
        for inner in entry.units:
            _add_axes(inner, entry.high, found)


def shapes_of(root: Unit, budget: Budget = UNLIMITED) -> list[Shape]:
    """All shapes the gang's own rules allow, best `replicas` first, then more of what is declared first.

    Raises TooManyShapes above MAX_SHAPES, before they are listed as far as counting tells, and OutOfTime.
    """
    axes = axes_of(root)
    if not root.flexible:
        (axis,) = axes
        return [Shape((1,), axis.pods, axis.groups - 1)]
    _refuse_many(root, len(axes), budget)
    pods, groups = [axis.pods for axis in axes], [axis.groups for axis in axes]
    found = []
    for counts, kept in _contents(root, budget):
        inside = sum(each * count for each, count in zip(groups, counts, strict=True) if count)
        found.append(Shape(counts, sum(each * count for each, count in zip(pods, counts, strict=True)), kept + inside))
    return sorted(found, key=lambda s: (-s.pods, -s.kept_replicas, tuple(-count for count in s.counts)))


def _refuse_many(root: Unit, axes: int, budget: Budget) -> None:
    """Raise TooManyShapes when there are, or when they would take too much memory."""
    number = _Counting(budget).contents(root)
    most = min(MAX_SHAPES, (budget.memory_mib << 20) // (2 * _COUNT_BYTES * max(1, axes)))
    if number > most:
        raise TooManyShapes(number)


class _Counting:
    """How many contents units have, exactly up to _MANY, without listing one."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def contents(self, unit: Unit) -> int:
        """Contents of one kept replica of a flexible unit. Raises TooManyShapes where listing would try too many."""
        tried, by_children = 1, np.ones(1, dtype=np.int64)
        for role in unit.roles:
            self.budget.check()
            tried = self._tried(tried, role.high - role.low + 1)
            by_children = _with_range(by_children, role.low, role.high, unit.needs)
        for entry in unit.entries:
            self.budget.check()
            none, one, each = self._options(entry, unit.keeps_all)
            tried = self._tried(tried, none + one + each)
            if entry.counts_each:
                by_children = _with_range(by_children, entry.high + 1 - each, entry.high, unit.needs)
            else:
                by_children = _with_one(by_children, none, one, unit.needs)
        return int(by_children[unit.needs]) if len(by_children) > unit.needs else 0

    def _tried(self, before: int, options: int) -> int:
        if before * options > _MAX_CONTENTS:
            raise TooManyShapes(min(before * options, 10**18))
        return before * options

    def _power(self, choices: int, units: int) -> None:
        tried = 1
        for _ in range(units if choices > 1 else 0):
            tried = self._tried(tried, choices)

    def _options(self, entry: Entry, kept_for_sure: bool) -> tuple[int, int, int]:
        """Options of an entry that count for no child, for one, and for as many as there are replicas."""
        first = entry.units[0]
        if not first.flexible:
            if entry.counts_each:
                return 0, 0, 1 if kept_for_sure else entry.high + 1
            return int(not kept_for_sure), entry.high - entry.low + 1, 0
        full, units = self.contents(first), len(entry.units)
        self._power(full + (first.fewest > 0), units)
        if first.fewest == 0:
            return 0, _multisets(full, units), 0
        kept = 0
        for count in range(max(1, entry.low), units + 1):
            kept = min(_MANY, kept + _multisets(full, count))
            if kept >= _MANY:
                break
        return int(not kept_for_sure), kept, 0


def _multisets(kinds: int, count: int) -> int:
    """Ways to choose `count` of some kinds, in no order; at most _MANY."""
    if kinds <= 1 or count == 0:
        return 1 if kinds or not count else 0
    few = min(count, kinds - 1)
    return _MANY if few > 64 else min(_MANY, comb(kinds + count - 1, few))


def _with_range(ways: Ints, low: int, high: int, most: int) -> Ints:
    """Ways by children with low … high more of them; those with `most` or more are one."""
    size = min(most, len(ways) - 1 + high) + 1
    sums = np.concatenate([[0], np.cumsum(ways)])
    at = np.arange(size)
    found = sums[np.clip(at - low + 1, 0, len(ways))] - sums[np.clip(at - high, 0, len(ways))]
    if size > most:  # the last holds all that come to `most` or more
        enough = np.arange(len(ways))
        least = np.maximum(low, most - enough)
        found[most] = int(np.minimum(_MANY, ways * np.maximum(0, high - least + 1)).sum())
    return np.asarray(np.minimum(found, _MANY))


def _with_one(ways: Ints, none: int, one: int, most: int) -> Ints:
    """Ways by children with a child that is there in `one` ways and not in `none`."""
    found = np.zeros(min(most, len(ways)) + 1, dtype=np.int64)
    kept = len(found) - 1
    found[: min(len(ways), len(found))] += none * ways[: len(found)]
    found[1:] += one * ways[:kept]
    if len(ways) > kept:  # what had enough children already has not fewer now
        found[kept] += one * int(ways[kept:].sum())
    return np.minimum(found, _MANY)


Content = tuple[tuple[int, ...], int]  # counts of a kept flexible unit's axes; kept flexible units inside


def _contents(unit: Unit, budget: Budget) -> Iterator[Content]:
    """Every content of one kept replica of a flexible unit, whose number was looked at before."""
    roles = [range(role.low, role.high + 1) for role in unit.roles]
    options = [list(_entry_options(entry, unit.keeps_all, budget)) for entry in unit.entries]
    for pods in product(*roles):
        budget.check()
        own = sum(pods)
        for chosen in product(*options):
            if own + sum(kept for _, kept, _ in chosen) >= unit.needs:
                counts = pods + tuple(count for counts, _, _ in chosen for count in counts)
                yield counts, sum(groups for _, _, groups in chosen)


def _entry_options(entry: Entry, kept_for_sure: bool, budget: Budget) -> Iterator[tuple[tuple[int, ...], int, int]]:
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
    full = [(counts, groups + 1) for counts, groups in _contents(first, budget)]
    choices = full if first.fewest == 0 else [*full, empty]
    for combination in combinations_with_replacement(choices, len(entry.units)):
        budget.check()
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
