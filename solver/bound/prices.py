"""Prices for merged tables: a first guess from the gang's proportions, then steps along the surplus of each role."""

from collections.abc import Sequence

import numpy as np

from solver.bound.merged import Prices, Relaxed
from solver.bound.projection import Projection
from solver.bound.vectors import VectorTables, costs_of
from solver.compile.listing import listed
from solver.domain.snapshot import Ints
from solver.terms.base import Term

#: How much of a surplus is remembered a step later; what is left of the pace after a step in vain, and one too far.
FORGETTING, SLOWDOWN, BACKTRACK = 0.9, 0.85, 0.5
#: Part of the gap that a step may lose before it is taken back.
TOO_FAR = 1.0
#: Largest change of a price in one step.
MOST_MOVE = float(1 << 48)


def no_prices(vectors: VectorTables) -> Prices:
    """All zero."""
    problem = vectors.problem
    return np.zeros((problem.tree.height + 1, len(vectors.terms), len(problem.totals)), dtype=np.int64)


def fair_prices(vectors: VectorTables, projection: Projection) -> Prices:
    """Prices at which the largest domain of each level has nothing to gain by leaving the gang's proportions.

    They are minus the slopes of its costs at its proportional share of the gang.
    """
    prices = no_prices(vectors)
    space = vectors.problem.layout.spaces
    for level in range(1, vectors.problem.tree.height + 1):
        if all(dim.kind == "role" for dim in space[level].dims):
            prices[level] = -_slopes(vectors, level, _share(vectors, projection, level))
    return prices


class Steering:
    """Moves prices toward better bounds: what the relaxed optimum has too much of becomes dearer.

    Every price has its own step, smaller where the surplus was large before, so that levels with many domains do not
    drown the others. All steps shrink when the bound does not rise; after one that went much too far the way goes on
    from the best prices so far.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._useful = [bool(useful) for useful in np.abs(prices).sum(axis=(0, 2)) > 0]
        self._past = np.zeros(prices[:, 0].shape, dtype=np.float64)
        self._pace = 1.0
        self._best: tuple[Relaxed, Prices] | None = None

    def move(self, relaxed: Relaxed, goal: Sequence[int]) -> bool:
        """New prices after a relaxation; False when they cannot help.

        goal: sums of a known placement. The first term that had prices to begin with and that the relaxation does not
        attain is steered, by about the step that would close its gap if the bound were linear.
        """
        prices = self.prices
        if self._best is None or relaxed.sums > self._best[0].sums:
            self._best = relaxed, prices
        elif self._far_below(relaxed.sums, self._best[0].sums, goal):
            self._pace *= BACKTRACK
            relaxed, prices = self._best
        else:
            self._pace *= SLOWDOWN
        at = self._open_term(relaxed.sums, goal)
        surplus = relaxed.surplus.astype(np.float64)
        self._past = FORGETTING * self._past + surplus**2
        scaled = surplus / np.sqrt(np.maximum(self._past, 1.0))
        rise = float((surplus * scaled).sum())
        if at is None or not rise:
            return False
        step = self._pace * (goal[at] - relaxed.sums[at]) / rise
        moved = prices.copy()
        moved[:, at] += np.rint(np.clip(step * scaled, -MOST_MOVE, MOST_MOVE)).astype(np.int64)
        moved[0] = 0
        changed = bool((moved != self.prices).any())
        self.prices = moved
        return changed

    def _open_term(self, sums: Sequence[int], goal: Sequence[int]) -> int | None:
        """The first term of use in which a bound is below the goal."""
        pairs = zip(self._useful, sums, goal, strict=True)
        return next((at for at, (useful, low, value) in enumerate(pairs) if useful and low < value), None)

    def _far_below(self, sums: Sequence[int], best: Sequence[int], goal: Sequence[int]) -> bool:
        """Whether a bound has lost a good part of what the best one is below the goal."""
        at = self._open_term(sums, goal)
        return at is not None and best[at] - sums[at] > TOO_FAR * (goal[at] - best[at])


def _share(vectors: VectorTables, projection: Projection, level: int) -> Ints:
    """[roles] the proportional part of the gang that fills the largest domain of a level."""
    whole = np.array(projection.caps, dtype=np.int64)
    most = np.zeros_like(whole)
    for each in vectors.at(level):
        most = np.maximum(most, (projection.weights @ each.pods).max(axis=1, initial=0))
    cluster_of = np.argmax(projection.weights > 0, axis=0)
    totals = np.array(projection.totals, dtype=np.int64)
    return np.asarray(totals * most[cluster_of] // np.maximum(1, whole[cluster_of]))


def _slopes(vectors: VectorTables, level: int, share: Ints) -> Ints:
    """[terms, roles] what one pod more of each role adds to the cost of a domain that holds `share`."""
    problem = vectors.problem
    totals = np.array(problem.totals, dtype=np.int64)
    one = np.eye(len(totals), dtype=np.int64)
    higher = np.minimum(share[:, None] + one, totals[:, None])
    lower = np.maximum(share[:, None] - one, 0)
    roles = [dim.item for dim in problem.layout.spaces[level].dims]
    here = listed(problem, level, np.concatenate([higher, lower], axis=1)[roles])
    terms: Sequence[Term] = vectors.make_terms(here)
    costs = costs_of(here, terms, level, (1 << (level + 1)) - 1)
    steps = (higher - lower).sum(axis=0)
    rise = costs[:, : len(totals)] - costs[:, len(totals) :]
    return np.asarray(rise // np.maximum(1, steps))
