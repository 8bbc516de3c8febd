"""The hard rules, as the bound sees them.

gang: the shapes a frame is built for (compile.shapes) · capacity, eligible: the count vectors that fit a node
(compile.problem, compile.eligibility) · pack: counting whole replicas from the required level up (compile.layout) ·
spread, reach, bandwidth: masks over the states of a domain, below · queue: shapes ruled out (rules.queue).
"""

from solver.compile.links import NO_LINK
from solver.compile.problem import Problem
from solver.domain.snapshot import Mask
from solver.rules import bandwidth, pack, reach, spread


def allowed_states(problem: Problem, level: int, real: bool, link: int = NO_LINK) -> Mask:
    """[states] that no rule forbids in a domain of `level`, or with real False on nodes without one.

    link: bytes a second that the gang may send through the domain's link, NO_LINK = any number.
    """
    if not real:
        return pack.mask_outside(problem, level) & reach.mask_outside(problem, level)
    allowed = spread.mask(problem, level) & reach.mask(problem, level)
    return allowed if link == NO_LINK else allowed & bandwidth.mask(problem, level, link)
