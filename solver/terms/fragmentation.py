"""Term `fragmentation`: GPUs left wholly free in the domains the gang touches; fill what is open, keep holes whole."""

from fractions import Fraction

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.snapshot import Ints


class Fragmentation:
    """Σ over real domains below the root that hold a pod: hole − GPUs of the gang's pods there."""

    name = "fragmentation"
    unit = Fraction(1)
    constant = 0
    holes = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.gpus = np.array([role.gpus for role in problem.frame.roles], dtype=np.int64)
        asked = int(self.gpus @ np.array(problem.totals, dtype=np.int64))
        capacity = int(problem.snapshot.gpu_capacity) + asked
        self.magnitude = (1 << capacity.bit_length()) * (problem.tree.height + 1) + 1

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] minus the GPUs used in the domain; its hole comes on top."""
        if not level or not bits >> level & 1 or not self.gpus.any():
            return None
        return np.asarray(-(self.gpus @ self.problem.layout.spaces[level].pods))

    def hole_times(self) -> Ints:
        """[host states] how often a node's hole counts."""
        return np.asarray(self.problem.layout.spaces[-1].pods.sum(axis=0) > 0, dtype=np.int64)

    def express(self, view: DomainView) -> Expr:
        """Hole of a touched domain minus the GPUs used."""
        if not view.level or not view.bits >> view.level & 1:
            return 0
        roles = range(len(self.gpus))
        used = sum(int(self.gpus[role]) * view.pods((role,)) for role in roles if self.gpus[role])
        return view.hole * view.present(tuple(roles)) - used
