"""Elastic gangs by CP-SAT alone: what of the gang can be placed at most, and every choice that ties."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from solver.compile.frame import build_frame
from solver.compile.problem import build_problem
from solver.compile.shapes import Shape, axes_of, in_order
from solver.compile.structure import Structure
from solver.domain.budget import Budget, OutOfTime
from solver.model.build import build_model
from solver.model.gang_tree import GangChoice, Limit, open_counts, queue_limits
from solver.model.variables import Expr
from solver.search.cpsat import Answer, Run, run

#: Ties looked at for one value of `replicas`; beyond, optimality is not claimed.
MAX_TIES = 200


@dataclass(frozen=True)
class Family:
    """Shapes with the same `replicas`.

    answer: OPTIMAL when nothing better and no other tie can be placed, FEASIBLE when that is not proven, INFEASIBLE
    when no shape can be placed at all, UNKNOWN when time ran out.
    """

    answer: Answer
    shapes: tuple[Shape, ...] = ()


def elastic_shapes(structure: Structure, budget: Budget) -> Iterator[Family]:
    """Families of placeable shapes, best `replicas` first; a last INFEASIBLE one when there is no (further) shape.

    Rules that need the totals (the ratio of `reach`) are left out here, so a shape may still turn out impossible.
    """
    try:
        search = ShapeSearch(structure, queue_limits(structure), budget=budget)
        search.maximise(search.replicas())
    except OutOfTime:
        yield Family(Answer.UNKNOWN)
        return
    yield from search.families(budget)


class ShapeSearch:
    """CP-SAT over the shapes of an elastic gang, by a score to be maximised.

    lowest: domains above the hosts that may be used, None = all. Raises OutOfTime when the budget ends while it is
    built.
    """

    def __init__(
        self,
        structure: Structure,
        limits: Sequence[Limit],
        lowest: Collection[int] | None = None,
        budget: Budget | None = None,
    ) -> None:
        assert structure.root is not None
        self.structure = structure
        self.axes = axes_of(structure.root)
        self.model = build_model(build_problem(build_frame(structure, None)), (), lowest, budget=budget)
        self.choice: GangChoice = open_counts(self.model, limits)
        self.model.variables.add(self.choice.placed == 1)
        self.score = self.model.variables.integer(0, 1 << 55)

    @property
    def most_kept(self) -> int:
        """More than the kept child-group replicas of any shape."""
        groups = sum(1 for _ in self.structure.gang.root.walk())
        return 2 * (sum(axis.high * axis.groups for axis in self.axes) + len(self.structure.gang.roles) + groups + 1)

    def replicas(self) -> Expr:
        """The term `replicas` as one number: pods first, then kept child-group replicas."""
        return self.choice.pods * self.most_kept + self.choice.kept_replicas

    def maximise(self, score: Expr) -> None:
        """Set the score; it must not be negative."""
        self.model.variables.add(self.score == score)

    def families(self, budget: Budget) -> Iterator[Family]:
        """Shapes with equal score together, the best first, until there is none or time runs out."""
        while True:
            family = self.next_family(budget)
            yield family
            if family.answer is not Answer.OPTIMAL:
                return

    @property
    def cp_model(self) -> cp_model.CpModel:
        """The CP-SAT model."""
        return self.model.variables.cp_model

    def next_family(self, budget: Budget) -> Family:
        """The family with the highest score left."""
        self.cp_model.clear_objective()
        self.cp_model.maximize(self.score)
        best = run(self.cp_model, budget, presolve=True)
        self.cp_model.clear_objective()
        if best.answer is Answer.INFEASIBLE:
            again = run(self.cp_model, budget, presolve=False)
            return Family(Answer.INFEASIBLE if again.answer is Answer.INFEASIBLE else Answer.UNKNOWN)
        if not best.solved:
            return Family(Answer.UNKNOWN)
        if best.answer is Answer.FEASIBLE:
            return Family(Answer.FEASIBLE, (self.shape(best),))
        value = best.value(self.score)
        ties = self.ties(value, budget)
        domain = self.score.proto.domain
        domain[0], domain[1] = 0, value - 1
        return ties

    def ties(self, value: int, budget: Budget) -> Family:
        """Every shape with the given score; the shapes seen are forbidden from then on."""
        domain = self.score.proto.domain
        domain[0] = domain[1] = value
        shapes: list[Shape] = []
        while len(shapes) < MAX_TIES:
            found = run(self.cp_model, budget, presolve=True)
            if found.answer is Answer.INFEASIBLE:
                again = run(self.cp_model, budget, presolve=False)
                return Family(Answer.OPTIMAL if again.answer is Answer.INFEASIBLE else Answer.FEASIBLE, tuple(shapes))
            if not found.solved:
                break
            shape = self.shape(found)
            if shape not in shapes:
                shapes.append(shape)
            seen = tuple(found.value(axis) for axis in self.choice.axes)
            self.cp_model.add_forbidden_assignments(self.choice.axes, [seen])
        return Family(Answer.FEASIBLE, tuple(shapes))

    def shape(self, found: Run) -> Shape:
        """The shape of a solution."""
        assert self.structure.root is not None
        counts = tuple(found.value(axis) for axis in self.choice.axes)
        return Shape(
            in_order(self.structure.root, counts), found.value(self.choice.pods), found.value(self.choice.kept_replicas)
        )
