"""The procedures of kernel.c on the tables of a pool."""

import ctypes
from collections.abc import Sequence

import numpy as np

from solver.bound.arithmetic import Check, Domains, Shape
from solver.bound.pool import Pool
from solver.domain.snapshot import Ints

#: Pairs of states between two looks at the caller's budget: 10 to 50 ms.
CHUNK = 30_000_000
DONE, WORK_SPENT, ROOM_SPENT = range(3)

_NUMBER, _ARRAY = ctypes.c_int64, ctypes.c_void_p
_BOX = [_NUMBER, _NUMBER, _ARRAY]
_ARGUMENTS = {
    "huddle_scratch": _BOX,
    "huddle_join": [*_BOX, *[_ARRAY] * 2, *[_NUMBER] * 2, *[_ARRAY] * 3, _NUMBER, _ARRAY, _NUMBER, _ARRAY],
    "huddle_finish": [
        *[_NUMBER] * 3, *[_ARRAY] * 3, *[_NUMBER] * 2, *[_ARRAY] * 5, _NUMBER, *[_ARRAY] * 2,
    ],
    "huddle_trace": [*_BOX, *[_ARRAY] * 4, _NUMBER, *[_ARRAY] * 2, _NUMBER, _ARRAY],
}  # fmt: skip


class Native:
    """`Arithmetic` by a loaded library. Raises AttributeError when it is another one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, arguments in _ARGUMENTS.items():
            entry = getattr(library, name)
            entry.argtypes, entry.restype = arguments, _NUMBER
        self._library = library

    def takes(self, pool: Pool, shape: Shape) -> bool:
        """Whether the library can work with tables over the box `shape`; few boxes are too odd."""
        return bool(self._library.huddle_scratch(*self._box(pool, shape)) >= 0)

    def join(self, pool: Pool, shape: Shape, pairs: Sequence[tuple[int, int]], check: Check) -> None:
        """As in Arithmetic."""
        box = self._box(pool, shape)
        states, halves = int(np.prod(shape, dtype=np.int64)), np.array(pairs, dtype=np.int64).reshape(-1, 2).T.copy()
        scratch = np.empty(-(-self._library.huddle_scratch(*box) // 8), dtype=np.int64)
        progress = np.zeros(3, dtype=np.int64)
        pool.reserve(len(pairs))
        first, done, code = pool.count, 0, WORK_SPENT
        while code != DONE:
            check()
            address, size = pool.room(states)
            progress[2] = 0
            tables = (_at(pool.addresses), _at(pool.sizes), first, len(pairs), _at(halves[0]), _at(halves[1]))
            code = self._library.huddle_join(*box, *tables, address, size, _at(scratch), CHUNK, _at(progress))
            pool.halves[:, pool.count : first + int(progress[0])] = halves[:, done : int(progress[0])]
            pool.advance(int(progress[0]) - done, int(progress[2]))
            done = int(progress[0])

    def finish(self, pool: Pool, below: int, index: Ints, domains: Domains) -> None:
        """As in Arithmetic."""
        sources, holes = (np.array(each, dtype=np.int64) for each in (domains.sources, domains.holes))
        index, weights = (np.ascontiguousarray(each, dtype=np.int64) for each in (index, domains.weights))
        kept = {id(own): np.ascontiguousarray(own, dtype=np.int64) for own in domains.owns}
        owns = np.array([_at(kept[id(own)]) for own in domains.owns], dtype=np.int64)
        scratch = np.empty(pool.lanes * (below + len(index)), dtype=np.int64)
        progress = np.zeros(3, dtype=np.int64)
        pool.reserve(len(sources))
        first, done, code = pool.count, 0, ROOM_SPENT
        while code != DONE:
            address, size = pool.room(len(index))
            progress[2] = 0
            tables = (_at(pool.addresses), _at(pool.sizes), first, len(sources), _at(sources), _at(owns), _at(holes))
            code = self._library.huddle_finish(
                pool.lanes, below, len(index), _at(index), *tables, _at(weights), address, size, _at(scratch),
                _at(progress),
            )  # fmt: skip
            pool.advance(int(progress[0]) - done, int(progress[2]))
            done = int(progress[0])

    def trace(self, pool: Pool, shape: Shape, tops: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """As in Arithmetic."""
        tables, states = np.array(tops, dtype=np.int64).reshape(-1, 2).T.copy()
        most = int(np.sum(np.unravel_index(states, shape))) if shape else 0
        found = np.empty((most, 3), dtype=np.int64)
        many = self._library.huddle_trace(
            *self._box(pool, shape), _at(pool.addresses), _at(pool.sizes), *map(_at, pool.halves), len(tops),
            _at(tables), _at(states), most, _at(found),
        )  # fmt: skip
        assert many >= 0, "a table's cost is that of two of its halves"
        return [(position, table, state) for position, table, state in found[:many].tolist()]

    def _box(self, pool: Pool, shape: Shape) -> tuple[int, int, ctypes.Array[ctypes.c_int64]]:
        return pool.lanes, len(shape), (_NUMBER * len(shape))(*shape)


def _at(array: Ints) -> int:
    return array.ctypes.data
