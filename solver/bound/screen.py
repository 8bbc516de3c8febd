"""Which shapes of an elastic gang too large for exact tables may be placeable at all."""

from collections.abc import Sequence

import numpy as np

from solver.bound.clusters import projection_within
from solver.bound.merged import Relaxation
from solver.bound.prices import no_prices
from solver.bound.vectors import VectorTables
from solver.compile.frame import build_frame, counts_of
from solver.compile.layout import root_counts
from solver.compile.problem import build_problem
from solver.compile.shapes import Shape
from solver.compile.structure import Structure
from solver.domain.budget import Budget

#: Pairs of merged states that one join may take.
SCREEN_PAIRS = 200_000


def may_fit(structure: Structure, shapes: Sequence[Shape], budget: Budget) -> list[bool]:
    """For each shape whether it might be placed; no is a proof. Raises TreeTooLarge, OutOfTime."""
    problem = build_problem(build_frame(structure, None))
    counts = [counts_of(structure, shape) for shape in shapes]
    targets = np.stack([root_counts(problem.layout, pods, replicas) for pods, replicas in counts], axis=1)
    vectors = VectorTables(problem, lambda _: (), budget, targets)
    projection = projection_within(problem, SCREEN_PAIRS)
    relaxation = Relaxation(vectors, projection, no_prices(vectors), budget)
    return [relaxation.feasible((projection.weights @ np.array(pods)).tolist()) for pods, _ in counts]
