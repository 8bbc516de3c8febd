"""Variables with hints: every one is created with the value it takes in the hinted plan, auxiliaries too."""

from collections.abc import Sequence
from typing import Any

from ortools.sat.python import cp_model

from solver.domain.budget import Budget

Expr = Any  # a CP-SAT linear expression or an integer
Hint = int | None


#: A budget is looked at once in so many variables and constraints.
_PERIOD = 256


class Variables:
    """A CP-SAT model under construction, with or without hints. Raises OutOfTime when the budget ends meanwhile."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.cp_model = cp_model.CpModel()
        self.count = 0
        self._budget, self._parts = budget, 0

    def integer(self, low: int, high: int, hint: Hint = None) -> Expr:
        """An integer variable in low … high."""
        self._tick()
        variable = self.cp_model.new_int_var(low, high, "")
        self.count += 1
        if hint is not None:
            self.cp_model.add_hint(variable, hint)
        return variable

    def boolean(self, hint: Hint = None) -> Expr:
        """A 0/1 variable."""
        return self.integer(0, 1, hint)

    def add(self, condition: Any) -> None:
        """A constraint; one that is trivially true is dropped, a trivially false one kept as such."""
        self._tick()
        if condition is True or condition is False:
            if not condition:
                self.cp_model.add_bool_or([])
            return
        self.cp_model.add(condition)

    def _tick(self) -> None:
        self._parts += 1
        if self._budget is not None and not self._parts % _PERIOD:
            self._budget.check()


def weighted(expressions: Sequence[Expr], weights: Sequence[int]) -> Expr:
    """Σ weight · expression over the non-zero weights; 0 when there is none."""
    kept = [(expression, weight) for expression, weight in zip(expressions, weights, strict=True) if weight]
    total: Expr = 0
    for expression, weight in kept:
        total = total + (expression if weight == 1 else weight * expression)
    return total


def scaled(hints: Sequence[Hint], weights: Sequence[int]) -> Hint:
    """The value of `weighted` under the hints; None when one is missing."""
    total = 0
    for hint, weight in zip(hints, weights, strict=True):
        if weight:
            if hint is None:
                return None
            total += weight * hint
    return total
