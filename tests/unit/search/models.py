"""Models for tests of running CP-SAT: easy ones with a known answer, and one that nobody solves in a minute."""

import random
import sys
import time
from itertools import combinations

from ortools.sat.python import cp_model

from solver.domain.budget import Budget, Stop

#: Python code of a child that says it is ready, for what it does next.
READY = "import os, sys, time; os.write(1, b'huddle search child 1\\n'); "


def soon(seconds: float = 60.0, stop: Stop | None = None, memory_mib: int = 1024) -> Budget:
    """A budget that ends in so many seconds."""
    return Budget(time.monotonic() + seconds, stop, memory_mib)


def faking(code: str) -> tuple[str, ...]:
    """The command of a child that runs `code`."""
    return (sys.executable, "-c", code)


def easy() -> cp_model.CpModel:
    """Minimum −11 at x = −4, y = 7, with most kinds of constraints that placement models have, and hints."""
    model = cp_model.CpModel()
    x, y = model.new_int_var(-4, 9, ""), model.new_int_var_from_domain(cp_model.Domain.from_values([1, 3, 7]), "")
    on = model.new_bool_var("")
    model.add(x + y >= 3)
    model.add(y >= 2).only_enforce_if(on)
    model.add_bool_or([on])
    model.add_forbidden_assignments([x, y], [(-4, 3)])
    model.add_hint(x, 5)
    model.add_hint(y, 7)
    model.minimize(x - y)
    return model


def impossible() -> cp_model.CpModel:
    """No solution."""
    model = cp_model.CpModel()
    x = model.new_int_var(0, 5, "")
    model.add(2 * x == 5)
    return model


def endless(items: int = 60) -> cp_model.CpModel:
    """A spin glass: solutions come at once, a proof does not come in any patience of a test."""
    chance, model = random.Random(2), cp_model.CpModel()
    spins = [model.new_bool_var("") for _ in range(items)]
    cost = 0
    for one, other in combinations(spins, 2):
        both = model.new_bool_var("")
        weight = chance.choice((-7, -3, 5, 8))
        if weight > 0:
            model.add(both >= one + other - 1)
        else:
            model.add(2 * both <= one + other)
        cost = cost + weight * both
    model.minimize(cost)
    return model
