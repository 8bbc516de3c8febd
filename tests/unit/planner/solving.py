"""Plan one gang with one engine and hold the answer against the others: same status, values, bounds and reasons."""

import re
from collections.abc import Mapping
from fractions import Fraction

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Reason, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from support import oracle

#: Runs a test once with each engine.
each_engine = pytest.mark.parametrize("engine", list(Engine))

#: Far more than any instance of these tests needs.
PATIENCE_S = 120.0


def solved(snapshot: Snapshot, gang: Gang, engine: Engine) -> GangPlan:
    """The answer of one engine, which is also that of the default engine."""
    (answer,) = plan(snapshot, [gang], Options(engine, PATIENCE_S)).gangs
    if engine is not Engine.AUTO:
        (other,) = plan(snapshot, [gang], Options(Engine.AUTO, PATIENCE_S)).gangs
        assert (answer.status, answer.objective) == (other.status, other.objective)
        assert answer.reasons == other.reasons
    return answer


def placed(snapshot: Snapshot, gang: Gang, engine: Engine) -> GangPlan:
    """An answer that is proven optimal, term by term."""
    answer = solved(snapshot, gang, engine)
    assert answer.status is Status.OPTIMAL, answer.reasons
    assert [term.bound for term in answer.objective] == [term.value for term in answer.objective]
    assert answer.reasons == ()
    return answer


def refused(snapshot: Snapshot, gang: Gang, engine: Engine, code: str, text: str, **numbers: int) -> GangPlan:
    """An answer that nothing can be placed, for one reason with these numbers.

    text: what the sentence says, in this order; `…` stands for any words.
    """
    answer = solved(snapshot, gang, engine)
    assert answer.status is Status.INFEASIBLE
    assert (answer.assignments, answer.objective, answer.flows, dict(answer.domains)) == ((), (), (), {})
    found = [(reason.code, dict(reason.numbers)) for reason in answer.reasons]
    assert found == [(ReasonCode(code), numbers)], answer.reasons
    assert says(answer.reasons[0], text), answer.reasons
    return answer


def says(reason: Reason, text: str) -> bool:
    """Whether the sentence has the parts of `text`, between which `…` stands for any words, in this order."""
    parts = [rf"\b{re.escape(part.strip())}\b" for part in text.split("…")]
    return re.search(".*?".join(parts), reason.message) is not None


def brute_force_agrees(snapshot: Snapshot, gang: Gang, answer: GangPlan) -> bool:
    """Whether trying every map finds the same values, or none."""
    best = oracle.solve(snapshot, gang)
    if best is None:
        return answer.status is Status.INFEASIBLE
    return answer.status is Status.OPTIMAL and values(answer) == dict(zip(oracle.TERMS, best.values, strict=True))


def values(answer: GangPlan) -> dict[str, Fraction]:
    """Term → value."""
    return {term.term: term.value for term in answer.objective}


def nodes_of(answer: GangPlan) -> Mapping[str, str]:
    """Pod, without its namespace → node."""
    return {item.pod.partition("/")[2]: item.node for item in answer.assignments}
