"""How the tables of this folder are read: instances that fit, and instances that do not with the reason in full."""

from collections.abc import Mapping

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import GangPlan
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from tests.unit.planner.solving import brute_force_agrees, placed, refused

#: What fits: an instance and the number of pods the best plan places.
Fits = tuple[Snapshot, Gang, int]

#: What does not: an instance, the code of its reason, the sentence and the numbers.
Refused = tuple[Snapshot, Gang, str, str, Mapping[str, int]]


def fitting(table: Mapping[str, Fits]) -> pytest.MarkDecorator:
    """Runs a test once for each instance of the table."""
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


def refusing(table: Mapping[str, Refused]) -> pytest.MarkDecorator:
    """Runs a test once for each instance of the table."""
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


def check_fits(case: Fits, engine: Engine) -> GangPlan:
    """The instance is placed, proven optimal, with the stated number of new pods, and brute force agrees."""
    snapshot, gang, pods = case
    answer = placed(snapshot, gang, engine)
    assert len(answer.assignments) == pods
    assert brute_force_agrees(snapshot, gang, answer)
    return answer


def check_refused(case: Refused, engine: Engine) -> GangPlan:
    """The instance is infeasible for the stated reason, and brute force agrees."""
    snapshot, gang, code, text, numbers = case
    answer = refused(snapshot, gang, engine, code, text, **numbers)
    assert brute_force_agrees(snapshot, gang, answer)
    return answer
