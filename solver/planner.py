"""plan(): the one pure function every door of Huddle calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from solver.bound.warm import WarmTables
from solver.compile.naming import name_pods
from solver.compile.structure import Structure, build_structure, check_levels
from solver.domain.budget import Budget, OutOfTime, Stop
from solver.domain.errors import InternalError, InvalidRequest, TooLarge
from solver.domain.gang import Gang
from solver.domain.holding import holding_planned, holding_running, without_lost
from solver.domain.levels import TopologySpec
from solver.domain.nominated import seen_by
from solver.domain.order import turn
from solver.domain.plan import (
    Assignment,
    GangPlan,
    Notice,
    Plan,
    Proof,
    Reason,
    ReasonCode,
    Sense,
    Stats,
    Status,
    TermValue,
)
from solver.domain.replicas import fewest_pods
from solver.domain.snapshot import Snapshot
from solver.explain.causes import reasons_for
from solver.explain.empty import telling_empty
from solver.explain.requests import doubtful_requests
from solver.rules import bandwidth, reach
from solver.search.cpsat import Answer
from solver.search.options import Engine, Options, Reporter
from solver.search.solve import Clock, Outcome, Settled, solve_gang
from solver.topology.choice import choose_topology
from solver.topology.tree import build_tree
from solver.verify.checker import TERMS, Verification, verify

__all__ = ["Engine", "Options", "Reporter", "WarmTables", "plan"]

#: Seconds kept for each pod of the gang to be named and checked.
_FINISH_S = 20e-6
#: What naming and checking may take beyond the end: part of the time limit, and seconds.
_GRACE_SHARE, _GRACE_S = 0.1, 0.1

_STATUS = {
    Answer.OPTIMAL: Status.OPTIMAL,
    Answer.FEASIBLE: Status.FEASIBLE,
    Answer.INFEASIBLE: Status.INFEASIBLE,
    Answer.UNKNOWN: Status.UNKNOWN,
}


def plan(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    options: Options | None = None,
    reporter: Reporter | None = None,
    warm: WarmTables | None = None,
    stop: Stop | None = None,
) -> Plan:
    """Place `gangs` one after another, each all or nothing, and say how good each answer is proven to be.

    Higher priority first, then creation time, then name (see `turn`), whatever the order of `gangs`, which is that of
    the answers; each gang sees what its predecessors of this call hold. Pure: the result depends on the arguments
    alone, apart from where the time budget ends. warm: tables to use and to add to; they change no status and no value.
    stop: ends the work within some 50 ms of being set; the answer is what is known by then, as when time runs out. A
    running member on a node that is not in the snapshot is lost: a notice says so, and its place is planned anew.
    Raises InvalidRequest for contradictory input (unknown levels, …), InternalError when a plan fails verification.
    """
    options, reporter = options or Options(), reporter or Reporter()
    budget = options.budget(stop)
    known = [without_lost(snapshot, gang) for gang in gangs]
    gangs = [gang for gang, _ in known]
    snapshot = state = holding_running(snapshot, gangs)
    done: dict[int, GangPlan] = {}
    for at in sorted(range(len(gangs)), key=lambda at: turn(gangs[at])):
        told = partial(_tell, reporter, gangs, done, at) if reporter.wants_plans else None
        answer = _Solver(state, gangs[at], options, budget, reporter, warm, told).answer()
        if answer.status is Status.INFEASIBLE and state is not snapshot:
            answer = _taken(snapshot, gangs, at, done, options, budget, warm) or answer
        if answer.assignments:
            state = holding_planned(state, gangs[at], answer.assignments)
        done[at] = telling_empty(replace(answer, warnings=(*known[at][1], *answer.warnings)))
        if told is not None:
            told(done[at])
    return Plan(tuple(done[at] for at in range(len(gangs))))


def _tell(reporter: Reporter, gangs: Sequence[Gang], done: Mapping[int, GangPlan], at: int, answer: GangPlan) -> None:
    """Tell of the call as a whole: a gang has this answer, those before it are done."""
    known = {**done, at: answer}
    reporter.planned(Plan(tuple(known.get(at) or GangPlan(gang.name, Status.UNKNOWN) for at, gang in enumerate(gangs))))


def _taken(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    at: int,
    done: dict[int, GangPlan],
    options: Options,
    budget: Budget,
    warm: WarmTables | None,
) -> GangPlan | None:
    """The answer `taken` when the gang would fit without its predecessors of this call."""
    alone = _Solver(snapshot, gangs[at], options, budget, Reporter(), warm).answer()
    if not alone.status.placed:
        return None
    reason = taken_by(sorted(done[other].name for other in done if done[other].assignments))
    return GangPlan(alone.name, Status.INFEASIBLE, reasons=(reason,), warnings=alone.warnings, stats=alone.stats)


def taken_by(takers: Sequence[str], fits: bool = True) -> Reason:
    """Reason of a gang that is left out because these gangs of the same call hold the room.

    fits: whether it is known that the gang would fit without them.
    """
    why = "it would fit, but" if fits else "no more gangs can be placed:"
    text = f"{why} gangs of this call took the room: {', '.join(takers)}"
    return Reason(ReasonCode.TAKEN, text, tuple(takers), {"gangs": len(takers)})


def too_large(error: TooLarge) -> Reason:
    """Reason of a gang that one call cannot look at."""
    return Reason(ReasonCode.TOO_LARGE, str(error), (), {"number": error.number, "limit": error.limit})


@dataclass
class _Solver:
    """One gang against one snapshot."""

    snapshot: Snapshot
    gang: Gang
    options: Options
    budget: Budget
    reporter: Reporter
    warm: WarmTables | None
    planned: Callable[[GangPlan], None] | None = None
    told: tuple[Fraction, ...] | None = None

    def answer(self) -> GangPlan:
        """The gang's plan or reasons. Raises InvalidRequest naming the gang."""
        try:
            return self.answered()
        except InvalidRequest as error:
            prefix = f"gang {self.gang.name}: "
            raise InvalidRequest(prefix + str(error).removeprefix(prefix)) from error

    def answered(self) -> GangPlan:
        clock, notices = Clock(), list[Notice]()
        try:
            return self.solved(clock, notices)
        except OutOfTime:
            return self.unknown(clock, notices)
        except TooLarge as error:
            return self.unknown(clock, notices, too_large(error))

    def unknown(self, clock: Clock, notices: Sequence[Notice], *reasons: Reason) -> GangPlan:
        """No answer: out of time, or too large as the reason says."""
        stats = self.stats(clock, Proof.NONE, 0.0)
        return GangPlan(self.gang.name, Status.UNKNOWN, reasons=reasons, warnings=tuple(notices), stats=stats)

    def solved(self, clock: Clock, notices: list[Notice]) -> GangPlan:
        """The answer; `notices` are filled on the way. Raises OutOfTime and TooLarge when there is none."""
        self.reporter.stage(self.gang.name, "compiling")
        spec, told = choose_topology(self.snapshot, self.gang, self.options.levels)
        notices += told
        if self.gang.queue and not self.snapshot.queues:
            message = f"queue {self.gang.queue} is not in the input; no limit is applied"
            notices.append(Notice("queue_unknown", self.gang.name, "queue", message))
        notices += doubtful_requests(self.gang, self.snapshot.accelerators)
        check_levels(self.gang, spec)
        reach.check(self.gang)
        budget = self.budget.ending(_FINISH_S * self.pods)
        budget.check()
        structure = self.structure(spec, budget)
        notices += bandwidth.notices(self.gang, structure.tree)
        clock.compile_ms += clock.lap()
        self.reporter.stage(self.gang.name, "solving")
        improved = partial(self.improved, structure, tuple(notices))
        outcome = solve_gang(
            structure, self.options.engine, budget, clock, self.warm, improved, self.options.certificate
        )
        if outcome.settled is None:
            reasons = reasons_for(structure, self.finish) if outcome.answer is Answer.INFEASIBLE else ()
            if outcome.too_large is not None:
                reasons = (too_large(outcome.too_large),)
            stats = self.stats(clock, outcome.proof, 0.0)
            return GangPlan(
                self.gang.name, _STATUS[outcome.answer], reasons=reasons, warnings=tuple(notices), stats=stats
            )
        self.reporter.stage(self.gang.name, "verifying")
        return self.verified(structure, outcome, outcome.settled, tuple(notices), clock)

    def improved(
        self, structure: Structure, notices: tuple[Notice, ...], settled: Settled, replicas_proven: bool
    ) -> None:
        """Tell the reporter of a plan, unless a better one was told before."""
        replicas = Fraction(settled.shape.pods - (fewest_pods(self.gang.root) or 0))
        worth = (replicas, *(-value for value in settled.values))
        if self.told is None or worth >= self.told:
            if self.planned is not None and settled.states and worth != self.told:
                outcome = Outcome(Answer.FEASIBLE, Proof.NONE, settled, replicas_proven)
                self.planned(self.verified(structure, outcome, settled, notices, Clock()))
            self.told = worth
            found = _objective([replicas, *settled.values], settled.bounds, replicas_proven)
            self.reporter.improved(self.gang.name, found)

    @property
    def finish(self) -> Budget:
        """For what comes after the search: names, checks, reasons."""
        return self.budget.with_grace(_GRACE_SHARE * self.options.time_limit_s + _GRACE_S)

    @property
    def pods(self) -> int:
        """All pods of the gang."""
        return sum(len(role.pods) for role in self.gang.roles)

    def structure(self, spec: TopologySpec, budget: Budget) -> Structure:
        """Normal form of the gang over the snapshot."""
        tree = self.warm.tree(self.snapshot, spec) if self.warm else build_tree(self.snapshot, spec)
        return build_structure(self.gang, seen_by(self.snapshot, self.gang), tree, budget=budget)

    def verified(
        self, structure: Structure, outcome: Outcome, settled: Settled, notices: tuple[Notice, ...], clock: Clock
    ) -> GangPlan:
        """The plan with names, after the independent checker has agreed to it."""
        clock.lap()
        budget = self.finish
        assignments = () if settled.problem is None else name_pods(settled.problem, settled.states, budget)
        checked = verify(self.snapshot, self.gang, structure.tree.spec, assignments, structure.tree, budget)
        _check(self.gang, checked, outcome, settled)
        verify_ms = clock.lap()
        return GangPlan(
            name=self.gang.name,
            status=_STATUS[outcome.answer],
            assignments=assignments,
            running=self.running(),
            objective=_objective(list(checked.objective.values()), settled.bounds, outcome.replicas_proven),
            domains=checked.domains,
            flows=checked.flows,
            warnings=notices,
            stats=self.stats(clock, outcome.proof, verify_ms),
            handover_ms=structure.tree.spec.handover_ms if self.gang.hands_over else None,
        )

    def running(self) -> tuple[Assignment, ...]:
        role_of = {pod: role.name for role in self.gang.roles for pod in role.pods}
        return tuple(Assignment(member.pod, role_of[member.pod], member.node) for member in self.gang.running)

    def stats(self, clock: Clock, proof: Proof, verify_ms: float) -> Stats:
        return Stats(
            nodes=len(self.snapshot.nodes),
            classes=clock.classes,
            signatures=clock.signatures,
            domains_recomputed=clock.recomputed,
            widened=clock.widened,
            compile_ms=clock.compile_ms,
            bound_ms=clock.bound_ms,
            search_ms=clock.search_ms,
            verify_ms=verify_ms,
            engine=self.options.engine.value,
            proof=proof,
        )


def _check(gang: Gang, checked: Verification, outcome: Outcome, settled: Settled) -> None:
    """Raises InternalError unless the checker accepts the plan and agrees on what it is worth."""
    if checked.violations:
        raise InternalError(f"gang {gang.name}: the plan fails verification: {checked.violations[0]}")
    values = tuple(checked.objective[term] for term in TERMS[1:])
    if outcome.answer is Answer.OPTIMAL and values != settled.values:
        raise InternalError(f"gang {gang.name}: the checker values the plan at {values}, not {settled.values}")


def _objective(
    values: Sequence[Fraction], bounds: Sequence[Fraction | None], replicas_proven: bool
) -> tuple[TermValue, ...]:
    """Terms as the answer states them. values: of all terms; bounds: of those after `replicas`."""
    found = [TermValue(TERMS[0], Sense.MAX, values[0], values[0] if replicas_proven else None)]
    for term, value, bound in zip(TERMS[1:], values[1:], bounds, strict=True):
        found.append(TermValue(term, Sense.MIN, value, bound if replicas_proven else None))
    return tuple(found)
