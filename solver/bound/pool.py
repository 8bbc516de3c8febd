"""State tables kept side by side in memory: their finite states only, found by number."""

import ctypes

import numpy as np

from solver.bound.lanes import INFINITE, infeasible
from solver.compile.layout import TreeTooLarge
from solver.domain.snapshot import Codes, Ints

#: Most memory the tables of one gang shape may take, in bytes.
MAX_BYTES = 512 * 2**20
#: Memory is taken in pieces, each twice as large as the one before, in bytes.
FIRST_PIECE, LARGEST_PIECE = 2**14, 2**24
STATE_BYTES, COST_BYTES = 4, 8
NOT_JOINED = -1


class Pool:
    """Tables by number; kernel.c works on the same memory.

    A table is its number of finite states (`sizes`) and, from `addresses` on, these states ascending as int32, filled
    up to a multiple of 8 bytes, then their costs [lanes, sizes] as int64. halves: [2, tables] the two tables that one
    was joined from, NOT_JOINED for others. count: number of tables. Raises TreeTooLarge beyond `max_bytes`.
    """

    def __init__(self, lanes: int, max_bytes: int | None = None) -> None:
        self.lanes, self.max_bytes = lanes, MAX_BYTES if max_bytes is None else max_bytes
        self.count = 0
        self.addresses, self.sizes = np.zeros(64, dtype=np.int64), np.zeros(64, dtype=np.int64)
        self.halves = np.full((2, 64), NOT_JOINED, dtype=np.int64)
        self._pieces: list[Ints] = []
        self._piece_bytes = self._used = 0
        self.bytes = 0

    def most_bytes(self, states: int) -> int:
        """Room that a table over so many states can take at most."""
        return states * (STATE_BYTES + self.lanes * COST_BYTES) + COST_BYTES

    def room(self, states: int) -> tuple[int, int]:
        """Address and bytes of free memory, enough for any table over so many states."""
        needed = self.most_bytes(states)
        if self._piece_bytes - self._used < needed:
            size = max(needed, min(LARGEST_PIECE, 2 * self._piece_bytes), FIRST_PIECE)
            if self.bytes + size > self.max_bytes:
                raise TreeTooLarge
            self._pieces.append(np.empty(-(-size // COST_BYTES), dtype=np.int64))
            self._piece_bytes, self._used = self._pieces[-1].nbytes, 0
            self.bytes += self._piece_bytes
        return self._pieces[-1].ctypes.data + self._used, self._piece_bytes - self._used

    def reserve(self, tables: int) -> None:
        """Make place for the numbers of so many more tables."""
        if self.count + tables > len(self.sizes):
            more = np.zeros(max(len(self.sizes), tables), dtype=np.int64)
            self.addresses, self.sizes = np.append(self.addresses, more), np.append(self.sizes, more)
            self.halves = np.append(self.halves, np.full((2, len(more)), NOT_JOINED), axis=1)

    def advance(self, tables: int, used: int) -> None:
        """So many tables, in so many bytes, were written behind the last, their addresses and sizes too."""
        self.count += tables
        self._used += used

    def put(self, table: Ints) -> int:
        """Keep a dense [lanes, states] table; its number."""
        self.reserve(1)
        address, _ = self.room(table.shape[1])
        finite = np.flatnonzero(table[0] < INFINITE)
        self.addresses[self.count], self.sizes[self.count] = address, len(finite)
        states, costs = self._views(self.count)
        states[:] = finite
        costs[:] = table[:, finite]
        self.advance(1, _padded(len(finite)) * STATE_BYTES + costs.nbytes)
        return self.count - 1

    def get(self, number: int, states: int) -> Ints:
        """Dense [lanes, states] copy of a table."""
        dense = infeasible(self.lanes, states)
        finite, costs = self._views(number)
        dense[:, finite] = costs
        return dense

    def holds_nothing_for_free(self, number: int) -> bool:
        """Whether state 0 is finite: what the table stands for may stay without pods."""
        states, _ = self._views(number)
        return bool(len(states)) and int(states[0]) == 0

    def _views(self, number: int) -> tuple[Codes, Ints]:
        """States and costs of a table, in place."""
        address, size = int(self.addresses[number]), int(self.sizes[number])
        costs_at = _padded(size) * STATE_BYTES
        memory = memoryview((ctypes.c_char * (costs_at + self.lanes * size * COST_BYTES)).from_address(address))
        states = np.frombuffer(memory, dtype=np.int32, count=size)
        costs = np.frombuffer(memory, dtype=np.int64, offset=costs_at, count=self.lanes * size)
        return states, costs.reshape(self.lanes, size)


def _padded(states: int) -> int:
    return states + states % 2
