"""Running CP-SAT, here or in a disposable process: parameters in one place, statuses mapped one by one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from ortools.sat.python import cp_model, cp_model_helper

from solver.domain.budget import Budget
from solver.domain.errors import InternalError
from solver.model.variables import Expr
from solver.search.children import CHILDREN, GRACE_S, STOP_PERIOD_S, Unavailable

#: Deterministic work allowed for each second of wall clock; one worker does 30 in the presolve of a large model.
_DETERMINISTIC_PER_SECOND = 100.0
SEED = 1
#: Models with more variables and constraints than this are solved in a child. Searches of that size take 0.1 s and
#: more, ten times what sending the model costs, and may take much memory or stay in presolve, which nothing interrupts.
#: Without presolve a search ends when told to, and a check takes a few ms at a size where sending takes ten times that.
LARGE, LARGE_CHECK = 3_000, 30_000
#: Variables and constraints that can be written out for the child in a second; while that goes on nothing ends it.
SENT_PER_SECOND = 1_000_000


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


_ANSWERS = {
    cp_model.OPTIMAL: Answer.OPTIMAL,
    cp_model.FEASIBLE: Answer.FEASIBLE,
    cp_model.INFEASIBLE: Answer.INFEASIBLE,
    cp_model.UNKNOWN: Answer.UNKNOWN,
}


def run(model: cp_model.CpModel, budget: Budget, presolve: bool) -> Run:
    """Solve `model` within `budget`; one worker, fixed seed.

    presolve: on to search, off to check a hinted answer (a complete hint may get lost under presolve). A large model,
    or any after a fault, is solved in a disposable process; what goes wrong there is UNKNOWN. Raises InternalError for
    an invalid model.
    """
    left = budget.left_s
    if not left:
        return Run(Answer.UNKNOWN, None, _unsolved)
    parameters = _parameters(left, presolve)
    size = len(model.proto.variables) + len(model.proto.constraints)
    if size > SENT_PER_SECOND * left:
        return Run(Answer.UNKNOWN, None, _unsolved)
    if size > (LARGE if presolve else LARGE_CHECK) or CHILDREN.due():
        with suppress(Unavailable):
            return _read(model, _solved_there(model, parameters, budget))
    return _read(model, _solved_here(model, parameters, budget))


def _parameters(left_s: float, presolve: bool) -> Any:
    parameters = cp_model_helper.SatParameters()
    parameters.num_workers = 1
    parameters.linearization_level = 2
    parameters.random_seed = SEED
    parameters.cp_model_presolve = presolve
    parameters.catch_sigint_signal = False
    parameters.max_time_in_seconds = left_s
    parameters.max_deterministic_time = left_s * _DETERMINISTIC_PER_SECOND
    return parameters


def _solved_here(model: cp_model.CpModel, parameters: Any, budget: Budget) -> Any:
    """CP-SAT's response, found in this thread. A search that does not end in time is noted as a fault."""
    cp_solver = cp_model.CpSolver()
    cp_solver.parameters = parameters
    with _stopping(cp_solver.stop_search, budget):
        cp_solver.solve(model)
    if time.monotonic() > budget.deadline + 2 * GRACE_S:
        CHILDREN.note_fault()
    return cp_solver.response_proto


@contextmanager
def _stopping(stop_search: Callable[[], None], budget: Budget) -> Iterator[None]:
    """Stop the search when the budget ends; again and again, as a stop before its start is lost."""
    done = threading.Event()

    def watch() -> None:
        patience = STOP_PERIOD_S if budget.stop is not None else budget.left_s
        while not done.wait(patience):
            if not budget.left_s:
                patience = STOP_PERIOD_S
                stop_search()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _solved_there(model: cp_model.CpModel, parameters: Any, budget: Budget) -> Any:
    """What a child found, as a response. Raises Unavailable."""
    proto = model.proto
    reply = CHILDREN.solve(str(parameters), str(proto), len(proto.variables), budget)
    response = cp_model_helper.CpSolverResponse()
    response.status = cp_model_helper.CpSolverStatus(reply.status)
    response.inner_objective_lower_bound = reply.bound
    response.solution.extend(reply.values)
    return response


def _read(model: cp_model.CpModel, response: Any) -> Run:
    """A response as a run. Raises InternalError if the model is invalid."""
    problem = model.validate() if response.status == cp_model.MODEL_INVALID else ""
    if problem:
        raise InternalError(f"the model is invalid: {problem}")
    answer = _ANSWERS.get(response.status, Answer.UNKNOWN)
    bound = None
    if answer is not Answer.INFEASIBLE and model.has_objective() and model.proto.objective.scaling_factor >= 0:
        bound = int(response.inner_objective_lower_bound)
    if answer in (Answer.OPTIMAL, Answer.FEASIBLE):
        return Run(answer, bound, partial(_value, response))
    return Run(answer, bound, _unsolved)


def _value(response: Any, expression: Expr) -> int:
    if isinstance(expression, int):
        return expression
    return int(cp_model_helper.ResponseHelper.value(response, expression))


def _unsolved(expression: Expr) -> int:
    raise InternalError("there is no solution to read")
