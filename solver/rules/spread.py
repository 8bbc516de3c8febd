"""Rule `spread`: at most so many pods of a role, or replicas of a group, in one domain of a level."""

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.snapshot import Mask


def mask(problem: Problem, level: int) -> Mask:
    """[states] allowed in a domain of `level`."""
    space = problem.layout.spaces[level]
    allowed = np.ones(space.size, dtype=np.bool_)
    for roles, most in role_limits(problem, level):
        allowed &= space.pods[list(roles)].sum(axis=0) <= most
    for group, most in group_limits(problem, level):
        allowed &= space.replicas(group) <= most
    return allowed


def limits(problem: Problem, view: DomainView) -> list[tuple[Expr, int]]:
    """(count, most) of every limit in a domain of the model."""
    found = [(view.pods(roles), most) for roles, most in role_limits(problem, view.level)]
    return found + [(view.replicas(group), most) for group, most in group_limits(problem, view.level)]


def role_limits(problem: Problem, level: int) -> list[tuple[tuple[int, ...], int]]:
    """(frame roles that are one declared role, most) of the limits on `level`."""
    found: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for at, role in enumerate(problem.frame.roles):
        for spread_level, most in role.source.spread:
            if spread_level == level:
                found.setdefault((role.source.names, most), []).append(at)
    return [(tuple(roles), most) for (_, most), roles in found.items()]


def group_limits(problem: Problem, level: int) -> list[tuple[int, int]]:
    """(group, most) of the limits on `level`; a group of one replica cannot exceed any."""
    return [
        (at, most)
        for at, group in enumerate(problem.frame.groups)
        for spread_level, most in group.unit.spread
        if spread_level == level and group.count > 1
    ]
