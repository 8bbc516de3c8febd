"""Rule `pack`: a replica of a group with a required level lies in one domain of it.

The layout counts such groups whole from that level up (solver.compile.layout); what is left to say here is that a
node outside every domain of the level, which only a running member can be on, holds none of them.
"""

import numpy as np

from solver.compile.problem import Problem
from solver.domain.snapshot import Mask


def groups_at(problem: Problem, level: int) -> list[int]:
    """Groups whose required level this is."""
    return [at for at, group in enumerate(problem.frame.groups) if group.required == level and level]


def mask_outside(problem: Problem, level: int) -> Mask:
    """[states] allowed on nodes without a domain of `level`."""
    space = problem.layout.spaces[level]
    allowed = np.ones(space.size, dtype=np.bool_)
    for group in groups_at(problem, level):
        roles = [role for role, size in enumerate(problem.frame.groups[group].inside) if size]
        allowed &= space.pods[roles].sum(axis=0) == 0
    return allowed
