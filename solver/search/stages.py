"""One frame solved by CP-SAT: term after term, earlier ones fixed, on candidate domains first and then on all."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from solver.compile.problem import Problem
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import InternalError
from solver.model.build import PlacementModel, build_model, read_states
from solver.model.gang_tree import settle_counts
from solver.model.variables import Expr
from solver.search.cpsat import Answer, Run, run
from solver.terms.base import Term

States = Mapping[int, int]
#: Hears the sums of a better plan and what is proven of them, by term.
Improved = Callable[[Sequence[int], Sequence[int | None]], None]


@dataclass(frozen=True)
class Staged:
    """What CP-SAT found for one frame.

    answer: OPTIMAL when every term is proven, FEASIBLE with a plan and a gap, INFEASIBLE proven twice, else UNKNOWN.
    sums: by term, constants included. bounds: by term, None unless proven together with all earlier ones.
    """

    answer: Answer
    states: States = field(default_factory=dict)
    sums: tuple[int, ...] = ()
    bounds: tuple[int | None, ...] = ()
    widened: bool = False


class Stages:
    """A model with its terms as bounded objective variables, solved one after the other.

    lowest: candidate domains above the hosts, None = all. bounds: lower bounds by term from elsewhere; the one of a
    term holds only while every earlier term sits at its own. Raises OutOfTime when the budget ends while it is built.
    """

    def __init__(
        self,
        problem: Problem,
        terms: Sequence[Term],
        lowest: Collection[int] | None,
        hint: States | None,
        incumbent: Sequence[int] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.terms = tuple(terms)
        self.model: PlacementModel = build_model(problem, terms, lowest, hint, budget)
        self.placed = settle_counts(self.model)
        self.model.variables.add(self.placed == 1)
        self.objectives: list[Expr] = []
        for at, (term, expression) in enumerate(zip(self.terms, self.model.sums, strict=True)):
            value = None if incumbent is None else incumbent[at] - term.constant
            limit = 4 * term.magnitude
            objective = self.model.variables.integer(-limit, limit, value)
            self.model.variables.add(objective == expression)
            self.objectives.append(objective)

    @property
    def cp_model(self) -> cp_model.CpModel:
        """The CP-SAT model."""
        return self.model.variables.cp_model

    def clamp(self, at: int, low: int | None, high: int | None) -> None:
        """Put a proven bound and the best known value of term `at` into its objective variable's domain."""
        domain = self.objectives[at].proto.domain
        shift = self.terms[at].constant
        if low is not None:
            domain[0] = max(domain[0], low - shift)
        if high is not None:
            domain[1] = min(domain[1], high - shift)

    def minimise(self, at: int, budget: Budget, presolve: bool = True) -> Run:
        """Minimise term `at` with everything clamped so far."""
        self.cp_model.clear_objective()
        self.cp_model.minimize(self.objectives[at])
        return run(self.cp_model, budget, presolve)

    def satisfy(self, budget: Budget, presolve: bool) -> Run:
        """Look for any plan within the clamps."""
        self.cp_model.clear_objective()
        return run(self.cp_model, budget, presolve)

    def sums(self, found: Run) -> list[int]:
        """Term sums of a solution, constants included. A one-sided auxiliary may overstate them."""
        return [
            found.value(objective) + term.constant for objective, term in zip(self.objectives, self.terms, strict=True)
        ]

    def states(self, found: Run) -> dict[int, int]:
        """Node index → host state of a solution."""
        return read_states(self.model, found.value)


def certify(problem: Problem, terms: Sequence[Term], states: States, sums: Sequence[int], budget: Budget) -> bool:
    """Whether CP-SAT, on the plan's own domains, confirms a plan whose sums are known to be lower bounds.

    All objective variables are fixed to the bounds and everything is hinted, so that a solution is a proof that the
    bounds are attained under every rule and term of the model. False when time runs out; raises InternalError when
    CP-SAT finds, with presolve off and on alike, that they cannot be attained.
    """
    for presolve in (False, True):
        try:
            stages = Stages(problem, terms, domains_of(problem, states), states, sums, budget)
        except OutOfTime:
            return False
        for at, value in enumerate(sums):
            stages.clamp(at, value, value)
        found = stages.satisfy(budget, presolve)
        if found.answer is not Answer.INFEASIBLE:
            return found.solved
    raise InternalError("CP-SAT contradicts the optimum of the tree")


