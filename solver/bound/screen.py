"""What of a gang too large for exact tables may be placeable at all."""

from collections.abc import Sequence

import numpy as np

from solver.bound.clusters import projection_within
from solver.bound.merged import Relaxation
from solver.bound.prices import no_prices
from solver.bound.vectors import VectorTables
from solver.compile.frame import build_frame, counts_of
from solver.compile.layout import root_counts
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape
from solver.compile.structure import Structure
from solver.domain.budget import Budget
from solver.domain.snapshot import Ints

#: Pairs of merged states that one join may take.
SCREEN_PAIRS = 200_000


def may_fit(structure: Structure, shapes: Sequence[Shape], budget: Budget) -> list[bool]:
    """For each shape whether it might be placed; no is a proof. Raises TreeTooLarge, OutOfTime."""
    problem = build_problem(build_frame(structure, None))
    counts = [counts_of(structure, shape) for shape in shapes]
    targets = np.stack([root_counts(problem.layout, pods, replicas) for pods, replicas in counts], axis=1)
    relaxation = _screen(problem, budget, targets)
    return [relaxation.feasible((relaxation.projection.weights @ np.array(pods)).tolist()) for pods, _ in counts]


def may_be_placed(problem: Problem, budget: Budget) -> bool:
    """Whether the whole frame might be placed; no is a proof. Raises TreeTooLarge, OutOfTime."""
    relaxation = _screen(problem, budget, None)
    return relaxation.feasible(relaxation.projection.caps)


def _screen(problem: Problem, budget: Budget, targets: Ints | None) -> Relaxation:
    """Merged tables without terms; where the count vectors are too many every merged state passes."""
    vectors = VectorTables(problem, lambda _: (), budget, targets, gaps=True)
    return Relaxation(vectors, projection_within(problem, SCREEN_PAIRS), no_prices(vectors), budget)
