"""plan_batch(): several gangs planned jointly, never worse than one after another."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from solver.bound.warm import WarmTables
from solver.domain.budget import Budget, Stop
from solver.domain.errors import InternalError, InvalidRequest
from solver.domain.gang import Gang
from solver.domain.holding import as_bound, holding_running
from solver.domain.levels import TopologySpec
from solver.domain.plan import Assignment, GangPlan, Plan, Proof, Sense, Status, TermValue
from solver.domain.snapshot import Snapshot
from solver.planner import plan, taken_by
from solver.search.joint import Joint, place_together
from solver.search.options import MIN_TIME_LIMIT_S, Engine, Options, Reporter
from solver.topology.choice import choose_topology
from solver.topology.tree import Tree, build_tree
from solver.verify.checker import TERMS, Verification, verify

#: Up to so many gangs and pods are placed all at once; beyond, a few at a time.
ALL_AT_ONCE_GANGS, ALL_AT_ONCE_PODS = 4, 40
#: Above so many nodes a few gangs are placed anew on the domains they use or would use alone only.
WHOLE_NODES = 64
#: Longest time for one joint placement of a few gangs, in seconds.
STEP_S = 2.0

#: Higher is better: gangs admitted by class, pods above the fewest, kept replicas, then the other terms negated.
Worth = tuple[tuple[int, ...], tuple[Fraction, ...]]


def plan_batch(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    options: Options | None = None,
    reporter: Reporter | None = None,
    warm: WarmTables | None = None,
    stop: Stop | None = None,
) -> Plan:
    """Place `gangs` jointly: as many as possible, higher priority classes strictly first, then the terms summed.

    Starts from the sequential plan, which may use the whole budget, and improves it with what is left by placing two
    or three gangs (or, where they are few, all) anew together, until that is proven best; so it is never worse than
    sequential. Statuses are `optimal` when the joint optimum is proven, else `feasible` for placed gangs, with what
    each gang could reach alone as bounds. Raises as plan() does, and InvalidRequest for engine tree.
    """
    options, reporter, warm = options or Options(), reporter or Reporter(), warm or WarmTables()
    if options.engine is Engine.TREE:
        raise InvalidRequest("a batch is placed jointly by CP-SAT, which engine tree leaves out")
    if len(gangs) < 2:
        return plan(snapshot, gangs, options, reporter, warm, stop)
    budget = options.budget(stop)
    snapshot = holding_running(snapshot, gangs)
    first = plan(snapshot, gangs, options, reporter, warm, stop)
    batch = _Batch(snapshot, gangs, first, warm, budget)
    movable = batch.movable()
    proven = False
    for chosen in _neighbourhoods(batch, movable):
        left = budget.left_s - batch.reserve_s
        if left <= 0 or (len(snapshot.nodes) > WHOLE_NODES and batch.each_as_if_alone()):
            break
        whole = len(chosen) == len(gangs)
        reporter.stage("batch", f"placing {len(chosen)} gangs together")
        limit = budget.within(left if whole else min(left, STEP_S))
        lowest = None if len(snapshot.nodes) <= WHOLE_NODES else batch.candidates(chosen)
        found = place_together(batch.without(chosen), [gangs[at] for at in chosen], batch.tree, limit, lowest)
        if found is not None:
            worth = batch.offer(chosen, found)
            if whole and found.proven:
                if worth != batch.worth:
                    raise InternalError("a joint placement proven best is worth less than another one")
                proven = True
                break
    return batch.answer(first, proven)


class _Batch:
    """The current assignments of all gangs, and what they are worth together."""

    def __init__(
        self, snapshot: Snapshot, gangs: Sequence[Gang], first: Plan, warm: WarmTables, budget: Budget
    ) -> None:
        self.snapshot, self.gangs, self.warm, self.budget = snapshot, tuple(gangs), warm, budget
        self.placed: dict[int, tuple[Assignment, ...]] = {
            at: answer.assignments for at, answer in enumerate(first.gangs) if answer.status.placed
        }
        specs = [choose_topology(snapshot, gang.topology)[0] for gang in gangs]
        self.spec: TopologySpec = specs[0]
        self.one_topology = all(spec == self.spec for spec in specs)
        self.tree: Tree = build_tree(snapshot, self.spec)
        self.by_itself: dict[int, GangPlan] = {}
        self.check_s = self.alone_s = 0.0
        self.verdicts = self.checked(self.placed)
        self.worth = self.worth_of(self.verdicts)

    @property
    def reserve_s(self) -> float:
        """Seconds that work after a search takes: one more check of all gangs, and what each could reach alone."""
        unknown = sum(at not in self.by_itself for at in self.placed)
        return self.check_s + unknown * self.alone_s / max(1, len(self.by_itself))

    def movable(self) -> list[int]:
        """Gangs that may be placed together: one topology, nothing running, no anti-affinity among themselves."""
        if not self.one_topology:
            return []
        return [
            at
            for at, gang in enumerate(self.gangs)
            if not gang.running and not any(_repels(gang, other) or _repels(other, gang) for other in self.gangs)
        ]

    def without(self, chosen: Sequence[int]) -> Snapshot:
        """The cluster with every gang but the chosen ones in it."""
        return self.among(self.placed, chosen)

    def each_as_if_alone(self) -> bool:
        """Whether every gang is placed, and but for `fragmentation` as well as if the others were not there."""
        return all(at in self.placed for at in range(len(self.gangs))) and all(
            bound is not None and bound == value
            for at in self.placed
            for bound, value in zip(self.bounds(at), self.values(at), strict=True)
        )

    def values(self, at: int) -> list[Fraction]:
        """The gang's terms among all others, without fragmentation."""
        found = self.verdicts[at].objective
        return [found[term] for term in TERMS[:-1]]

    def bounds(self, at: int) -> list[Fraction | None]:
        """What no placement of the batch can better for this gang, term by term, without fragmentation.

        Alone it does at least as well as among others; a term's bound holds while all earlier terms are at theirs.
        """
        alone = self.alone(at).objective
        found: list[Fraction | None] = []
        for term, value in zip(alone[:-1], self.values(at), strict=False):
            found.append(term.bound)
            if term.bound != value:
                break
        return found + [None] * (len(TERMS) - 1 - len(found))

    def candidates(self, chosen: Sequence[int]) -> set[int]:
        """Lowest domains above the hosts that the chosen gangs use now, or would use alone."""
        parent, index = self.tree.parent[self.tree.height], self.snapshot.node_idx
        items = [item for at in chosen for item in (*self.placed.get(at, ()), *self.alone(at).assignments)]
        return {int(parent[index[item.node]]) for item in items}

    def alone(self, at: int) -> GangPlan:
        """The gang's plan if the others of the batch were not there; unknown when there is no time to find it."""
        if at not in self.by_itself:
            started, left = time.monotonic(), self.budget.left_s
            if left < MIN_TIME_LIMIT_S:
                return GangPlan(self.gangs[at].name, Status.UNKNOWN)
            options, stop = Options(Engine.TREE, time_limit_s=min(STEP_S, left)), self.budget.stop
            self.by_itself[at] = plan(self.snapshot, [self.gangs[at]], options, warm=self.warm, stop=stop).gangs[0]
            self.alone_s += time.monotonic() - started
        return self.by_itself[at]

    def among(self, placed: Mapping[int, tuple[Assignment, ...]], left_out: Sequence[int]) -> Snapshot:
        """The cluster with the placed gangs that are not left out."""
        pods = [pod for at, items in placed.items() if at not in left_out for pod in as_bound(self.gangs[at], items)]
        return self.snapshot.with_pods(pods)

    def offer(self, chosen: Sequence[int], found: Joint) -> Worth:
        """Take another placement of the chosen gangs when the whole batch is worth more with it; what it is worth."""
        kept = {at: items for at, items in self.placed.items() if at not in chosen}
        needless = {at for at, items in self.placed.items() if not items}  # admitted without a pod
        anew = zip(chosen, found.assignments, strict=True)
        placed = kept | {at: items for at, items in anew if items or at in needless}
        verdicts = self.checked(placed)
        worth = self.worth_of(verdicts)
        if worth > self.worth:
            self.placed, self.verdicts, self.worth = placed, verdicts, worth
        return worth

    def checked(self, placed: Mapping[int, tuple[Assignment, ...]]) -> dict[int, Verification]:
        """Every placed gang verified among the others. Raises InternalError for a violation."""
        started = time.monotonic()
        found = {}
        everything = self.among(placed, ())
        for at, items in placed.items():
            gang = self.gangs[at]
            others = everything.with_changes((), as_bound(gang, items))
            spec = choose_topology(self.snapshot, gang.topology)[0]
            verdict = verify(others, gang, spec, items, self.tree if spec == self.spec else None)
            if verdict.violations:
                raise InternalError(f"gang {gang.name}: the joint plan fails verification: {verdict.violations[0]}")
            found[at] = verdict
        self.check_s = time.monotonic() - started
        return found

    def worth_of(self, found: Mapping[int, Verification]) -> Worth:
        """What a batch is worth: compare with >."""
        classes = sorted({gang.priority for gang in self.gangs}, reverse=True)
        admitted = tuple(sum(self.gangs[at].priority == priority for at in found) for priority in classes)
        verdicts = list(found.values())
        sums = [sum((verdict.objective[term] for verdict in verdicts), Fraction(0)) for term in TERMS]
        kept = Fraction(sum(verdict.kept_replicas for verdict in verdicts))
        return admitted, (sums[0], kept, *(-value for value in sums[1:]))

    def answer(self, first: Plan, proven: bool) -> Plan:
        """The batch as a plan; the numbers of each gang are those among all others."""
        answers = []
        for at, before in enumerate(first.gangs):
            if at in self.placed:
                verdict = self.verdicts[at]
                bounds = list(verdict.objective.values()) if proven else [*self.bounds(at), None]
                answers.append(_placed(before, self.placed[at], verdict, bounds, proven))
            else:
                takers = sorted(self.gangs[other].name for other in self.placed)
                answers.append(_displaced(before, takers, proven) if before.status.placed else before)
        return Plan(tuple(answers), first.warnings)


