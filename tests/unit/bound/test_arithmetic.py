"""Tables of a pool joined, finished and traced: the compiled procedures give what numpy gives, bit by bit."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.bound import kernel as switch
from solver.bound import native as module
from solver.bound.arithmetic import Arithmetic, Domains, Reference
from solver.bound.convolve import by_numpy, stepwise
from solver.bound.lanes import INFINITE, infeasible
from solver.bound.native import Native
from solver.bound.pool import NOT_JOINED, Pool
from solver.compile.layout import TreeTooLarge
from solver.domain.snapshot import Ints
from tests.unit.bound.random_tables import SHAPES, joined, loaded_kernel, never, pairs_of_tables, random_table

Case = tuple[tuple[int, ...], Ints, Ints]


class Interrupted(Exception):
    """Stands for the end of a time budget."""


@pytest.fixture
def native() -> Native:
    """The compiled procedures."""
    kernel = loaded_kernel()
    found = kernel.native(0) if kernel else None
    if found is None:
        pytest.skip("no kernel can be compiled here")
    return found


@st.composite
def forests(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Ints], list[tuple[int, int]]]:
    """A box, a few tables over it, and joins of these and of earlier results."""
    shape, lanes = draw(SHAPES), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    tables = [random_table(random, lanes, prod(shape), random.choice([0.05, 0.3, 1.0])) for _ in range(4)]
    for table in tables:
        table[-1, table[0] < INFINITE] >>= 12  # sums of sums stay in range
    pairs = [(int(random.integers(at)), int(random.integers(at))) for at in range(4, draw(st.integers(4, 12)))]
    return shape, tables, pairs


def filled(worker: Arithmetic, tables: list[Ints], shape: tuple[int, ...], pairs: list[tuple[int, int]]) -> Pool:
    """A pool of these tables and joins."""
    pool = Pool(len(tables[0]))
    for table in tables:
        pool.put(table)
    worker.join(pool, shape, pairs, never)
    return pool


def content(pool: Pool, states: int) -> list[object]:
    """All tables, and what each was joined from."""
    return [(pool.get(at, states).tolist(), pool.halves[:, at].tolist()) for at in range(pool.count)]


@pytest.mark.parametrize("chunk", [1, module.CHUNK])
def test_joins_agree(native: Native, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one go and in pieces as small as they get."""
    monkeypatch.setattr(module, "CHUNK", chunk)

    @settings(deadline=None, max_examples=100)
    @given(forests())
    def agree(case: tuple[tuple[int, ...], list[Ints], list[tuple[int, int]]]) -> None:
        shape, tables, pairs = case
        known = filled(Reference(), tables, shape, pairs)
        assert content(filled(native, tables, shape, pairs), prod(shape)) == content(known, prod(shape))

    agree()


def test_one_join_is_a_convolution(native: Native) -> None:
    """Of the reference and of the kernel, also with tables in which nothing fits."""

    @settings(deadline=None)
    @given(pairs_of_tables())
    def agree(case: Case) -> None:
        shape, left, right = case
        known = by_numpy(left, right, shape)
        for worker in (native, Reference()):
            assert np.array_equal(joined(worker, left, right, shape), known)

    agree()
    nothing = infeasible(2, 12)
    assert np.array_equal(joined(native, nothing, nothing, (3, 4)), nothing)


@pytest.mark.parametrize(
    "shape", [(700,), (2, 300), (300, 2), (1, 90, 1, 3, 1), (2,) * 9, (1,) * 60, (1,) * 60 + (40, 5), (33, 17)]
)
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_odd_boxes(native: Native, shape: tuple[int, ...], lanes: int) -> None:
    """Long, flat and many-sided boxes."""
    random = np.random.default_rng(lanes)
    left, right = random_table(random, lanes, prod(shape), 0.2), random_table(random, lanes, prod(shape), 0.9)
    known = stepwise(left, right, tuple(size for size in shape if size > 1))
    assert np.array_equal(joined(native, left, right, shape), known)


def test_boxes_too_odd_are_left_to_numpy(native: Native) -> None:
    """Their coordinates do not fit a word of 64 bits."""
    pool = Pool(1)
    assert native.takes(pool, (2,) * 33)
    assert not native.takes(pool, (2,) * 34)
    assert isinstance(switch.arithmetic(pool, (2,) * 34, 0), Reference)


