"""plan_batch(): several gangs planned jointly, never worse than one after another."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from solver.batch.alone import Alone
from solver.batch.improve import Improver
from solver.batch.objective import batch_of, settled_classes, terms_of_gang
from solver.batch.ranks import Rank, by_rank, ranks_of
from solver.batch.state import Site, State, first_state
from solver.bound.warm import WarmTables
from solver.domain.budget import Budget, Stop
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.holding import holding_running, without_lost
from solver.domain.naming import natural_key
from solver.domain.nominated import seen_alike
from solver.domain.order import turn
from solver.domain.plan import Admitted, Batch, GangPlan, Plan, Proof, Reason, ReasonCode, Status
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
        batch = batch_of(state, ranks, alone, False)
        answers = _Answers(first, state, alone, False, settled_classes(state, ranks, batch)).all(moved=True)
        reporter.planned(Plan(answers, first.warnings, batch))

    improver = Improver(start, alone, options.engine, search, reporter, warm, told if reporter.wants_plans else None)
    improver.run()
    state, proven = improver.state, improver.proven
    batch = batch_of(state, ranks, alone, proven, improver.most)
    answers = _Answers(first, state, alone, proven, settled_classes(state, ranks, batch)).all(state is not start)
    warnings = first.warnings if site.apart is None else (*first.warnings, site.apart)
    return Plan(answers, warnings, batch)


def _without_verifying(budget: Budget, first: Plan) -> Budget:
    """The budget without the time that verifying all gangs in the end will take."""
    spent_s = sum(answer.stats.verify_ms for answer in first.gangs) / 1000
    left_s = budget.left_s
    return budget.within(max(left_s - VERIFY_FACTOR * spent_s, (1 - VERIFY_MOST) * left_s))


@dataclass(frozen=True)
class _Answers:
    """The gangs' answers among all others.

    first: the sequential plan. proven: nothing can be better than the state. settled: gangs of classes of which no more
    can be placed.
    """

    first: Plan
    state: State
    alone: Alone
    proven: bool
    settled: Collection[int]

    def all(self, moved: bool) -> tuple[GangPlan, ...]:
        """Every answer. moved: some placement is not the sequential plan's."""
        verdicts = self.state.verified() if moved else {}
        return tuple(
            telling_empty(
                self._placed(before, at, verdicts.get(at)) if at in self.state.placed else self._refused(before, at)
            )
            for at, before in enumerate(self.first.gangs)
        )

    def _placed(self, before: GangPlan, at: int, verdict: Verification | None) -> GangPlan:
        return replace(
            before,
            status=Status.OPTIMAL if self.proven else Status.FEASIBLE,
            assignments=self.state.placed[at],
            objective=terms_of_gang(self.state, self.alone, at, self.proven),
            domains=before.domains if verdict is None else verdict.domains,
            flows=before.flows if verdict is None else verdict.flows,
            reasons=(),
            stats=replace(before.stats, proof=Proof.CPSAT if self.proven else Proof.NONE),
            handover_ms=self.state.site.handover_ms(at),
        )

    def _refused(self, before: GangPlan, at: int) -> GangPlan:
        """A gang without a place: it fits nowhere, others hold the room, or it is not known whether it might fit."""
        taken = any(reason.code is ReasonCode.TAKEN for reason in before.reasons)
        if before.status is Status.INFEASIBLE and not taken:
            return before
        alone, takers = self.alone.answer(at), self._takers(at)
        if alone is not None and alone.status is Status.INFEASIBLE:
            return _without_place(before, Status.INFEASIBLE, alone.reasons)
        if takers and (taken or self.proven or at in self.settled):
            fits = taken or before.status.placed or (alone is not None and alone.status.placed)
            return _without_place(before, Status.INFEASIBLE, (taken_by(takers, fits),))
        return _without_place(before, Status.UNKNOWN, before.reasons if before.status is Status.UNKNOWN else ())

    def _takers(self, at: int) -> list[str]:
        """Placed gangs that come before a gang or are of its class; any, if there are none."""
        gangs = self.state.site.gangs
        placed = [other for other in self.state.placed if self.state.placed[other]]
        before = [other for other in placed if gangs[other].priority >= gangs[at].priority]
        return sorted((gangs[other].name for other in before or placed), key=natural_key)


def _without_place(before: GangPlan, status: Status, reasons: tuple[Reason, ...]) -> GangPlan:
    return GangPlan(before.name, status, reasons=reasons, warnings=before.warnings, stats=before.stats)


def _of_few(few: Plan, ranks: Sequence[Rank]) -> Batch:
    """What a plan of one gang, or of none, is worth."""
    admitted = tuple(
        Admitted(rank.priority, int(answer.status.placed), int(answer.status is not Status.INFEASIBLE), rank.waited)
        for rank, answer in zip(ranks, few.gangs, strict=True)
    )
    return Batch(admitted, few.gangs[0].objective if few.gangs else ())
