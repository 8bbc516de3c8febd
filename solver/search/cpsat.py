"""Running CP-SAT: parameters in one place, a watchdog, and statuses mapped one by one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ortools.sat.python import cp_model

from solver.domain.budget import Budget
from solver.domain.errors import InternalError
from solver.model.variables import Expr

#: Deterministic work allowed for each second of wall clock, far above what one worker does.
_DETERMINISTIC_PER_SECOND = 20.0
SEED = 1


class Answer(Enum):
    """What one run said."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Run:
    """One run: its answer, the proven lower bound of a minimised objective, and a reader of values when solved."""

    answer: Answer
    bound: int | None
    value: Callable[[Expr], int]

    @property
    def solved(self) -> bool:
        """Whether there is a solution to read."""
        return self.answer in (Answer.OPTIMAL, Answer.FEASIBLE)


def run(model: cp_model.CpModel, budget: Budget, presolve: bool) -> Run:
    """Solve `model` within `budget`; one worker, fixed seed.

    presolve: on to search, off to check a hinted answer (a complete hint may get lost under presolve).
    """
    left = budget.left_s
    if not left:
        return Run(Answer.UNKNOWN, None, _unsolved)
    cp_solver = cp_model.CpSolver()
    parameters = cp_solver.parameters
    parameters.num_workers = 1
    parameters.linearization_level = 2
    parameters.random_seed = SEED
    parameters.cp_model_presolve = presolve
    parameters.catch_sigint_signal = False
    parameters.max_time_in_seconds = left
    parameters.max_deterministic_time = left * _DETERMINISTIC_PER_SECOND
    watchdog = threading.Timer(left + 0.5, cp_solver.stop_search)
    watchdog.daemon = True
    watchdog.start()
    try:
        status = cp_solver.solve(model)
    finally:
        watchdog.cancel()
    if status == cp_model.MODEL_INVALID:
        raise InternalError(f"the model is invalid: {model.validate()}")
    answers = {
        cp_model.OPTIMAL: Answer.OPTIMAL,
        cp_model.FEASIBLE: Answer.FEASIBLE,
        cp_model.INFEASIBLE: Answer.INFEASIBLE,
        cp_model.UNKNOWN: Answer.UNKNOWN,
    }
    answer = answers[status]
    bound = None
    if model.has_objective() and answer is not Answer.INFEASIBLE:
        bound = round(cp_solver.best_objective_bound)
    return Run(answer, bound, lambda expression: _value(cp_solver, expression))


def _value(cp_solver: cp_model.CpSolver, expression: Expr) -> int:
    return expression if isinstance(expression, int) else int(cp_solver.value(expression))


def _unsolved(expression: Expr) -> int:
    raise InternalError("there is no solution to read")
