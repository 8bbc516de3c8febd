"""Rule `reach`: a domain with senders holds receivers, in proportion, and vice versa."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from solver.compile.problem import Problem
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Pattern
from solver.domain.snapshot import Mask


@dataclass(frozen=True)
class ReachRule:
    """One rule over frame roles; receivers_total · … as in the domain type. ratio is 0 while totals are open."""

    senders: tuple[int, ...]
    receivers: tuple[int, ...]
    ratio: Fraction
    senders_total: int
    receivers_total: int


def check(gang: Gang) -> None:
    """Raises InvalidRequest when a flow under a reach rule is all_to_all."""
    for flow in gang.flows:
        if flow.pattern is Pattern.NEAREST:
            continue
        for position in gang.binding(flow):
            raise InvalidRequest(
                f"gang {gang.name}: flow {flow} never leaves a {gang.reach[position].level} (reach), "
                "so its pattern is nearest"
            )


def rules_at(problem: Problem, level: int) -> Iterator[ReachRule]:
    """Reach rules on `level`."""
    structure = problem.frame.structure
    for position, reach in enumerate(structure.gang.reach, start=len(structure.gang.flows)):
        if structure.tree.level(reach.level) == level:
            senders, receivers = problem.frame.members("from", position), problem.frame.members("to", position)
            totals = [sum(problem.totals[role] for role in side) for side in (senders, receivers)]
            ratio = reach.ratio if problem.frame.shape else Fraction(0)
            yield ReachRule(senders, receivers, ratio, totals[0], totals[1])


def mask(problem: Problem, level: int) -> Mask:
    """[states] allowed in a domain of `level`."""
    space = problem.layout.spaces[level]
    allowed = np.ones(space.size, dtype=np.bool_)
    for rule in rules_at(problem, level):
        here, there = space.pods[list(rule.senders)].sum(axis=0), space.pods[list(rule.receivers)].sum(axis=0)
        allowed &= (here > 0) == (there > 0)
        left = there * (rule.senders_total * rule.ratio.denominator)
        allowed &= left >= here * (rule.receivers_total * rule.ratio.numerator)
    return allowed


def mask_outside(problem: Problem, level: int) -> Mask:
    """[states] allowed on nodes without a domain of `level`: nobody who sends or receives."""
    space = problem.layout.spaces[level]
    allowed = np.ones(space.size, dtype=np.bool_)
    for rule in rules_at(problem, level):
        allowed &= space.pods[[*rule.senders, *rule.receivers]].sum(axis=0) == 0
    return allowed
