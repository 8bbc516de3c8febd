"""The convolution of whole tables in numba, for one and two lanes; only for measuring."""

import numba
import numpy as np

from solver.bound.lanes import INFINITE
from solver.domain.snapshot import Ints


@numba.njit(cache=True, nogil=True)
def spans(table: Ints, last: int) -> Ints:
    """[rows, 2] finite span of each row of lane 0."""
    rows = table.shape[1] // last
    found = np.zeros((rows, 2), dtype=np.int64)
    for row in range(rows):
        for x in range(last):
            if table[0, row * last + x] < INFINITE:
                if found[row, 1] == 0:
                    found[row, 0] = x
                found[row, 1] = x + 1
    return found


@numba.njit(cache=True, nogil=True)
def one_lane(outer: Ints, inner: Ints, best: Ints, sizes: Ints, counts: Ints, last: int) -> None:
    """Lower `best` to outer ⊕ inner where that is better; sizes, counts[row]: of all dimensions but the last."""
    found = spans(inner, last)
    for state in range(outer.shape[1]):
        if outer[0, state] >= INFINITE:
            continue
        row, x = state // last, state % last
        for other in range(found.shape[0]):
            fits = found[other, 1] > 0
            for dim in range(sizes.shape[0]):
                fits &= counts[row, dim] + counts[other, dim] < sizes[dim]
            if fits:
                low, high = found[other, 0], min(found[other, 1], last - x)
                cost, base, into = outer[0, state], other * last, other * last + state
                cells, target = inner[0, base + low : base + high], best[0, into + low : into + high]
                for at in range(len(cells)):
                    target[at] = min(target[at], cells[at] + cost)


@numba.njit(cache=True, nogil=True)
def two_lanes(outer: Ints, inner: Ints, best: Ints, sizes: Ints, counts: Ints, last: int) -> None:
    """Lower `best` to outer ⊕ inner where that is better; sizes, counts[row]: of all dimensions but the last."""
    found = spans(inner, last)
    for state in range(outer.shape[1]):
        if outer[0, state] >= INFINITE:
            continue
        row, x = state // last, state % last
        for other in range(found.shape[0]):
            fits = found[other, 1] > 0
            for dim in range(sizes.shape[0]):
                fits &= counts[row, dim] + counts[other, dim] < sizes[dim]
            if fits:
                low, high = found[other, 0], min(found[other, 1], last - x)
                cost, second, base, into = outer[0, state], outer[1, state], other * last, other * last + state
                cells, target = inner[0, base + low : base + high], best[0, into + low : into + high]
                cells_low, target_low = inner[1, base + low : base + high], best[1, into + low : into + high]
                for at in range(len(cells)):
                    total, rest = cells[at] + cost, cells_low[at] + second
                    old, old_rest = target[at], target_low[at]
                    take = (total < old) | ((total == old) & (rest < old_rest))
                    target[at] = total if take else old
                    target_low[at] = rest if take else old_rest


def convolve(left: Ints, right: Ints, shape: tuple[int, ...]) -> Ints:
    """As in solver.bound.convolve."""
    last = shape[-1]
    sizes = np.array(shape[:-1], dtype=np.int64)
    counts = np.indices(shape[:-1], dtype=np.int64).reshape(len(sizes), -1).T.copy()
    best = np.zeros_like(left)
    best[0] = INFINITE
    if np.count_nonzero(left[0] < INFINITE) > np.count_nonzero(right[0] < INFINITE):
        left, right = right, left
    (one_lane if len(left) == 1 else two_lanes)(left, right, best, sizes, counts, last)
    beyond = best[0] >= INFINITE // 2
    best[:, beyond] = 0
    best[0, beyond] = INFINITE
    return best
