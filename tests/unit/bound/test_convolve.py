"""One convolution, two ways: in a sweep and state by state; and the way back."""

import numpy as np
import pytest
from hypothesis import example, given, settings

from solver.bound.convolve import by_numpy, halves, pair_count, pairs_of, stepwise, sweep
from solver.bound.lanes import INFINITE, infeasible
from solver.domain.snapshot import Ints
from tests.unit.bound.random_tables import pairs_of_tables, random_table

Case = tuple[tuple[int, ...], Ints, Ints]
NOTHING = infeasible(2, 12), infeasible(2, 12)


class Interrupted(Exception):
    """Stands for the end of a time budget."""


@settings(deadline=None)
@given(pairs_of_tables())
@example(((3, 4), *NOTHING))
def test_sweep_and_steps_agree(case: Case) -> None:
    """The reference is two programs."""
    shape, left, right = case
    known = sweep(left, right, pairs_of(shape))
    for found in (stepwise(left, right, shape), stepwise(right, left, shape), by_numpy(left, right, shape)):
        assert np.array_equal(found, known)


def test_a_long_convolution_can_be_interrupted() -> None:
    """The check is made several times, and what it raises goes through."""
    random = np.random.default_rng(5)
    left, right = (random_table(random, 2, 40 * 30, 1.0) for _ in range(2))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        by_numpy(left, right, (40, 30), check)
    assert calls == 4


@settings(deadline=None)
@given(pairs_of_tables())
def test_halves(case: Case) -> None:
    """They add up to the state at the cost asked for, and no larger left half does."""
    shape, left, right = case
    best = by_numpy(left, right, shape)
    pairs = pairs_of(shape)
    assert len(pairs.left) == pair_count(shape)
    for total in np.flatnonzero(best[0] < INFINITE).tolist():
        first, second = halves(left, right, total, best[:, total], shape)
        of_total = slice(pairs.starts[total], [*pairs.starts, len(pairs.left)][total + 1])
        lefts, rights = pairs.left[of_total], pairs.right[of_total]
        hits = (left[:, lefts] + right[:, rights] == best[:, total, None]).all(axis=0)
        assert (first, second) == (lefts[hits][0], rights[hits][0])
