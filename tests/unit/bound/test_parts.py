"""Children of domains put together: what is joined with what, and that nothing is joined twice."""

import numpy as np
import pytest

from solver.bound.convolve import by_numpy
from solver.bound.parts import Parts
from solver.bound.pool import Pool
from solver.domain.snapshot import Ints
from tests.unit.bound.random_tables import never, random_table

SHAPE = (3, 4)


class Interrupted(Exception):
    """Stands for the end of a time budget."""


@pytest.fixture
def pool() -> Pool:
    """Eight random tables."""
    found, random = Pool(2), np.random.default_rng(1)
    for _ in range(8):
        found.put(random_table(random, 2, 12, 0.6) >> 9)
    return found


def made_of(pool: Pool, table: int) -> object:
    """The halves of a table, and theirs."""
    left, right = pool.halves[:, table].tolist()
    return table if left < 0 else (made_of(pool, left), made_of(pool, right))


def test_halves_are_split_at_the_highest_bit(pool: Pool) -> None:
    """Kinds 2, 5, 6 and 12 as (2, (5, 6)) and 12; one child alone is itself."""
    parts = Parts(pool)
    whole = parts.together([2, 5, 6, 12], [0, 1, 2, 3])
    parts.run(SHAPE, never)
    assert made_of(pool, whole) == ((0, (1, 2)), 3)
    assert parts.together([9], [4]) == 4


def test_a_changed_child_leaves_the_other_parts_alone(pool: Pool) -> None:
    """Of seven joins three are made anew; when all is as it was, none."""
    parts = Parts(pool)
    parts.together(range(8), range(8))
    parts.run(SHAPE, never)
    assert pool.count == 8 + 7
    parts.together(range(8), [0, 1, 2, 3, 4, 0, 6, 7])
    parts.run(SHAPE, never)
    assert pool.count == 8 + 7 + 3
    parts.together(range(8), range(8))
    parts.run(SHAPE, never)
    assert pool.count == 8 + 7 + 3


@pytest.mark.parametrize(("count", "joins"), [(1, 0), (2, 1), (3, 2), (8, 3), (11, 5)])
def test_alike_children_are_doubled(pool: Pool, count: int, joins: int) -> None:
    """As many joins as the number has bits, and one more for each bit set after the first."""
    parts = Parts(pool)
    found = parts.times(3, count)
    parts.run(SHAPE, never)
    assert pool.count == 8 + joins
    one = pool.get(3, 12)
    known: Ints = one
    for _ in range(count - 1):
        known = by_numpy(known, one, SHAPE)
    assert np.array_equal(pool.get(found, 12), known)


def test_joins_that_were_not_done_are_forgotten(pool: Pool) -> None:
    """After an interruption the same parts can be asked for again."""
    parts = Parts(pool)

    def interrupt() -> None:
        raise Interrupted

    parts.together(range(3), range(3))
    with pytest.raises(Interrupted):
        parts.run(SHAPE, interrupt)
    pool.put(pool.get(0, 12))
    whole = parts.together(range(3), range(3))
    parts.run(SHAPE, never)
    assert made_of(pool, whole) == ((0, 1), 2)
