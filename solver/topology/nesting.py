"""Levels that are read from node labels, each where its domains nest: inside those above it, around those below it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from solver.domain.errors import InvalidRequest
from solver.domain.levels import HOST, Level, well_known_name
from solver.domain.snapshot import Codes, Column

#: So many levels are kept of what nobody names; the rest is left to those that gangs name.
MOST_UNNAMED = 12

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Pair:
    """How the domains of a label lie to those of a level.

    inside: each lies in one of the level's, or where it has none. around: the other way round. is_same: both, on the
    same nodes. is_coarser: the level comes first where either would do.
    """

    inside: bool
    around: bool
    is_same: bool
    is_coarser: bool

    @classmethod
    def of(cls, labels: Mapping[str, Column], key: str, other: str) -> "_Pair":
        """Of two labels."""
        codes, others = labels[key].codes, labels[other].codes
        inside, around = _within(codes, others), _within(others, codes)
        is_same = inside and around and bool(((codes >= 0) == (others >= 0)).all())
        return cls(inside, around, is_same, (-_carriers(others), other) < (-_carriers(codes), key))


def add_level(
    labels: Mapping[str, Column], levels: Sequence[Level], key: str, named: Callable[[Level], str]
) -> tuple[list[Level], list[Level]]:
    """Levels with one for label `key` among them, and those that had to go.

    levels: above the host, from coarse to fine. named: the word by which a rule calls a level, or empty. Where the
    domains of `key` are those of a level, this one answers to the key as well, and stays where it is if they lie inside
    all levels above it. Otherwise the level goes where it nests with the most: each of its domains lies in one of every
    level above it, and each domain of every level below it in one of its own; any other level has to go. Where several
    places are as good, labels that more nodes carry are coarser, then by key. Raises InvalidRequest if a level that has
    to go is named.
    """
    pairs = [_Pair.of(labels, key, level.label) for level in levels]
    same = next((at for at, pair in enumerate(pairs) if pair.is_same), None)
    if same is None:
        added = Level(_name(key, levels), key)
    else:
        known = levels[same]
        added = replace(known, also=(*known.also, key))
        if all(pair.inside for pair in pairs[:same]):
            return [*levels[:same], added, *levels[same + 1 :]], []
        levels, pairs = _without(levels, same), _without(pairs, same)
    words = [named(level) for level in levels]

    def unnested(place: int) -> list[int]:
        return [at for at, pair in enumerate(pairs) if not (pair.inside if at < place else pair.around)]

    def worth(place: int) -> tuple[int, int, int]:
        lost = unnested(place)
        unordered = sum(pair.is_coarser != (at < place) for at, pair in enumerate(pairs) if pair.inside and pair.around)
        return sum(bool(words[at]) for at in lost), len(lost), unordered

    place = min(range(len(levels) + 1), key=worth)
    lost = unnested(place)
    for at in lost:
        if words[at]:
            raise InvalidRequest(f"levels {words[at]} and {key} do not nest in each other: no topology can hold both")
    above = [level for at, level in enumerate(levels) if at < place and at not in lost]
    below = [level for at, level in enumerate(levels) if at >= place and at not in lost]
    return [*above, added, *below], [levels[at] for at in lost]


def with_others(
    labels: Mapping[str, Column], levels: Sequence[Level], keys: Sequence[str], named: Callable[[Level], str]
) -> list[Level]:
    """Levels with those of further labels, each if it nests with all that are there by then."""
    found = list(levels)
    for key in keys:
        if len(found) < MOST_UNNAMED and all(key != level.label and key not in level.also for level in found):
            try:
                with_it, lost = add_level(labels, found, key, named)
            except InvalidRequest:
                continue
            found = found if lost else with_it
    return found


def is_host(labels: Mapping[str, Column], key: str) -> bool:
    """Whether every node has a value of its own."""
    codes = labels[key].codes
    return bool((codes >= 0).all()) and len(np.unique(codes)) == len(codes)


def _within(fine: Codes, coarse: Codes) -> bool:
    """Whether all nodes of each domain of one label have the same value of the other, or all have none."""
    carriers = fine >= 0
    if not carriers.any():
        return True
    own, theirs = fine[carriers], coarse[carriers]
    first = np.empty(int(own.max()) + 1, dtype=theirs.dtype)
    first[own] = theirs
    return bool((first[own] == theirs).all())


def _without(items: Sequence[_Item], at: int) -> list[_Item]:
    return [*items[:at], *items[at + 1 :]]


def _carriers(codes: Codes) -> int:
    return int(np.count_nonzero(codes >= 0))


def _name(key: str, others: Sequence[Level]) -> str:
    """The well-known name of a label, or the label where another level has that already."""
    name = well_known_name(key)
    return key if name in (None, HOST) or any(name == level.name for level in others) else str(name)
