"""Random state tables, and a kernel of the test's own that is loaded."""

from functools import cache
from math import prod

import numpy as np
from hypothesis import strategies as st

from solver.bound.arithmetic import Arithmetic, Check, Shape
from solver.bound.kernel import Kernel
from solver.bound.lanes import INFINITE, LIMIT
from solver.bound.pool import Pool
from solver.domain.snapshot import Ints

SHAPES = st.lists(st.sampled_from([1, 2, 2, 3, 4, 5, 7, 9]), max_size=4).map(tuple).filter(lambda it: prod(it) <= 400)


@st.composite
def pairs_of_tables(draw: st.DrawFn) -> tuple[tuple[int, ...], Ints, Ints]:
    """A box of up to four dimensions and two tables of one to three lanes over it, sparse or dense."""
    shape = draw(SHAPES)
    lanes = draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])
    left, right = (random_table(random, lanes, prod(shape), draw(shares)) for _ in range(2))
    return shape, left, right


def random_table(random: np.random.Generator, lanes: int, states: int, finite: float) -> Ints:
    """About that share of states is feasible; the lanes tie often, but for the last, which has the full range."""
    found = random.integers(-2, 3, (lanes, states))
    found[-1] = random.choice([1, LIMIT // 8], states) * random.integers(-3, 4, states)
    beyond = random.random(states) >= finite
    found[:, beyond] = 0
    found[0, beyond] = INFINITE
    return found


@cache
def loaded_kernel() -> Kernel | None:
    """The compiled kernel of the user's cache, or None where none can be had."""
    kernel = Kernel()
    kernel.prepare(patience=60)
    return kernel if kernel.status.compiled else None


def never() -> None:
    """A check that lets the work go on."""


def joined(worker: Arithmetic, left: Ints, right: Ints, shape: Shape, check: Check = never) -> Ints:
    """Two dense tables put together."""
    pool = Pool(len(left))
    worker.join(pool, shape, [(pool.put(left), pool.put(right))], check)
    return pool.get(2, left.shape[1])
