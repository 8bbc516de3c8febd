"""The tree as a solver: which shapes can be placed, and the best placement of one shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from solver.bound.lanes import INFINITE, plan_lanes
from solver.bound.tables import TreeTables, assignment
from solver.bound.warm import WarmShape, WarmTables
from solver.compile.frame import build_frame, counts_of
from solver.compile.layout import root_state
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape
from solver.compile.structure import Structure
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
    if root is None or root[0, problem.final] >= INFINITE // 2:
        return None
    sums = lanes.unpack([int(value) for value in root[:, problem.final]])
    return TreeAnswer(
        tuple(value + term.constant for value, term in zip(sums, terms, strict=True)),
        assignment(tables, problem.final),
        problem.classes_in_use,
        tables.signatures,
        tables.recomputed,
    )


def placeable(
    structure: Structure, shapes: Sequence[Shape], budget: Budget, warm: WarmTables | None = None
) -> list[bool]:
    """For each shape whether it can be placed, as far as rules that need no totals can tell: no is a proof.

    Raises TreeTooLarge, OutOfTime.
    """
    frame = build_frame(structure, None)
    kept = warm.shape(frame) if warm else WarmShape()
    problem = build_problem(frame, kept.book)
    problem.layout.check()
    lanes = plan_lanes(())
    tables = TreeTables(problem, (), lanes, partial(allowed_states, problem), budget, kept.store(lanes))
    root = tables.root
    if root is None:
        return [shape.pods == 0 for shape in shapes]
    states = [root_state(problem.layout, *counts_of(structure, shape)) for shape in shapes]
    return [bool(root[0, state] < INFINITE // 2) for state in states]
