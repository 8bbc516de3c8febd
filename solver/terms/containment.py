"""Terms `containment_steps` and `containment_domains`: how far groups with a preferred level are torn apart."""

from fractions import Fraction

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.snapshot import Ints


class ContainmentSteps:
    """Σ over preferring groups and levels from the preferred one up of the replicas not closed there."""

    name = "containment_steps"
    unit = Fraction(1)
    holes = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.groups = [at for at, group in enumerate(problem.frame.groups) if group.preferred]
        self.constant = sum(problem.frame.groups[at].count * problem.frame.groups[at].preferred for at in self.groups)
        self.magnitude = self.constant + 1

    def _counted(self, level: int, bits: int) -> list[int]:
        if not level or not bits >> level & 1:
            return []
        return [at for at in self.groups if level <= self.problem.frame.groups[at].preferred]

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] minus the whole replicas closed in the domain."""
        pods = self.problem.layout.spaces[level].pods
        total: Ints | None = None
        for at in self._counted(level, bits):
            sizes = self.problem.frame.groups[at].inside
            closed = np.min([pods[role] // size for role, size in enumerate(sizes) if size], axis=0)
            total = -closed if total is None else total - closed
        return total

    def hole_times(self) -> Ints:
        """Holes do not count here."""
        return np.zeros(self.problem.layout.spaces[-1].size, dtype=np.int64)

    def express(self, view: DomainView) -> Expr:
        """Minus the whole replicas closed here."""
        return -sum(view.closed(at) for at in self._counted(view.level, view.bits))


class ContainmentDomains:
    """Σ over preferring groups of the preferred-level domains, and nodes outside them, that hold any of their pods."""

    name = "containment_domains"
    unit = Fraction(1)
    constant = 0
    holes = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.groups = [
            (group.preferred, tuple(role for role, size in enumerate(group.inside) if size))
            for group in problem.frame.groups
            if group.preferred
        ]
        self.magnitude = problem.frame.pods * len(self.groups) + 1

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] 1 for each group that counts this domain and has a pod here."""
        pods = self.problem.layout.spaces[level].pods
        total: Ints | None = None
        for preferred, roles in self.groups:
            if self._counts(preferred, level, bits):
                present = (pods[list(roles)].sum(axis=0) > 0).astype(np.int64)
                total = present if total is None else total + present
        return total

    def _counts(self, preferred: int, level: int, bits: int) -> bool:
        """Whether a group with this preferred level counts such a domain: of the level, or a node without it."""
        real = bool(bits >> preferred & 1)
        return level == preferred if real else level == self.problem.tree.height

    def hole_times(self) -> Ints:
        """Holes do not count here."""
        return np.zeros(self.problem.layout.spaces[-1].size, dtype=np.int64)

    def express(self, view: DomainView) -> Expr:
        """The same, one presence literal a group."""
        counted = [roles for preferred, roles in self.groups if self._counts(preferred, view.level, view.bits)]
        return sum(view.present(roles) for roles in counted)
