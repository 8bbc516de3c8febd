"""Min-plus convolution of state tables, and the way back: which halves a sum was made of."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from solver.bound.lanes import INFINITE, better, infeasible, settle
from solver.domain.snapshot import Ints

#: Up to so many pairs of states are tried in one sweep; beyond, state by state.
SWEEP_PAIRS = 150_000
#: Cost of one state-by-state step, in pairs of a sweep (measured: about 8 µs against 8 ns a pair and lane).
STEP_PAIRS = 400


@dataclass(frozen=True)
class Pairs:
    """All pairs of states that add up to a state, grouped by the sum, the larger left half first."""

    left: Ints
    right: Ints
    starts: Ints


@lru_cache(maxsize=64)
def pairs_of(shape: tuple[int, ...]) -> Pairs:
    """Pairs of the box `shape`."""
    left, right, total = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    for size in shape:
        a, b = np.array([(x, y) for x in range(size) for y in range(size - x)], dtype=np.int64).T
        left = (left[:, None] * size + a).ravel()
        right = (right[:, None] * size + b).ravel()
        total = (total[:, None] * size + a + b).ravel()
    order = np.lexsort((-left, total))
    starts = np.searchsorted(total[order], np.arange(int(np.prod(shape, dtype=np.int64))))
    return Pairs(left[order], right[order], starts)


def pair_count(shape: tuple[int, ...]) -> int:
    """Number of pairs of the box `shape`."""
    count = 1
    for size in shape:
        count *= size * (size + 1) // 2
    return count


def convolve(left: Ints, right: Ints, shape: tuple[int, ...]) -> Ints:
    """[lanes, states] best cost of every sum of a state of `left` and one of `right`."""
    sparse, other = (left, right) if _finite(left) <= _finite(right) else (right, left)
    pairs = pair_count(shape)
    if pairs > SWEEP_PAIRS or _finite(sparse) * STEP_PAIRS < pairs:
        return _stepwise(sparse, other, shape)
    return _sweep(left, right, pairs_of(shape))


def _finite(table: Ints) -> int:
    return int(np.count_nonzero(table[0] < INFINITE))


def _sweep(left: Ints, right: Ints, pairs: Pairs) -> Ints:
    sizes = np.diff(np.append(pairs.starts, len(pairs.left)))
    found = []
    tied = None
    for lane in range(left.shape[0]):
        sums = left[lane, pairs.left] + right[lane, pairs.right]
        if tied is not None:
            sums[~tied] = INFINITE
        best = np.minimum.reduceat(sums, pairs.starts)
        found.append(best)
        if lane + 1 < left.shape[0]:
            tied = sums == np.repeat(best, sizes)
    return settle(np.stack(found))


def _stepwise(sparse: Ints, other: Ints, shape: tuple[int, ...]) -> Ints:
    lanes = sparse.shape[0]
    found = infeasible(lanes, other.shape[1]).reshape(lanes, *shape)
    grid = other.reshape(lanes, *shape)
    for state in np.flatnonzero(sparse[0] < INFINITE):
        at = np.unravel_index(state, shape)
        into = (slice(None), *(slice(int(low), None) for low in at))
        part = (slice(None), *(slice(0, size - int(low)) for low, size in zip(at, shape, strict=True)))
        column = sparse[:, state].reshape(lanes, *([1] * len(shape)))
        sums = grid[part] + column
        target = found[into]
        np.copyto(target, sums, where=better(sums, target)[None])
    return settle(found.reshape(lanes, -1))


def halves(left: Ints, right: Ints, total: int, target: Ints, shape: tuple[int, ...]) -> tuple[int, int]:
    """States of `left` and `right` that add up to state `total` at cost `target` [lanes]; the largest left first."""
    goal = np.array(np.unravel_index(total, shape))
    box = np.indices(tuple(goal + 1)).reshape(len(shape), -1)[:, ::-1]
    first = np.ravel_multi_index(tuple(box), shape)
    second = np.ravel_multi_index(tuple(goal[:, None] - box), shape)
    hits = np.flatnonzero((left[:, first] + right[:, second] == target[:, None]).all(axis=0))
    return int(first[hits[0]]), int(second[hits[0]])
