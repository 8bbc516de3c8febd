"""What a domain adds to the cost of its children: its terms, its hole, and the states that a rule forbids."""

from collections.abc import Callable, Sequence

import numpy as np

from solver.bound.lanes import INFINITE, Lanes, infeasible, settle
from solver.compile.classes import NodeClass
from solver.compile.problem import Problem
from solver.domain.snapshot import Ints, Mask
from solver.terms.base import Term


class OwnCosts:
    """Tables of what domains of one problem add, by level, path and link.

    allowed(level, real, link): [states] that no rule forbids there. kept: what was computed for this gang shape before.
    """

    def __init__(
        self,
        problem: Problem,
        terms: Sequence[Term],
        lanes: Lanes,
        allowed: Callable[[int, bool, int], Mask],
        kept: dict[tuple[int, int, int], Ints],
    ) -> None:
        self._problem, self._lanes, self._allowed, self._kept = problem, lanes, allowed, kept
        self._slots = list(zip(terms, lanes.slots, strict=True))

    def of(self, level: int, bits: int, link: int) -> Ints:
        """[lanes, states] for a domain of `level` with path `bits` and such a link, infeasible where it may not be."""
        key = (level, bits, link)
        if key not in self._kept:
            table = np.zeros((self._lanes.count, self._problem.layout.spaces[level].size), dtype=np.int64)
            for term, (lane, weight) in self._slots:
                cost = term.cost(level, bits)
                if cost is not None:
                    table[lane] += weight * cost
            table[0, ~self._allowed(level, bool(bits >> level & 1), link)] = INFINITE
            if level < self._problem.tree.height:
                table[0, ~self._problem.layout.whole(level)] = INFINITE
            self._kept[key] = settle(table)
        return self._kept[key]

    def hole_weights(self) -> Ints:
        """[lanes] what one GPU of a domain's hole adds to every state with pods."""
        weights = np.zeros(self._lanes.count, dtype=np.int64)
        for term, (lane, weight) in self._slots:
            weights[lane] += weight * term.holes
        return weights

    def of_node(self, node: NodeClass) -> Ints:
        """[lanes, states] finished table of a node class."""
        assert node.fits is not None, "the layout was checked"
        table = infeasible(self._lanes.count, len(node.fits))
        table[0, node.fits] = 0
        table += self.of(self._problem.tree.height, node.bits, self._problem.link_of_node(node.bits))
        table[:, 1:] += (self.hole_weights() * counted_hole(self._problem.tree.height, node.bits, node.hole))[:, None]
        return settle(table)


def counted_hole(level: int, bits: int, hole: int) -> int:
    """The hole of a domain with path `bits`; none at the root and where nodes have no domain."""
    return hole if level and bits >> level & 1 else 0