def solve_staged(
    problem: Problem,
    terms: Sequence[Term],
    budget: Budget,
    bounds: Sequence[int] | None = None,
    hint: States | None = None,
    lowest: Collection[int] | None = None,
    improved: Improved | None = None,
) -> Staged:
    """Lexicographic optimum of one frame by CP-SAT.

    bounds: proven lower bounds by term (of a term under the condition that all earlier ones sit at theirs). hint: a
    plan to start from, right or wrong. With both, the hint's own domains are tried first and the search widens to the
    whole cluster when a bound is not met there. lowest: domains above the hosts that may be used at all, None = all;
    what is proven then holds for them only. improved: hears sums and bounds after each term of a whole search.
    """
    if problem.impossible:
        return Staged(Answer.INFEASIBLE)
    try:
        if bounds is not None and hint is not None:
            stages = Stages(problem, terms, domains_of(problem, hint), hint, budget=budget)
            narrow = _lexicographic(stages, bounds, budget)
            if narrow.answer is Answer.OPTIMAL:
                return narrow
        stages = Stages(problem, terms, lowest, hint, budget=budget)
        wide = _lexicographic(stages, bounds, budget, whole=True, improved=improved)
        if wide.answer is Answer.INFEASIBLE and not _confirmed(problem, lowest, budget):
            return Staged(Answer.UNKNOWN)
    except OutOfTime:
        return Staged(Answer.UNKNOWN)
    return Staged(wide.answer, wide.states, wide.sums, wide.bounds, widened=bounds is not None)


def _lexicographic(
    stages: Stages,
    bounds: Sequence[int] | None,
    budget: Budget,
    whole: bool = False,
    improved: Improved | None = None,
) -> Staged:
    """Minimise term by term. On a restricted model only values that all meet their bounds prove anything."""
    found: Run | None = None
    proven: list[int | None] = []
    exact = at_bounds = True
    for at in range(len(stages.terms)):
        bound = bounds[at] if bounds is not None and at_bounds else None
        stages.clamp(at, bound, None)
        result = stages.minimise(at, budget)
        if not result.solved:
            if found is None:
                return Staged(result.answer if whole else Answer.UNKNOWN)
            break
        found, value = result, stages.sums(result)[at]
        at_bounds = at_bounds and value == bound
        if not (whole or at_bounds):
            return Staged(Answer.UNKNOWN)
        proven.append(_lower_bound(stages, at, result, value) if exact else None)
        exact = exact and proven[-1] == value
        if improved is not None:
            improved(stages.sums(found), [*proven, *[None] * (len(stages.terms) - len(proven))])
        stages.clamp(at, value if exact else None, value)
        stages.cp_model.clear_hints()
    assert found is not None, "a frame has terms"
    proven += [None] * (len(stages.terms) - len(proven))
    sums = tuple(stages.sums(found))
    answer = Answer.OPTIMAL if tuple(proven) == sums else Answer.FEASIBLE
    return Staged(answer, stages.states(found), sums, tuple(proven))


def _lower_bound(stages: Stages, at: int, result: Run, value: int) -> int | None:
    if result.answer is Answer.OPTIMAL:
        return value
    return None if result.bound is None else result.bound + stages.terms[at].constant


def _confirmed(problem: Problem, lowest: Collection[int] | None, budget: Budget) -> bool:
    """INFEASIBLE is believed when the whole model without objective says so with presolve on and off alike."""
    stages = Stages(problem, (), lowest, None, budget=budget)
    return all(stages.satisfy(budget, presolve).answer is Answer.INFEASIBLE for presolve in (True, False))


def domains_of(problem: Problem, states: States) -> set[int]:
    """Lowest domains above the hosts that a plan uses."""
    parent = problem.tree.parent[problem.tree.height]
    return {int(parent[node]) for node in states}