@settings(deadline=None)
@given(forests(), st.integers(0, 1 << 32))
def test_finished_tables_agree(case: tuple[tuple[int, ...], list[Ints], list[tuple[int, int]]], seed: int) -> None:
    """Picked states, each with its own cost and the hole's, forbidden ones without."""
    kernel = loaded_kernel()
    native = kernel.native(0) if kernel else None
    shape, tables, _ = case
    below, lanes, random = prod(shape), len(tables[0]), np.random.default_rng(seed)
    index = np.append(0, np.sort(random.integers(0, below, 5)))
    owns = [random_table(random, lanes, len(index), share) for share in (0.6, 1.0)]
    weights = random.integers(0, 9, lanes)
    domains = Domains([0, 1, 2, 3, 0], [owns[0], owns[1], owns[1], owns[0], owns[1]], [3, 1, 4, 0, 5], weights)
    known, found = filled(Reference(), tables, shape, []), filled(Reference(), tables, shape, [])
    Reference().finish(known, below, index, domains)
    (native or Reference()).finish(found, below, index, domains)
    for at, (source, own, hole) in enumerate(zip(domains.sources, domains.owns, domains.holes, strict=True), 4):
        table = known.get(at, len(index))
        assert np.array_equal(found.get(at, len(index)), table)
        for state, place in enumerate(index):
            parts = tables[source][:, place] + own[:, state] + (weights * hole if state else 0)
            fits = max(tables[source][0, place], own[0, state]) < INFINITE
            assert table[:, state].tolist() == (parts.tolist() if fits else [INFINITE, *[0] * (lanes - 1)])


def test_traces_agree(native: Native) -> None:
    """The parts add up to the state at its cost, and are those the reference finds."""

    @settings(deadline=None, max_examples=60)
    @given(forests())
    def agree(case: tuple[tuple[int, ...], list[Ints], list[tuple[int, int]]]) -> None:
        shape, tables, pairs = case
        pool = filled(Reference(), tables, shape, pairs)
        states = prod(shape)
        tops = [
            (table, state)
            for table in range(pool.count)
            for state in np.flatnonzero(pool.get(table, states)[0] < INFINITE)[-3:].tolist()
        ]
        found = native.trace(pool, shape, tops)
        assert found == Reference().trace(pool, shape, tops)
        for at, (_, state) in enumerate(tops):
            assert sum(part for position, _, part in found if position == at) == state
        assert all(pool.halves[0, table] == NOT_JOINED for _, table, _ in found)

    agree()


def test_a_long_join_can_be_interrupted(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is made several times, what it raises goes through, and what was done before stays."""
    monkeypatch.setattr(module, "CHUNK", 10_000)
    random = np.random.default_rng(5)
    pool = Pool(2)
    small, large = (pool.put(random_table(random, 2, 40 * 30, share)) for share in (0.0, 1.0))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        native.join(pool, (40, 30), [(small, large), (large, large)], check)
    assert (calls, pool.count) == (4, 3)
    pool.put(infeasible(2, 5))
    assert pool.halves[:, 2:4].T.tolist() == [[small, large], [NOT_JOINED] * 2]


def test_a_pool_stays_within_its_memory() -> None:
    """What it says it holds is what its pieces take; the piece too much is not taken."""
    pool = Pool(1, max_bytes=100_000)
    table = np.zeros((1, 500), dtype=np.int64)

    def fill() -> None:
        while True:
            pool.put(table)

    with pytest.raises(TreeTooLarge):
        fill()
    assert 5 < pool.count <= pool.bytes // (500 * 12)
    assert pool.bytes <= 100_000
    assert all(np.array_equal(pool.get(at, 500), table) for at in range(pool.count))


def test_the_switch() -> None:
    """Off means numpy; on again, the kernel may be used; the table is the same."""
    random = np.random.default_rng(4)
    left, right = (random_table(random, 1, 33 * 9, 1.0) for _ in range(2))
    switch.use_kernel(False)
    try:
        assert str(switch.status()) == "numpy: the kernel is switched off"
        worker = switch.arithmetic(Pool(1), (33, 9), 1 << 40)
        assert isinstance(worker, Reference)
        assert np.array_equal(joined(worker, left, right, (33, 9)), by_numpy(left, right, (33, 9)))
    finally:
        switch.use_kernel(True)
    assert switch.status().reason != "the kernel is switched off"


def test_a_pool_grows_while_numpy_joins() -> None:
    """Far more joins than a pool starts with room for: each remembers its halves."""
    random = np.random.default_rng(1)
    pairs = [(at - 1, at % 3) for at in range(3, 200)]
    pool = filled(Reference(), [random_table(random, 2, 6, 0.5) for _ in range(3)], (2, 3), pairs)
    assert pool.halves[:, 3 : pool.count].T.tolist() == [list(pair) for pair in pairs]
