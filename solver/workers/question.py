"""A question, wherever it is answered, and the better of two answers to it."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from solver.batch.plan import plan_batch
from solver.domain.budget import Stop
from solver.domain.errors import InternalError
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Reason, ReasonCode, Sense, Status, TermValue
from solver.domain.snapshot import Snapshot
from solver.planner import WarmTables, plan
from solver.search.options import MIN_TIME_LIMIT_S, Engine, Options, Reporter

#: Small questions have no more gangs than this, each with no more pods, groups, roles, and pairs of roles with a flow.
SMALL_GANGS, SMALL_PODS, SMALL_GROUPS, SMALL_ROLES, SMALL_PAIRS = 16, 64, 8, 8, 64


@dataclass(frozen=True, slots=True)
class Question:
    """A call of `solver.planner.plan`, or with `batch` of `solver.batch.plan.plan_batch`, without the snapshot.

    until: end of the budget in seconds of time.monotonic, which all processes of a machine share. tables: under which
    name tables are kept for the next question; empty = they are not.
    """

    gangs: tuple[Gang, ...]
    options: Options
    until: float
    batch: bool = False
    fair_before: datetime | None = None
    tables: str = ""

    @property
    def left_s(self) -> float:
        """Seconds left of the budget; negative when it is over."""
        return self.until - time.monotonic()

    def answered(
        self, snapshot: Snapshot, reporter: Reporter | None, warm: WarmTables | None, stop: Stop | None
    ) -> Plan:
        """The answer, by this thread. Raises what the planner raises."""
        left_s = max(MIN_TIME_LIMIT_S, min(self.left_s, self.options.time_limit_s))
        options = replace(self.options, time_limit_s=left_s)
        if self.batch:
            return plan_batch(snapshot, self.gangs, options, reporter, warm, stop, self.fair_before)
        return plan(snapshot, self.gangs, options, reporter, warm, stop)


def is_small(question: Question) -> bool:
    """Whether most such questions are answered in little time: a bound by what is counted quickly."""
    gangs = question.gangs
    return question.options.engine is not Engine.CPSAT and len(gangs) <= SMALL_GANGS and all(map(_is_small, gangs))


def _is_small(gang: Gang) -> bool:
    groups, roles = list(gang.root.walk()), gang.roles
    pairs = sum(len(flow.senders) * len(flow.receivers) for flow in gang.flows)
    units = sum(group.replicas for group in groups)
    return (
        sum(len(role.pods) for role in roles) <= SMALL_PODS
        and units <= SMALL_GROUPS
        and len(roles) <= SMALL_ROLES
        and pairs + len(gang.reach) <= SMALL_PAIRS
    )


def unknown(gangs: Sequence[Gang], *reasons: Reason) -> Plan:
    """Nothing is known of any gang. reasons: why, where it is not that time ran out."""
    return Plan(tuple(GangPlan(gang.name, Status.UNKNOWN, reasons=reasons) for gang in gangs))


def is_final(found: Plan) -> bool:
    """Whether more time would change nothing: each gang's answer is proven, or it is too large."""
    return all(map(_is_final, found.gangs))


def _is_final(found: GangPlan) -> bool:
    too_large = any(reason.code is ReasonCode.TOO_LARGE for reason in found.reasons)
    return found.status in (Status.OPTIMAL, Status.INFEASIBLE) or too_large


def better(first: Plan, second: Plan) -> Plan:
    """Which of two answers to one question says more: the second unless its plans are worse.

    Raises InternalError where one holds a plan of a gang, asked about alone, that the other proves impossible.
    """
    statuses = [each.gangs[0].status for each in (first, second) if len(each.gangs) == 1]
    if Status.INFEASIBLE in statuses and any(status.placed for status in statuses):
        raise InternalError(f"gang {first.gangs[0].name} is proven impossible, and a plan of it is known")
    return first if _cost(first) < _cost(second) else second


def _cost(found: Plan) -> tuple[int, bool, tuple[int, ...], tuple[Fraction, ...]]:
    """Less is better: gangs of which nothing is known, not yet joint, gangs not admitted by class, the objective."""
    unsettled, batch = sum(gang.status is Status.UNKNOWN for gang in found.gangs), found.batch
    if batch is not None:
        return unsettled, False, tuple(-each.value for each in batch.admitted), tuple(_values(batch.objective))
    return unsettled, True, (), tuple(value for gang in found.gangs for value in _values(gang.objective))


def _values(objective: Iterable[TermValue]) -> Iterator[Fraction]:
    return (term.value if term.sense is Sense.MIN else -term.value for term in objective)


class Rising(Reporter):
    """Passes on what is no worse than what was reported of the gang before; so a second attempt takes nothing back."""

    def __init__(self, to: Reporter) -> None:
        self.wants_plans = to.wants_plans
        self._to = to
        self._best: dict[str, list[Fraction]] = {}
        self._so_far: Plan | None = None

    def stage(self, gang: str, text: str) -> None:
        """See Reporter."""
        self._to.stage(gang, text)

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        """See Reporter."""
        values = list(_values(objective))
        if values <= self._best.get(gang, values):
            self._best[gang] = values
            self._to.improved(gang, objective)

    def planned(self, so_far: Plan) -> None:
        """See Reporter."""
        if self._so_far is None or _cost(so_far) <= _cost(self._so_far):
            self._so_far = so_far
            self._to.planned(so_far)
