"""Terms of several gangs planned as one: the sum of each gang's, which only `fragmentation` needs spelt out."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.snapshot import Ints
from solver.terms.base import Term
from solver.terms.containment import ContainmentDomains, ContainmentSteps
from solver.terms.fragmentation import Fragmentation
from solver.terms.proximity import proximity_term
from solver.terms.transfer import transfer_term


class JointFragmentation:
    """Σ over gangs of what is left free, after all of them, in the domains that the gang touches.

    families: the frame roles of each gang.
    """

    name = "fragmentation"
    unit = Fraction(1)
    constant = 0
    holes = True

    def __init__(self, problem: Problem, families: Sequence[Sequence[int]]) -> None:
        self.problem = problem
        self.families = [tuple(family) for family in families if family]
        self.gpus = [role.gpus for role in problem.frame.roles]
        self.magnitude = Fragmentation(problem).magnitude * max(1, len(self.families))

    def _present(self, level: int) -> list[Ints]:
        pods = self.problem.layout.spaces[level].pods
        return [(pods[list(family)].sum(axis=0) > 0).astype(np.int64) for family in self.families]

    def hole_times(self) -> Ints:
        """[host states] how many gangs have a pod on the node."""
        return np.asarray(np.sum(self._present(self.problem.tree.height), axis=0, dtype=np.int64))

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] minus the GPUs used, once for each gang present."""
        if not level or not bits >> level & 1 or not self.families:
            return None
        used = np.array(self.gpus, dtype=np.int64) @ self.problem.layout.spaces[level].pods
        return np.asarray(-used * np.sum(self._present(level), axis=0, dtype=np.int64))

    def express(self, view: DomainView) -> Expr:
        """The same in the model; the product of presence and use is bounded from above."""
        if not view.level or not view.bits >> view.level & 1:
            return 0
        left = [view.hole * view.present(family) - view.while_present(family, self.gpus) for family in self.families]
        return sum(left)


def joint_terms(problem: Problem, families: Sequence[Sequence[int]]) -> tuple[Term, ...]:
    """The terms of a bundle of gangs, summed; families: the frame roles of each gang."""
    return (
        ContainmentSteps(problem),
        ContainmentDomains(problem),
        transfer_term(problem),
        proximity_term(problem),
        JointFragmentation(problem, families),
    )
