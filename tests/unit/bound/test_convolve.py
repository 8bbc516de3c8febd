"""One convolution, three ways: in a sweep, state by state, and compiled; and the way back."""

import numpy as np
import pytest
from hypothesis import example, given, settings

from solver.bound import kernel as switch
from solver.bound.convolve import by_numpy, convolve, halves, pair_count, pairs_of, stepwise, sweep
from solver.bound.kernel import Kernel
from solver.bound.lanes import INFINITE, infeasible
from solver.domain.snapshot import Ints
from tests.unit.bound.random_tables import loaded_kernel, pairs_of_tables, random_table

Case = tuple[tuple[int, ...], Ints, Ints]
NOTHING = infeasible(2, 12), infeasible(2, 12)


class Interrupted(Exception):
    """Stands for the end of a time budget."""


@pytest.fixture
def compiled() -> Kernel:
    """A kernel that is loaded."""
    kernel = loaded_kernel()
    if kernel is None:
        pytest.skip("no kernel can be compiled here")
    return kernel


def never() -> None:
    """A check that lets the work go on."""


@settings(deadline=None)
@given(pairs_of_tables())
@example(((3, 4), *NOTHING))
def test_sweep_and_steps_agree(case: Case) -> None:
    """The reference is two programs."""
    shape, left, right = case
    known = sweep(left, right, pairs_of(shape))
    for found in (stepwise(left, right, shape), stepwise(right, left, shape), by_numpy(left, right, shape)):
        assert np.array_equal(found, known)


def test_the_kernel_agrees(compiled: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one go and in pieces as small as they get, bit by bit."""
    monkeypatch.setattr("solver.bound.kernel.CHUNK", 1)

    @settings(deadline=None)
    @given(pairs_of_tables())
    @example(((3, 4), *NOTHING))
    def agree(case: Case) -> None:
        shape, left, right = case
        known = sweep(left, right, pairs_of(shape))
        for check in (None, never):
            found = compiled.convolve(left, right, shape, 0, check)
            assert found is not None
            assert found.dtype == known.dtype
            assert np.array_equal(found, known)

    agree()


@pytest.mark.parametrize(
    "shape", [(700,), (2, 300), (300, 2), (1, 90, 1, 3, 1), (2,) * 9, (1,) * 70, (1,) * 70 + (40, 5), (33, 17)]
)
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_odd_boxes(compiled: Kernel, shape: tuple[int, ...], lanes: int) -> None:
    """Long, flat and many-sided boxes."""
    random = np.random.default_rng(lanes)
    states = int(np.prod(shape))
    left, right = random_table(random, lanes, states, 0.2), random_table(random, lanes, states, 0.9)
    found = compiled.convolve(left, right, shape, 0)
    assert found is not None
    assert np.array_equal(found, stepwise(left, right, shape) if len(shape) < 60 else by_sorting(left, right, shape))


def by_sorting(left: Ints, right: Ints, shape: tuple[int, ...]) -> Ints:
    """Reference for more dimensions than numpy has: without those of a single value."""
    return stepwise(left, right, tuple(size for size in shape if size > 1))


def test_tables_need_not_lie_in_order(compiled: Kernel) -> None:
    """Columns picked out of another table are laid out lane last."""
    random = np.random.default_rng(3)
    left, right = (np.asfortranarray(random_table(random, 2, 35, 0.7)) for _ in range(2))
    assert np.array_equal(compiled.convolve(left, right, (5, 7), 0), by_numpy(left, right, (5, 7)))


def test_the_switch() -> None:
    """Off means numpy; on again, the kernel may be used; the table is the same."""
    random = np.random.default_rng(4)
    left, right = (random_table(random, 1, 33 * 9, 1.0) for _ in range(2))
    before = convolve(left, right, (33, 9))
    switch.use_kernel(False)
    try:
        assert str(switch.status()) == "numpy: the kernel is switched off"
        assert np.array_equal(convolve(left, right, (33, 9)), before)
    finally:
        switch.use_kernel(True)
    assert switch.status().reason != "the kernel is switched off"


@pytest.mark.parametrize("in_c", [True, False])
def test_a_long_convolution_can_be_interrupted(in_c: bool, monkeypatch: pytest.MonkeyPatch, compiled: Kernel) -> None:
    """The check is made several times, and what it raises goes through."""
    monkeypatch.setattr("solver.bound.kernel.CHUNK", 10_000)
    random = np.random.default_rng(5)
    left, right = (random_table(random, 2, 40 * 30, 1.0) for _ in range(2))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        compiled.convolve(left, right, (40, 30), 0, check) if in_c else by_numpy(left, right, (40, 30), check)
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
