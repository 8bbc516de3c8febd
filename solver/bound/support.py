"""Which states of which domains some placement within a limit uses: the tables' way up, and the way back down.

inside: the table of a domain, the least cost of all that is in it. beside: the least cost of everything else when the
domain is in a state and the root in the one wanted. inside + beside is the least cost of any placement with the domain
in that state, exactly; so a state whose sum is above a limit is in no placement within it.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from solver.bound import kernel
from solver.bound.convolve import pair_count
from solver.bound.lanes import INFINITE, better, infeasible, settle
from solver.bound.pool import Pool
from solver.bound.tables import TreeTables
from solver.compile.links import NO_LINK
from solver.domain.snapshot import Ints

Check = Callable[[], None]


class Support:
    """Costs through every state of every domain that can hold pods, for one state of the root.

    The tables are those of terms without holes, and no link is limited. Raises OutOfTime, TreeTooLarge.
    """

    def __init__(self, tables: TreeTables, root: int) -> None:
        self.tables, self.problem = tables, tables.problem
        height = self.problem.tree.height
        wanted = infeasible(tables.pool.lanes, self.problem.layout.spaces[0].size)
        wanted[:, root] = 0
        self._beside: list[dict[int, Ints]] = [{0: wanted}]
        for level in range(height):
            self._beside.append(self._below(level))
        self._through: dict[tuple[int, int, int], Ints] = {}

    def domains(self) -> Iterator[tuple[int, int]]:
        """(level, domain) of all domains that can hold pods, the root first."""
        for level, found in enumerate(self._beside):
            yield from ((level, domain) for domain in found)

    def through(self, level: int, domain: int) -> Ints:
        """[lanes, states] the least cost of any placement in which the domain is in a state."""
        beside, number = self._beside[level][domain], self._table(level, domain)
        key = (level, number, id(beside))
        if key not in self._through:
            inside = self.tables.pool.get(number, self.problem.layout.spaces[level].size)
            self._through[key] = settle(inside + beside)
        return self._through[key]

    def within(self, level: int, domain: int, limit: Ints) -> Ints:
        """States of a domain that some placement of at most `limit` [lanes] uses, ascending."""
        costs = self.through(level, domain)
        return np.flatnonzero(~better(limit[:, None], costs) & (costs[0] < INFINITE))

    def beyond(self, limit: Ints) -> Ints | None:
        """[lanes] the least cost above `limit` of a placement through any state; None when there is none."""
        least: tuple[int, ...] | None = None
        for level, domain in self.domains():
            costs = self.through(level, domain)
            above = costs[:, better(limit[:, None], costs) & (costs[0] < INFINITE)]
            if above.shape[1]:
                one = tuple(above[:, np.lexsort(above[::-1])[0]].tolist())
                least = one if least is None else min(least, one)
        return None if least is None else np.array(least, dtype=np.int64)

    def _table(self, level: int, domain: int) -> int:
        return self.tables.kinds[level][int(self.tables.kind_of[level][domain])].table

    def _below(self, level: int) -> dict[int, Ints]:
        """The same one level further down; children that are alike in domains that are alike share theirs."""
        parents, kind_of = self.problem.tree.parent[level + 1], self.tables.kind_of[level + 1]
        children: dict[int, list[int]] = {}
        for child in np.flatnonzero(kind_of >= 0).tolist():
            children.setdefault(int(parents[child]), []).append(child)
        found: dict[int, Ints] = {}
        known: dict[tuple[object, ...], dict[int, Ints]] = {}
        for domain, beside in self._beside[level].items():
            kinds = [int(kind_of[child]) for child in children.get(domain, ())]
            bits = int(self.problem.tree.path_bits[level][domain])
            key = (bits, id(beside), tuple(sorted(kinds)))
            if key not in known:
                known[key] = self._split(level, self._inner(level, bits, beside), sorted(kinds))
            found.update(zip(children.get(domain, ()), (known[key][kind] for kind in kinds), strict=True))
        return found

    def _inner(self, level: int, bits: int, beside: Ints) -> Ints:
        """[lanes, states of the children's space] what is beside the children together: the domain's own cost too."""
        costs = settle(beside + self.tables.own_costs.of(level, bits, NO_LINK))
        index = self.tables.index(level)
        order = np.lexsort(costs[::-1])
        states, first = np.unique(index[order], return_index=True)
        inner = infeasible(len(costs), self.problem.layout.spaces[level + 1].size)
        inner[:, states] = costs[:, order[first]]
        return inner

    def _split(self, level: int, inner: Ints, kinds: Sequence[int]) -> dict[int, Ints]:
        """By kind of child what is beside one such: the domain with all other children.

        A state t of all children and states r of the others leave t − r: with t counted from the top that is a sum.
        """
        space, check = self.problem.layout.spaces[level + 1], self.tables.budget.check
        tables = [self.tables.pool.get(self.tables.kinds[level + 1][kind].table, space.size) for kind in kinds]
        after = [np.ascontiguousarray(inner[:, ::-1])]
        for table in reversed(tables[1:]):
            after.append(_joined(after[-1], table, space.shape, check))
        after.reverse()
        before = infeasible(len(inner), space.size)
        before[:, 0] = 0
        found: dict[int, Ints] = {}
        for at, (kind, table) in enumerate(zip(kinds, tables, strict=True)):
            if kind not in found:
                found[kind] = np.ascontiguousarray(_joined(before, after[at], space.shape, check)[:, ::-1])
            if at + 1 < len(tables):
                before = _joined(before, table, space.shape, check)
        return found


def _joined(left: Ints, right: Ints, shape: tuple[int, ...], check: Check) -> Ints:
    """[lanes, states] best cost of every sum of a state of each."""
    check()
    pool = Pool(len(left))
    pair = (pool.put(left), pool.put(right))
    kernel.arithmetic(pool, shape, pair_count(shape)).join(pool, shape, [pair], check)
    return pool.get(2, left.shape[1])
