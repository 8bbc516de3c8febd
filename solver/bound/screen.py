"""What of a gang may be placed at all: the one place that says which shapes may fit.

Exact tables and merged ones answer for shapes with pods. A shape without pods asks nothing of any node: it fits unless
something of the gang runs, whatever the cluster is like.
"""

from collections.abc import Callable, Sequence

import numpy as np

from solver.bound.clusters import projection_within
from solver.bound.lanes import plan_lanes
from solver.bound.merged import Relaxation
from solver.bound.prices import no_prices
from solver.bound.tables import TreeTables
from solver.bound.vectors import VectorTables
from solver.bound.warm import WarmShape, WarmTables
from solver.compile.frame import build_frame, counting_of
from solver.compile.layout import root_counts
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape
from solver.compile.structure import Structure
from solver.domain.budget import Budget
from solver.domain.snapshot import Ints
from solver.rules.registry import allowed_states

#: Pairs of merged states that one join may take.
SCREEN_PAIRS = 200_000


def placeable(
    structure: Structure, shapes: Sequence[Shape], budget: Budget, warm: WarmTables | None = None
) -> list[bool]:
    """For each shape whether it can be placed, as far as rules that need no totals can tell: no is a proof.

    By exact tables. Raises TreeTooLarge, OutOfTime.
    """

    def by_tables(asked: Sequence[Shape]) -> list[bool]:
        frame = build_frame(structure, None)
        kept = warm.shape(frame) if warm else WarmShape()
        problem = build_problem(frame, kept.book)
        problem.layout.check()
        lanes = plan_lanes(())
        tables = TreeTables(
            problem, (), lanes, lambda *where: allowed_states(problem, *where), budget, kept.store(lanes)
        )
        space = problem.layout.spaces[0]
        return [tables.may_be(int(space.index(each))) for each in _at_root(structure, problem, asked).T]

    return _decided(structure, shapes, by_tables)


def may_fit(structure: Structure, shapes: Sequence[Shape], budget: Budget) -> list[bool]:
    """For each shape whether it might be placed; no is a proof. By merged tables. Raises TreeTooLarge, OutOfTime."""

    def by_merging(asked: Sequence[Shape]) -> list[bool]:
        problem = build_problem(build_frame(structure, None))
        relaxation = _screen(problem, budget, _at_root(structure, problem, asked))
        counting = counting_of(structure)
        found = []
        for shape in asked:
            budget.check()
            pods = np.array(counting.of(shape)[0])
            found.append(relaxation.feasible((relaxation.projection.weights @ pods).tolist()))
        return found

    return _decided(structure, shapes, by_merging)


def may_be_placed(problem: Problem, budget: Budget) -> bool:
    """Whether the whole frame might be placed; no is a proof. Raises TreeTooLarge, OutOfTime."""
    relaxation = _screen(problem, budget, None)
    return relaxation.feasible(relaxation.projection.caps)


def may_stay_empty(structure: Structure) -> bool:
    """Whether a shape without pods is a plan: what runs stays, so that nothing of the gang may run."""
    return not structure.gang.running


def _decided(
    structure: Structure, shapes: Sequence[Shape], tables: Callable[[Sequence[Shape]], list[bool]]
) -> list[bool]:
    """What the tables say of shapes with pods, and what is true of those without."""
    with_pods = [shape for shape in shapes if shape.pods]
    said = iter(tables(with_pods) if with_pods else ())
    return [next(said) if shape.pods else may_stay_empty(structure) for shape in shapes]


def _at_root(structure: Structure, problem: Problem, shapes: Sequence[Shape]) -> Ints:
    """[dims of the root, shapes] what each shape counts there."""
    counting, found = counting_of(structure), []
    for shape in shapes:
        problem.budget.check()
        found.append(root_counts(problem.layout, *counting.of(shape)))
    return np.stack(found, axis=1)


def _screen(problem: Problem, budget: Budget, targets: Ints | None) -> Relaxation:
    """Merged tables without terms; where the count vectors are too many every merged state passes."""
    vectors = VectorTables(problem, lambda _: (), budget, targets, gaps=True)
    return Relaxation(vectors, projection_within(problem, SCREEN_PAIRS), no_prices(vectors), budget)
