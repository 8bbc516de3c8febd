"""What is computed with the tables of a pool, in numpy; native.py does the same in C."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from solver.bound.convolve import by_numpy, halves
from solver.bound.lanes import settle
from solver.bound.pool import NOT_JOINED, Pool
from solver.domain.snapshot import Ints

Shape = tuple[int, ...]
Check = Callable[[], None]


@dataclass(frozen=True)
class Domains:
    """Domains whose joined children are to be finished.

    sources: table of the joined children. owns: what each adds to every state, [lanes, states], infeasible where a
    rule forbids it. holes: what `weights` [lanes] are multiplied with and added to every state but the empty one.
    """

    sources: Sequence[int]
    owns: Sequence[Ints]
    holes: Sequence[int]
    weights: Ints


class Arithmetic(Protocol):
    """The three procedures. `check` is called every 50 ms or so, to raise when there is no time left."""

    def join(self, pool: Pool, shape: Shape, pairs: Sequence[tuple[int, int]], check: Check) -> None:
        """Put pairs of tables over the box `shape` together, in order: best cost of every sum of two states.

        The results become the pool's next tables; a pair may consist of earlier results.
        """

    def finish(self, pool: Pool, below: int, index: Ints, domains: Domains) -> None:
        """Tables of domains: state s from state index[s] of the `below` states that the source has.

        They become the pool's next tables.
        """

    def trace(self, pool: Pool, shape: Shape, tops: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """What the best cost of each (table, state) in `tops` comes from: (position in tops, table, state).

        Only tables that were not joined, in states other than 0; of several best ways the one with the largest left
        half at every join.
        """


class Reference:
    """The three procedures in numpy."""

    def join(self, pool: Pool, shape: Shape, pairs: Sequence[tuple[int, int]], check: Check) -> None:
        """As in Arithmetic."""
        states = int(np.prod(shape, dtype=np.int64))
        for pair in pairs:
            check()
            left, right = (pool.get(table, states) for table in pair)
            table = pool.put(by_numpy(left, right, shape, check))
            pool.halves[:, table] = pair  # only now: put() may have moved the array

    def finish(self, pool: Pool, below: int, index: Ints, domains: Domains) -> None:
        """As in Arithmetic."""
        for source, own, hole in zip(domains.sources, domains.owns, domains.holes, strict=True):
            table = pool.get(source, below)[:, index] + own
            table[:, 1:] += (domains.weights * hole)[:, None]
            pool.put(settle(table))

    def trace(self, pool: Pool, shape: Shape, tops: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """As in Arithmetic."""
        return [(position, *part) for position, top in enumerate(tops) for part in self._trace(pool, shape, *top)]

    def _trace(self, pool: Pool, shape: Shape, table: int, state: int) -> list[tuple[int, int]]:
        if not state:
            return []
        left, right = pool.halves[:, table].tolist()
        if left == NOT_JOINED:
            return [(table, state)]
        states = int(np.prod(shape, dtype=np.int64))
        target = pool.get(table, states)[:, state]
        first, second = halves(pool.get(left, states), pool.get(right, states), state, target, shape)
        return self._trace(pool, shape, left, first) + self._trace(pool, shape, right, second)