def _placed(
    before: GangPlan,
    items: tuple[Assignment, ...],
    verdict: Verification,
    bounds: Sequence[Fraction | None],
    proven: bool,
) -> GangPlan:
    objective = tuple(
        TermValue(term, Sense.MAX if term == TERMS[0] else Sense.MIN, verdict.objective[term], bound)
        for term, bound in zip(TERMS, bounds, strict=True)
    )
    return GangPlan(
        name=before.name,
        status=Status.OPTIMAL if proven else Status.FEASIBLE,
        assignments=items,
        running=before.running,
        objective=objective,
        domains=verdict.domains,
        flows=verdict.flows,
        warnings=before.warnings,
        stats=replace(before.stats, proof=Proof.CPSAT if proven else Proof.NONE),
    )


def _displaced(before: GangPlan, takers: Sequence[str], proven: bool) -> GangPlan:
    """A gang that gave way to others of the batch."""
    status = Status.INFEASIBLE if proven else Status.UNKNOWN
    reasons = (taken_by(takers),) if proven else ()
    return GangPlan(before.name, status, reasons=reasons, warnings=before.warnings, stats=before.stats)


def _neighbourhoods(batch: _Batch, movable: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Sets of gangs to place anew together: all of them if few, else those with unplaced gangs first."""
    pods = sum(len(role.pods) for at in movable for role in batch.gangs[at].roles)
    if 2 <= len(movable) <= ALL_AT_ONCE_GANGS and pods <= ALL_AT_ONCE_PODS:
        yield tuple(movable)
        if len(movable) == len(batch.gangs):
            return
    waiting = {at for at in movable if at not in batch.placed}
    few = [chosen for size in (2, 3) for chosen in combinations(movable, size)]
    yield from sorted(few, key=lambda chosen: (-len(waiting.intersection(chosen)), len(chosen), chosen))


def _repels(gang: Gang, other: Gang) -> bool:
    """Whether a role of `gang` declares anti-affinity against a pod of another gang of the batch."""
    if gang is other:
        return False
    return any(
        term.selector.matches(theirs.constraints.namespace, dict(theirs.constraints.labels))
        for role in gang.roles
        for term in role.constraints.anti_affinity
        for theirs in other.roles
    )
