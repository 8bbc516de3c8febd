"""A known placement made better by CP-SAT on a site, under bounds from elsewhere."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from solver.bound.vectors import MakeTerms
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.search.cpsat import Answer
from solver.search.fill import Placed, States
from solver.search.stages import Stages
from solver.search.worth import worth

#: Part of what is left that one term may take, but for the last.
TERM_SHARE = 0.7
#: A model is built only while there is time for so many builds like the slowest so far: they cannot be interrupted.
BUILDS_LEFT = 3


@dataclass(frozen=True)
class Improved:
    """The best placement known now.

    proven: lower bounds by term, each together with all earlier ones, that CP-SAT found in a search of the whole
    cluster, else None. settled: whether the site holds nothing better.
    """

    placed: Placed
    proven: tuple[int | None, ...]
    settled: bool


def improve(
    problem: Problem,
    make_terms: MakeTerms,
    placed: Placed,
    lowest: Sequence[int],
    site: Collection[int] | None,
    budget: Budget,
) -> Improved:
    """Minimise term after term, those before held at their best value.

    lowest: proven lexicographic lower bound, so that of a term it holds while all earlier ones sit at theirs. site:
    lowest domains that may be used, the placement's own among them; None = the whole cluster.
    """
    terms = tuple(make_terms(problem))
    proven: list[int | None] = [None] * len(terms)
    built_s = 0.0
    at_lowest = attained = settled = True
    for at, term in enumerate(terms):
        low = lowest[at] if at_lowest else None
        if placed.sums[at] != low and budget.left_s > BUILDS_LEFT * built_s:
            since = time.monotonic()
            stages = Stages(problem, terms, site, placed.states, placed.sums)
            built_s = max(built_s, time.monotonic() - since)
            for earlier, value in enumerate(placed.sums[: at + 1]):
                stages.clamp(earlier, low if earlier == at else value if attained else None, value)
            found = stages.minimise(at, budget if at + 1 == len(terms) else budget.part(TERM_SHARE))
            if found.solved:
                placed = _better(problem, make_terms, placed, stages.states(found))
            settled = settled and found.answer is Answer.OPTIMAL
            if site is None and attained and found.solved and found.bound is not None:
                proven[at] = _exact(found.bound, term.constant)
        else:
            settled = settled and placed.sums[at] == low
        at_lowest = at_lowest and placed.sums[at] == low
        attained = attained and placed.sums[at] in (low, proven[at])
    return Improved(placed, tuple(proven), settled)


def _better(problem: Problem, make_terms: MakeTerms, placed: Placed, states: States) -> Placed:
    """The better of a placement and one just found, whose sums the model may overstate."""
    sums = worth(problem, make_terms, states)
    return Placed(states, sums) if sums is not None and sums < placed.sums else placed


def _exact(bound: int, constant: int) -> int | None:
    """A bound of CP-SAT, which keeps it as a float, where that is exact."""
    return bound + constant if abs(bound) < 1 << 52 else None
