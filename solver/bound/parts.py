"""Children of domains put together: each pair of tables joined once, so that a change leaves most of them alone."""

from collections.abc import Sequence

from solver.bound import kernel
from solver.bound.arithmetic import Check, Shape
from solver.bound.convolve import pair_count
from solver.bound.pool import Pool


class Parts:
    """Tables of a pool joined two by two, found by their halves. Joins wait until `run` does all of them at once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._found: dict[tuple[int, int], int] = {}
        self._waiting: list[tuple[int, int]] = []

    def together(self, kinds: Sequence[int], tables: Sequence[int]) -> int:
        """The table of all of `tables`, which belong to children of ascending `kinds`.

        Halves are split where the kinds' numbers differ in their highest bit, so that a changed child leaves all
        parts alone that do not contain it.
        """
        parts, heights = [tables[0]], list[int]()
        join, before = self.join, kinds[0]
        for kind, table in zip(kinds[1:], tables[1:], strict=True):
            height = (before ^ kind).bit_length()
            while heights and heights[-1] < height:
                heights.pop()
                right = parts.pop()
                parts[-1] = join(parts[-1], right)
            heights.append(height)
            parts.append(table)
            before = kind
        while len(parts) > 1:
            right = parts.pop()
            parts[-1] = join(parts[-1], right)
        return parts[0]

    def times(self, table: int, count: int) -> int:
        """The table of `count` alike children: half of them twice, and one more where the number is odd."""
        if count == 1:
            return table
        half = self.times(table, count // 2)
        twice = self.join(half, half)
        return self.join(twice, table) if count & 1 else twice

    def join(self, left: int, right: int) -> int:
        """The number that the join of two tables has, or will have."""
        pair = (left, right)
        found = self._found.get(pair)
        if found is None:
            found = self._found[pair] = self._pool.count + len(self._waiting)
            self._waiting.append(pair)
        return found

    def run(self, shape: Shape, check: Check) -> None:
        """Do the joins that wait; their tables are over the box `shape`. What `check` raises leaves those done."""
        first, pairs, self._waiting = self._pool.count, self._waiting, []
        if not pairs:
            return
        try:
            worker = kernel.arithmetic(self._pool, shape, len(pairs) * pair_count(shape))
            worker.join(self._pool, shape, pairs, check)
        finally:
            self._waiting = pairs[self._pool.count - first :]
            self.forget()

    def forget(self) -> None:
        """Drop the joins that wait."""
        for pair in self._waiting:
            del self._found[pair]
        self._waiting = []
