"""The hard rules, as the bound sees them.

gang: the shapes a frame is built for (compile.shapes) · capacity, eligible: the count vectors that fit a node
(compile.problem, compile.eligibility) · pack: counting whole replicas from the required level up (compile.layout) ·
spread, reach: masks over the states of a domain, below · queue: shapes ruled out (rules.queue).
"""

from solver.compile.problem import Problem
from solver.domain.snapshot import Mask
from solver.rules import pack, reach, spread


def allowed_states(problem: Problem, level: int, real: bool) -> Mask:
    """[states] that no rule forbids in a domain of `level`, or with real False on nodes without one."""
    if not real:
        return pack.mask_outside(problem, level) & reach.mask_outside(problem, level)
    return spread.mask(problem, level) & reach.mask(problem, level)
