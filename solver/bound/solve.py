"""The tree as a solver: the best placement of one shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from solver.bound.lanes import plan_lanes
from solver.bound.tables import TreeTables, assignment
from solver.bound.warm import WarmShape
from solver.compile.problem import Problem
from solver.domain.budget import Budget
from solver.rules.registry import allowed_states
from solver.terms.base import Term


@dataclass(frozen=True)
class TreeAnswer:
    """The optimum of one shape, exact.

    sums: by term, constants included; also the proven bounds. states: node index → host state.
    """

    sums: tuple[int, ...]
    states: Mapping[int, int]
    classes: int
    signatures: int
    recomputed: int


def solve_shape(
    problem: Problem, terms: Sequence[Term], budget: Budget, warm: WarmShape | None = None
) -> TreeAnswer | None:
    """Best placement of the problem's whole frame in lexicographic order of `terms`; None = proven impossible.

    warm: tables of earlier calls; the problem's classes must come from its book. Raises TreeTooLarge, OutOfTime.
    """
    if problem.impossible:
        return None
    if not problem.frame.pods:
        return TreeAnswer(tuple(term.constant for term in terms), {}, 0, 0, 0)
    problem.layout.check()
    lanes = plan_lanes(terms)
    store = warm.store(lanes) if warm else None
    tables = TreeTables(problem, terms, lanes, partial(allowed_states, problem), budget, store)
    root = tables.root
    if root is None or not tables.may_be(problem.final):
        return None
    sums = lanes.unpack([int(value) for value in root[:, problem.final]])
    return TreeAnswer(
        tuple(value + term.constant for value, term in zip(sums, terms, strict=True)),
        assignment(tables, problem.final),
        problem.classes_in_use,
        tables.signatures,
        tables.recomputed,
    )
