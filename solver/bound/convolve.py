"""Min-plus convolution of state tables, and the way back: which halves a sum was made of."""

from collections.abc import Callable
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


def by_numpy(left: Ints, right: Ints, shape: tuple[int, ...], check: Callable[[], None] | None = None) -> Ints:
    """[lanes, states] best cost of every sum of a state of `left` and one of `right`.

    All pairs in one sweep, or state by state; `check` is called in between, to raise when there is no time left.
    """
    pairs = pair_count(shape)
    sparse, other = (left, right) if _finite(left) <= _finite(right) else (right, left)
    if pairs > SWEEP_PAIRS or _finite(sparse) * STEP_PAIRS < pairs:
        return stepwise(sparse, other, shape, check)
    return sweep(left, right, pairs_of(shape))


def _finite(table: Ints) -> int:
    return int(np.count_nonzero(table[0] < INFINITE))


def sweep(left: Ints, right: Ints, pairs: Pairs) -> Ints:
    """All pairs at once, lane by lane among those that tie so far."""
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


def stepwise(sparse: Ints, other: Ints, shape: tuple[int, ...], check: Callable[[], None] | None = None) -> Ints:
    """Each finite state of `sparse` on all of `other` in turn."""
    lanes = sparse.shape[0]
    found = infeasible(lanes, other.shape[1]).reshape(lanes, *shape)
    grid = other.reshape(lanes, *shape)
    for state in np.flatnonzero(sparse[0] < INFINITE):
        if check is not None:
            check()
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
    goal = np.unravel_index(total, shape)
    lanes = len(left)
    into = (slice(None), *(slice(0, int(high) + 1) for high in goal))
    back = (slice(None), *(slice(int(high), None, -1) for high in goal))
    sums = left.reshape(lanes, *shape)[into] + right.reshape(lanes, *shape)[back]
    hits = (sums == target.reshape(lanes, *([1] * len(shape)))).all(axis=0)
    last = np.unravel_index(int(np.flatnonzero(hits)[-1]), hits.shape)
    first = int(np.ravel_multi_index(last, shape))
    return first, total - first
