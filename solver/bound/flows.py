"""A bound on transfer where even the count vectors of a level are too many: every flow by itself, and then the sum.

Whoever places the whole gang places the roles of one flow, on nodes that are no fuller for it. So the least cost of a
flow with all other roles left out, added up over the flows, is at most what any placement pays.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from solver.bound.clusters import projection_within
from solver.bound.merged import Relaxed, relax
from solver.bound.prices import fair_prices
from solver.bound.vectors import VectorTables
from solver.compile.frame import Frame
from solver.compile.layout import TreeTooLarge
from solver.compile.problem import Problem, build_problem
from solver.domain.budget import Budget, OutOfTime
from solver.terms.base import Term
from solver.terms.traffic import Stream, Traffic
from solver.terms.transfer import TrafficTerm, transfer_term

#: Pairs of merged states that one join may take: two roles of some sixty pods are not merged at all.
FLOW_PAIRS = 5_000_000


@dataclass(frozen=True)
class FlowBound:
    """What the flows cost at least.

    transfer: sum of `transfer_us`, constants included. lowest: as in Relaxed, of the flow that costs most.
    """

    transfer: int
    lowest: Mapping[int, Sequence[int]]


def flow_bound(problem: Problem, budget: Budget) -> FlowBound | None:
    """Bound of the whole frame; None = there is no placement."""
    term = transfer_term(problem)
    total, heaviest = 0, Fraction(-1)
    lowest: Mapping[int, Sequence[int]] = {}
    for at, stream in enumerate(term.traffic.streams):
        alone = _alone(problem, stream)
        least = at_best(alone)
        if not problem.frame.structure.gang.reach and not problem.running.any():
            share = budget.part(1 / (len(term.traffic.streams) - at))
            with suppress(TreeTooLarge, OutOfTime):
                found = _relaxed(problem, stream, share)
                if found is None:
                    return None
                least = max(least, found.sums[0])
                if least * alone.unit > heaviest:
                    heaviest, lowest = least * alone.unit, found.lowest
        total += least * (term.traffic.scale // alone.traffic.scale)
    return FlowBound(total, lowest)


def _alone(problem: Problem, stream: Stream) -> TrafficTerm:
    """The term of one stream."""
    return TrafficTerm("transfer_us", problem, Traffic(problem, [stream]), Fraction(1, 1000))


def at_best(term: TrafficTerm) -> int:
    """What a term costs if all pods are on one node that has every level: no pair ever pays less."""
    totals = np.array([term.traffic.totals], dtype=np.int64).T
    levels = range(term.traffic.height + 1)
    return term.constant + sum(int(term.traffic.cost(level, (2 << level) - 1, totals)[0]) for level in levels)


def _relaxed(problem: Problem, stream: Stream, budget: Budget) -> Relaxed | None:
    """Bound of one stream with every role left out that it does not touch."""
    kept = {*stream.left, *stream.right}
    frame = problem.frame
    roles = tuple(role if at in kept else replace(role, total=0) for at, role in enumerate(frame.roles))
    groups = tuple(
        replace(group, inside=tuple(size if at in kept else 0 for at, size in enumerate(group.inside)))
        for group in frame.groups
    )
    smaller = build_problem(Frame(frame.structure, roles, groups, frame.shape))
    smaller = replace(smaller, links=None)  # its rule would see a part of the traffic only

    def terms(here: Problem) -> Sequence[Term]:
        return (_alone(here, stream),)

    vectors = VectorTables(smaller, terms, budget)
    projection = projection_within(smaller, FLOW_PAIRS)
    return relax(vectors, projection, fair_prices(vectors, projection), budget)
