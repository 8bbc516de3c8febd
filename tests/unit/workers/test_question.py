"""Which questions are small, and which of two answers says more."""

from dataclasses import replace
from fractions import Fraction

import pytest

from solver.domain.errors import InternalError
from solver.domain.gang import Gang
from solver.domain.plan import Admitted, Batch, GangPlan, Plan, Reason, ReasonCode, Sense, Status, TermValue
from solver.planner import Engine, Options
from solver.search.options import Reporter
from solver.workers.question import SMALL_GANGS, SMALL_PODS, Question, Rising, better, is_final, is_small
from support.builders import flow, gang, group, role

ONE = gang(role("w", 1))


def question(*gangs: Gang, engine: Engine = Engine.AUTO) -> Question:
    """About these gangs."""
    return Question(gangs, Options(engine), 0.0)


@pytest.mark.parametrize(
    "many",
    [
        gang(role("w", SMALL_PODS + 1)),
        gang(*(role(f"r{at}", 1) for at in range(9))),
        gang(role("w", 1), group("g", role("x", 1), replicas=9, min_replicas=1)),
        gang(role("a", 1), role("b", 1), flows=[flow("a", "b")] * 65),
    ],
    ids=["pods", "roles", "replicas", "flows"],
)
def test_what_is_not_certainly_small(many: Gang) -> None:
    """Any one number that is large is enough."""
    assert not is_small(question(many))
    assert not is_small(question(ONE, many))


def test_what_is_small() -> None:
    """Up to the limits, unless CP-SAT is to search alone."""
    assert is_small(question(*[gang(role("w", SMALL_PODS))] * SMALL_GANGS))
    assert not is_small(question(*[ONE] * (SMALL_GANGS + 1)))
    assert not is_small(question(ONE, engine=Engine.CPSAT))


def term(name: str, value: int, sense: Sense = Sense.MIN) -> TermValue:
    """A term without a bound."""
    return TermValue(name, sense, Fraction(value), None)


def answer(*values: int, status: Status = Status.FEASIBLE, replicas: int = 3) -> GangPlan:
    """Replicas, which are to be many, then terms that are to be low."""
    terms = (term("replicas", replicas, Sense.MAX), *(term(f"t{at}", value) for at, value in enumerate(values)))
    return GangPlan("default/a", status, objective=terms if status.placed else ())


NOTHING = answer(status=Status.UNKNOWN)


@pytest.mark.parametrize(
    ("worse", "more"),
    [
        ([answer(2, 3)], [answer(2, 2)]),
        ([answer(2, 3)], [answer(1, 9)]),
        ([answer(1, 1, replicas=2)], [answer(5, 5, replicas=3)]),
        ([NOTHING], [answer(9)]),
        ([NOTHING], [answer(status=Status.INFEASIBLE)]),
        ([answer(1), NOTHING], [answer(2), answer(2)]),
    ],
)
def test_the_better_of_two(worse: list[GangPlan], more: list[GangPlan]) -> None:
    """Known gangs first, then the terms in order; whichever came first."""
    less, best = Plan(tuple(worse)), Plan(tuple(more))
    assert better(less, best) is best
    assert better(best, less) is best


def test_of_equals_the_second() -> None:
    """It had more time to prove something."""
    first, second = Plan((answer(2),)), Plan((answer(2, status=Status.OPTIMAL),))
    assert better(first, second) is second
    assert better(second, first) is first


def test_admitted_gangs_of_a_batch_come_first() -> None:
    """Then its terms."""

    def batch(admitted: int, value: int) -> Plan:
        return Plan((answer(1),), batch=Batch((Admitted(0, admitted, 9),), (term("t", value),)))

    assert better(batch(3, 1), batch(4, 9)).batch == batch(4, 9).batch
    assert better(batch(4, 9), batch(4, 8)).batch == batch(4, 8).batch


def test_a_plan_of_what_is_proven_impossible_is_a_defect() -> None:
    """It is said, not hidden."""
    plans = Plan((answer(1),)), Plan((answer(status=Status.INFEASIBLE),))
    for first, second in (plans, plans[::-1]):
        with pytest.raises(InternalError, match="impossible"):
            better(first, second)


def test_what_more_time_would_not_change() -> None:
    """Proofs, and what is too large."""
    reason = Reason(ReasonCode.TOO_LARGE, "too many")
    proven = [answer(1, status=Status.OPTIMAL), answer(status=Status.INFEASIBLE), replace(NOTHING, reasons=(reason,))]
    assert is_final(Plan(tuple(proven)))
    for open_ in (NOTHING, answer(1)):
        assert not is_final(Plan((*proven, open_)))


def test_a_second_attempt_takes_nothing_back() -> None:
    """What is worse than what was told is not told; the same with more proven is."""
    told: list[object] = []

    class Told(Reporter):
        wants_plans = True

        def stage(self, gang: str, text: str) -> None:
            told.append(text)

        def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
            told.append((gang, [int(each.value) for each in objective]))

        def planned(self, so_far: Plan) -> None:
            told.append(so_far)

    rising = Rising(Told())
    assert rising.wants_plans
    rising.stage("a", "compiling")
    for name, value in (("a", 3), ("a", 2), ("b", 5), ("a", 3), ("a", 2), ("a", 1)):
        rising.improved(name, (term("t", value),))
    assert told == ["compiling", ("a", [3]), ("a", [2]), ("b", [5]), ("a", [2]), ("a", [1])]
    told.clear()
    sequence, joint = Plan((answer(1),)), Plan((answer(1),), batch=Batch((Admitted(0, 1, 1),)))
    for so_far in (Plan((NOTHING,)), sequence, joint, sequence, Plan((NOTHING,)), joint):
        rising.planned(so_far)
    assert told == [Plan((NOTHING,)), sequence, joint, joint]
