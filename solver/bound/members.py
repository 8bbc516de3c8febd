"""Children of domains, by their kinds."""

from collections.abc import Iterator, Sequence

import numpy as np

from solver.domain.snapshot import Codes

#: Kinds of children, ascending, and how many there are of each.
Members = tuple[tuple[int, ...], tuple[int, ...]]


def grouped(parents: Codes, kinds: Codes) -> Iterator[tuple[int, Members]]:
    """Every parent domain with a child that can hold pods, and its members; kind −1 = a child that cannot."""
    usable = kinds >= 0
    if not usable.any():
        return
    width = int(kinds.max()) + 1
    keys, counts = np.unique(parents[usable].astype(np.int64) * width + kinds[usable], return_counts=True)
    above = keys // width
    starts = np.flatnonzero(np.diff(above, prepend=-1))
    kind_list, count_list = (keys - above * width).tolist(), counts.tolist()
    ends = [*starts[1:].tolist(), len(keys)]
    for domain, start, end in zip(above[starts].tolist(), starts.tolist(), ends, strict=True):
        yield domain, (tuple(kind_list[start:end]), tuple(count_list[start:end]))


def children(parents: Codes, kinds: Codes, wanted: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """(parent, kind) → its children of that kind in natural order, for the parents `wanted`."""
    is_wanted = np.zeros(int(parents.max()) + 1, dtype=np.bool_)
    is_wanted[wanted] = True
    inside = np.flatnonzero(is_wanted[parents] & (kinds >= 0))
    found: dict[tuple[int, int], list[int]] = {}
    for child, parent, kind in zip(inside.tolist(), parents[inside].tolist(), kinds[inside].tolist(), strict=True):
        found.setdefault((parent, kind), []).append(child)
    return found
