"""plan_batch(): several gangs planned jointly, never worse than one after another."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from solver.batch.alone import Alone
from solver.batch.improve import Improver
from solver.batch.objective import batch_of, terms_of_gang
from solver.batch.ranks import Rank, by_rank, ranks_of
from solver.batch.state import Site, State, first_state
from solver.bound.warm import WarmTables
from solver.domain.budget import Budget, Stop
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.holding import holding_running, without_lost
from solver.domain.nominated import seen_alike
from solver.domain.order import turn
from solver.domain.plan import Admitted, Batch, GangPlan, Plan, Proof, Status
from solver.domain.snapshot import Snapshot
from solver.explain.empty import telling_empty
from solver.planner import plan, taken_by
from solver.search.options import Engine, Options, Reporter
from solver.verify.checker import Verification

#: How much longer verifying the batch may take than verifying each gang of the sequential plan did.
VERIFY_FACTOR, VERIFY_MOST = 2.0, 0.3


def plan_batch(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    options: Options | None = None,
    reporter: Reporter | None = None,
    warm: WarmTables | None = None,
    stop: Stop | None = None,
    fair_before: datetime | None = None,
) -> Plan:
    """Place `gangs` jointly: as many as possible, higher priority classes strictly first, then the terms summed.

    Starts from the sequential plan, without certificates, which may use the whole budget, and improves it with what
    is left by placing a few gangs (or, where they are few, all) anew together, until that is proven best; so it is
    never worse than sequential. The order of `gangs` changes nothing but the order of the answers. Statuses are
    `optimal` when the joint optimum is proven, else `feasible` for placed gangs, with what each gang could reach alone
    as bounds; `Plan.batch` sums up. fair_before: within a priority, gangs created before this moment are a class of
    their own, strictly before the others. Raises as plan() does, and InvalidRequest for engine tree.
    """
    options, reporter, warm = options or Options(), reporter or Reporter(), warm or WarmTables()
    if options.engine is Engine.TREE:
        raise InvalidRequest("a batch is placed jointly by CP-SAT, which engine tree leaves out")
    if len(gangs) < 2:
        few = plan(snapshot, gangs, options, reporter, warm, stop)
        return replace(few, batch=_of_few(few, ranks_of(gangs, fair_before)))
    turns = sorted(range(len(gangs)), key=lambda at: turn(gangs[at]))
    planned = _planned(snapshot, [gangs[at] for at in turns], options, reporter, warm, stop, fair_before)
    answers = dict(zip(turns, planned.gangs, strict=True))
    return replace(planned, gangs=tuple(answers[at] for at in range(len(gangs))))


def _planned(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    options: Options,
    reporter: Reporter,
    warm: WarmTables,
    stop: Stop | None,
    fair_before: datetime | None,
) -> Plan:
    """Gangs in the order of their turns, planned jointly."""
    budget = options.budget(stop)
    ranks = ranks_of(gangs, fair_before)
    ranked = by_rank(gangs, ranks)
    present = [without_lost(snapshot, gang)[0] for gang in ranked]
    held = holding_running(snapshot, present)
    alike = seen_alike(held, present)
    site = Site(held if alike is None else alike, present, warm)
    options = replace(options, certificate=False, levels=site.words)
    first = plan(site.snapshot, ranked, options, reporter, warm, stop)
    start = first_state(site, first)
    search = _without_verifying(budget, first)
    alone = Alone(site, options.engine, warm)

    def told(state: State) -> None:
        answers = _answers(first, state, True, alone, False)
        reporter.planned(Plan(answers, first.warnings, batch_of(state, ranks, alone, False)))

    improver = Improver(start, alone, options.engine, search, reporter, warm, told if reporter.wants_plans else None)
    improver.run()
    answers = _answers(first, improver.state, improver.state is not start, alone, improver.proven)
    warnings = first.warnings if site.apart is None else (*first.warnings, site.apart)
    return Plan(answers, warnings, batch_of(improver.state, ranks, alone, improver.proven))


def _without_verifying(budget: Budget, first: Plan) -> Budget:
    """The budget without the time that verifying all gangs in the end will take."""
    spent_s = sum(answer.stats.verify_ms for answer in first.gangs) / 1000
    left_s = budget.left_s
    return budget.within(max(left_s - VERIFY_FACTOR * spent_s, (1 - VERIFY_MOST) * left_s))


def _answers(first: Plan, state: State, moved: bool, alone: Alone, proven: bool) -> tuple[GangPlan, ...]:
    """The gangs' answers among all others. moved: some placement is not the sequential plan's."""
    verdicts = state.verified() if moved else {}
    answers = []
    for at, before in enumerate(first.gangs):
        if at in state.placed:
            answers.append(_placed(before, state, at, verdicts.get(at), alone, proven))
        elif before.status.placed:
            takers = sorted(state.site.gangs[other].name for other in state.placed)
            answers.append(_displaced(before, takers, proven))
        else:
            answers.append(before)
    return tuple(telling_empty(answer) for answer in answers)


def _placed(
    before: GangPlan, state: State, at: int, verdict: Verification | None, alone: Alone, proven: bool
) -> GangPlan:
    return replace(
        before,
        status=Status.OPTIMAL if proven else Status.FEASIBLE,
        assignments=state.placed[at],
        objective=terms_of_gang(state, alone, at, proven),
        domains=before.domains if verdict is None else verdict.domains,
        flows=before.flows if verdict is None else verdict.flows,
        reasons=(),
        stats=replace(before.stats, proof=Proof.CPSAT if proven else Proof.NONE),
        handover_ms=state.site.handover_ms(at),
    )


def _displaced(before: GangPlan, takers: Sequence[str], proven: bool) -> GangPlan:
    """A gang that gave way to others of the batch."""
    status = Status.INFEASIBLE if proven else Status.UNKNOWN
    reasons = (taken_by(takers),) if proven else ()
    return GangPlan(before.name, status, reasons=reasons, warnings=before.warnings, stats=before.stats)


def _of_few(few: Plan, ranks: Sequence[Rank]) -> Batch:
    """What a plan of one gang, or of none, is worth."""
    admitted = tuple(
        Admitted(rank.priority, int(answer.status.placed), int(answer.status is not Status.INFEASIBLE), rank.waited)
        for rank, answer in zip(ranks, few.gangs, strict=True)
    )
    return Batch(admitted, few.gangs[0].objective if few.gangs else ())
