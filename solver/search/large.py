"""One shape of a gang too large for exact tables: bounded by merged tables, filled in at once, improved where it lies.

Merged tables give a proven bound and the lowest domains that a placement near it would use. A placement is put together
there pod by pod; exact tables of that small site make it the best the site holds, and CP-SAT searches where even these
are too large. What is left between bound and placement is the gap.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from solver.bound.clusters import every_role, projection_within
from solver.bound.flows import at_best, flow_bound
from solver.bound.merged import Relaxation, Relaxed
from solver.bound.prices import Steering, fair_prices, no_prices
from solver.bound.screen import may_be_placed
from solver.bound.vectors import MakeTerms, VectorTables
from solver.compile.layout import TreeTooLarge
from solver.compile.listing import node_room
from solver.compile.problem import Problem
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import InternalError, TooLarge
from solver.domain.plan import Proof
from solver.search.cpsat import Answer
from solver.search.fill import Placed, filled
from solver.search.improve import improve
from solver.search.sites import lowest_of, model_size, nodes_in_order, ranked_domains, roomy_nodes
from solver.search.stages import solve_staged
from solver.search.worth import states_of_pods, worth
from solver.terms.transfer import TrafficTerm

#: Pairs of merged states that one join may take.
MERGED_PAIRS = 200_000
#: Most pairs of states of a site's exact tables.
SITE_PAIRS = 1_000_000_000
#: Parts of what is left for a first placement, for bounds, for better ones after a better placement, for the tables of
#: one site, and for the first bounds when they had too little.
FILL_SHARE, BOUND_SHARE, REFINE_SHARE, SITE_SHARE, RETRY_SHARE = 0.2, 0.35, 0.1, 0.7, 0.5
#: Sites tried with exact tables: how many times the domains of the relaxed optimum, and the part of the gap that
#: decides which count vectors take part. All of both, which proves what it finds, comes last, or as soon as it is
#: expected to take less than a part of what is left; at once with this few domains.
SITES = ((1, 0.02), (1, 0.1), (3, 0.05), (10**9, 0.05))
PROOF_SHARE, FEW_DOMAINS = 0.5, 16
#: Part of a term's value below which its gap leaves little room for better placements.
SMALL_GAP = 0.003
#: Relaxations between two looks at which count vectors are still of use.
SIFT_PERIOD = 3
#: Relaxed optima that are filled in pod by pod, and domains of each level that are before.
MOST_FILLS, LOWEST_FILLS = 4, 2
#: Relaxations in a row that may raise the bound by less than this part of the gap, and at most.
PATIENCE, WORTHWHILE, MOST_ROUNDS = 6, 0.02, 100
#: Domains beside those of the relaxed optimum that a site starts with.
SPARE = 2
#: Variables a model may have for each second left, of which building it takes a tenth.
VARIABLES_PER_SECOND = 8_000


@dataclass(frozen=True)
class Large:
    """What is known of one shape.

    answer: OPTIMAL when bounds and placement meet, FEASIBLE with a gap, INFEASIBLE proven, UNKNOWN without a placement.
    bounds: by term, None unless proven together with all earlier ones. widened: CP-SAT looked beyond its first site.
    too_large: without a placement, what was too large to look for one any further.
    """

    answer: Answer
    proof: Proof
    placed: Placed | None = None
    bounds: tuple[int | None, ...] = ()
    widened: bool = False
    too_large: TooLarge | None = None


#: Hears of a placement and what is proven of it, by term.
Told = Callable[[Placed, tuple[int | None, ...]], None]


def solve_large(
    problem: Problem, make_terms: MakeTerms, budget: Budget, use_cpsat: bool, told: Told | None = None
) -> Large:
    """Placement and bounds of the whole frame within `budget`.

    make_terms: the terms of a problem. told: hears of better placements and of better bounds.
    """
    if problem.impossible:
        return Large(Answer.INFEASIBLE, Proof.TREE)
    _, most = node_room(problem)
    if (most.sum(axis=0) < np.array(problem.totals, dtype=np.int64)).any():  # not even one role by itself fits
        return Large(Answer.INFEASIBLE, Proof.TREE)
    return _Search(problem, make_terms, budget, told).answer(use_cpsat)


def can_be_built(problem: Problem, site: Collection[int], budget: Budget) -> bool:
    """Whether building the CP-SAT model of a site takes a small part of what is left at most."""
    return model_size(problem, site) <= VARIABLES_PER_SECOND * budget.left_s


class _Merged:
    """What the merged tables of one problem are built from, and how many relaxations it may still take."""

    def __init__(self, problem: Problem, make_terms: MakeTerms, budget: Budget) -> None:
        self.vectors = VectorTables(problem, make_terms, budget)
        self.projection = projection_within(problem, MERGED_PAIRS)
        self.steering = Steering(fair_prices(self.vectors, self.projection))
        self.rounds = MOST_ROUNDS
        self.closest: Relaxation | None = None
        self._sums: tuple[int, ...] = ()

    def sift(self, goal: Sequence[int]) -> None:
        """Leave out for good the vectors that no placement worth `goal` or less uses."""
        if self.closest is not None:
            self.vectors = self.closest.sifted(goal)

    def note(self, relaxation: Relaxation, relaxed: Relaxed) -> float:
        """Keep the relaxation if its bound is the best so far; by how much it is, in the first term that differs."""
        if self.closest is not None and relaxed.sums <= self._sums:
            return 0.0
        rises = (float(new - old) for new, old in zip(relaxed.sums, self._sums, strict=False))
        self.closest, self._sums = relaxation, relaxed.sums
        return next((rise for rise in rises if rise), float("inf"))


class _Search:
    """One shape under way.

    low: lexicographic lower bound of the sums. best: the best placement so far. chosen: lowest domains of the relaxed
    optimum with the best bound, with what it puts there.
    """

    def __init__(self, problem: Problem, make_terms: MakeTerms, budget: Budget, told: Told | None = None) -> None:
        self.problem, self.make_terms, self.budget, self.told = problem, make_terms, budget, told
        terms = make_terms(problem)
        self.low = tuple(at_best(term) if isinstance(term, TrafficTerm) else 0 for term in terms)  # none is negative
        self.best: Placed | None = None
        self.merged: _Merged | None = None
        self.unlisted = self.by_flow = False
        self.chosen: Mapping[int, Sequence[int]] = {}
        self.proven: tuple[int | None, ...] = (None,) * len(self.low)
        self.widened = False
        self.too_large: TooLarge | None = None

    def answer(self, use_cpsat: bool) -> Large:
        """Bound, fill, improve; when that is cut short, what is known by then."""
        with suppress(OutOfTime):
            self.fill_lowest(self.budget.part(FILL_SHARE))
        try:
            impossible = self.impossible(use_cpsat)
        except OutOfTime:
            return self.verdict()
        except TooLarge as error:
            self.too_large = error
            return self.verdict()
        return self.verdict() if impossible is None else Large(Answer.INFEASIBLE, impossible)

    def impossible(self, use_cpsat: bool) -> Proof | None:
        """What proves that there is no placement, else None and the best one in `best`. Raises OutOfTime, TooLarge."""
        if not self.bounded():
            return Proof.TREE
        if self.merged is None and not self.bounded(RETRY_SHARE):
            return Proof.TREE
        self.tables()
        self.bounded()
        if use_cpsat and self.best is None and not self.find():
            return Proof.CPSAT
        if use_cpsat and not self.done and self.best is not None:
            self.search(self.best)
        return None

    def bounded(self, share: float = BOUND_SHARE) -> bool:
        """Work on the bound for a share of the time left, as far as it goes; False when there is no placement."""
        budget = self.budget.part(share)
        with suppress(TreeTooLarge, OutOfTime):
            if self.merged is None and not self.unlisted:
                self.merged = self.listed(budget)
            return self.by_flows(budget) if self.merged is None else self.bound(self.merged, budget)
        return True

    def listed(self, budget: Budget) -> "_Merged | None":
        """What merged tables are built from; None when the count vectors are too many."""
        try:
            return _Merged(self.problem, self.make_terms, budget)
        except TreeTooLarge as error:
            self.unlisted, self.too_large = True, error
            return None

    def by_flows(self, budget: Budget) -> bool:
        """Bound the transfer flow by flow, once; False when there is no placement."""
        transfer = [at for at, term in enumerate(self.make_terms(self.problem)) if term.name == "transfer_us"]
        if self.by_flow or len(transfer) != 1:
            return True
        self.by_flow = True
        found = flow_bound(self.problem, budget) if may_be_placed(self.problem, budget) else None
        if found is None:
            return False
        self.raise_low(tuple(found.transfer if at in transfer else low for at, low in enumerate(self.low)))
        self.chosen = found.lowest
        return True

    @property
    def done(self) -> bool:
        """Whether bound and placement meet."""
        return self.best is not None and self.best.sums == self.low

    def bound(self, merged: "_Merged", budget: Budget) -> bool:
        """Raise the bound and fill in what it suggests, in turns; False when there is no placement.

        Raises TreeTooLarge, OutOfTime.
        """
        idle = 0
        while not self.done and merged.rounds:
            budget.check()
            if self.best is not None and merged.rounds % SIFT_PERIOD == 0:
                merged.sift(self.best.sums)
            merged.rounds -= 1
            relaxation = Relaxation(merged.vectors, merged.projection, merged.steering.prices, budget)
            if not relaxation.feasible(merged.projection.caps):
                if self.best is not None:
                    raise InternalError("merged tables prove that there is no placement, but there is one")
                return False
            relaxed = relaxation.optimum()
            self.raise_low(relaxed.sums)
            rise = merged.note(relaxation, relaxed)
            if rise:
                self.chosen = relaxed.lowest
            if self.best is None or merged.rounds >= MOST_ROUNDS - MOST_FILLS:
                self.fill_near(relaxed, budget)
            if self.best is None or not merged.steering.move(relaxed, self.best.sums):
                return True
            idle = 0 if rise > WORTHWHILE * self.gap else idle + 1
            if idle >= PATIENCE:
                return True
        return True

    @property
    def gap(self) -> float:
        """How far the first term that is not proven lies above its bound; infinite without a placement."""
        if self.best is None:
            return float("inf")
        return next(
            (float(value - low) for value, low in zip(self.best.sums, self.low, strict=True) if value != low), 0
        )

    def slack(self, share: float) -> list[int]:
        """By term, that share of the first gap and nothing else."""
        assert self.best is not None
        gaps = [value - low for value, low in zip(self.best.sums, self.low, strict=True)]
        first = next(at for at, gap in enumerate(gaps) if gap)
        return [int(share * gap) if at == first else 0 for at, gap in enumerate(gaps)]

    @property
    def small_gap(self) -> float:
        """A gap so small that a proof is worth more than looking for better placements."""
        if self.best is None:
            return 0.0
        values = zip(self.best.sums, self.low, strict=True)
        return SMALL_GAP * next((float(value) for value, low in values if value != low), 0.0)

    def raise_low(self, sums: tuple[int, ...]) -> None:
        """Note a lexicographic lower bound."""
        if sums > self.low:
            self.low = sums
            self.tell()

    def fill_near(self, relaxed: Relaxed, budget: Budget) -> None:
        """Fill the domains of a relaxed optimum and a few more; all that can be used while there is no placement."""
        ranked = ranked_domains(self.problem, relaxed.lowest)
        self.fill(ranked[: len(relaxed.lowest) + SPARE], budget)
        if self.best is None:
            self.fill(ranked, budget)

    def fill_lowest(self, budget: Budget) -> None:
        """Fill one of the lowest domains that take the whole gang, those with the least room to spare first."""
        for level in range(self.problem.tree.height - 1, -1, -1):
            for order in roomy_nodes(self.problem, level, LOWEST_FILLS):
                for mixed in (True, False):
                    self.note(filled(self.problem, self.make_terms, order, budget, mixed))
                    if self.best is not None:
                        return

    def fill(self, domains: Sequence[int], budget: Budget) -> None:
        """Put pods into `domains` one after another, in the gang's proportions and with the largest first."""
        order = nodes_in_order(self.problem, domains)
        for mixed in (True, False):
            self.note(filled(self.problem, self.make_terms, order, budget, mixed))

    def note(self, placed: Placed | None) -> None:
        """Keep a placement if it is the best so far."""
        if placed is None:
            return
        if placed.sums < self.low:
            raise InternalError(f"a placement is worth {placed.sums}, less than the proven bound {self.low}")
        if self.best is None or placed.sums < self.best.sums:
            self.best = placed
            self.tell()

    def tell(self) -> None:
        """Report the best placement, if there is one and a listener."""
        if self.best is not None and self.told is not None:
            self.told(self.best, self.bounds)

    def tables(self) -> None:
        """Better placements by exact tables of what good ones may use, from a small site to the proof for all."""
        if self.merged is None or every_role(self.problem).space.pairs > SITE_PAIRS:
            return
        everywhere = len(ranked_domains(self.problem, {}))
        expected_s = 0.0 if everywhere <= FEW_DOMAINS else float("inf")
        for times, share in SITES:
            if self.done or expected_s < self.budget.part(PROOF_SHARE).left_s:
                break
            count, gap, since = min(everywhere, times * max(1, len(self.chosen))), self.gap, time.monotonic()
            if not self.try_site(self.merged, count, share):
                return
            spent = time.monotonic() - since
            self.bounded(REFINE_SHARE)
            growth = self.gap / (share * gap) if share * gap < self.gap < float("inf") else 1.0
            expected_s = spent * growth * everywhere / count if self.gap > self.small_gap else 0.0
        if not self.done:
            self.try_site(self.merged, everywhere, 1.0)

    def try_site(self, merged: "_Merged", count: int, share: float) -> bool:
        """Note the best placement of a site; False when its tables cannot be had."""
        with suppress(TreeTooLarge, OutOfTime):
            self.note(self.of_site(merged, count, share))
            return True
        return False

    def of_site(self, merged: "_Merged", count: int, share: float) -> Placed | None:
        """Best placement on the `count` first domains, of vectors within that share of the gap, or None.

        With all domains and the whole gap its worth is a bound, too. Raises TreeTooLarge, OutOfTime.
        """
        budget = self.budget.part(SITE_SHARE)
        budget.check()
        vectors = merged.vectors
        if self.best is not None and merged.closest is not None:
            vectors = merged.closest.sifted(self.best.sums) if share >= 1 else merged.closest.near(self.slack(share))
        site = ranked_domains(self.problem, self.chosen)[:count]
        usable = np.isin(lowest_of(self.problem), site) | self.problem.running.any(axis=0)
        vectors = vectors.on(usable)
        relaxation = Relaxation(vectors, every_role(self.problem), no_prices(vectors), budget)
        if not relaxation.feasible(self.problem.totals):
            return None
        relaxed = relaxation.optimum()
        if share >= 1 and usable[self.problem.node_class >= 0].all():
            self.raise_low(relaxed.sums)
        states = states_of_pods(self.problem, relaxed.nodes, relaxed.pods)
        sums = None if states is None else worth(self.problem, self.make_terms, states)
        return None if states is None or sums is None else Placed(states, sums)

    def find(self) -> bool:
        """Any placement, by CP-SAT, site by site; False when it proves that there is none."""
        for site, whole in self.sites(()):
            terms = tuple(self.make_terms(self.problem))
            staged = solve_staged(self.problem, terms, self.budget.part(SITE_SHARE), lowest=None if whole else site)
            if staged.sums:
                sums = worth(self.problem, self.make_terms, staged.states)
                self.note(None if sums is None else Placed(staged.states, sums))
                return True
            if whole and staged.answer is Answer.INFEASIBLE:
                return False
        return True

    def search(self, placed: Placed) -> None:
        """Better placements, by CP-SAT, site by site as long as each is settled."""
        lowest = lowest_of(self.problem)
        for number, (site, whole) in enumerate(self.sites({int(lowest[node]) for node in placed.states})):
            self.widened = number > 0
            found = improve(self.problem, self.make_terms, placed, self.low, None if whole else site, self.budget)
            placed = found.placed
            self.note(placed)
            self.proven = found.proven
            if not found.settled or self.done:
                return

    def sites(self, used: Collection[int]) -> Iterator[tuple[set[int], bool]]:
        """(lowest domains with those used, whether these are all), each twice the last, while models can be built."""
        ranked = ranked_domains(self.problem, self.chosen)
        count = max(1, len(self.chosen)) + SPARE
        while self.budget.left_s:
            site = {*used, *ranked[:count]}
            if not can_be_built(self.problem, site, self.budget):
                size, most = model_size(self.problem, site), int(VARIABLES_PER_SECOND * self.budget.left_s)
                self.too_large = TooLarge("variables of the smallest model to search", size, most)
                return
            yield site, len(site) == len(ranked)
            if len(site) == len(ranked):
                return
            count *= 2

    @property
    def bounds(self) -> tuple[int | None, ...]:
        """By term, what is proven of the best placement together with all earlier terms."""
        assert self.best is not None
        found: list[int | None] = []
        at_low = attained = True
        for value, low, proven in zip(self.best.sums, self.low, self.proven, strict=True):
            known = max(low if at_low else 0, proven or 0)
            found.append(known if attained else None)
            at_low, attained = at_low and value == low, attained and value == known
        return tuple(found)

    def verdict(self) -> Large:
        """The answer as it stands."""
        if self.best is None:
            return Large(Answer.UNKNOWN, Proof.NONE, too_large=self.too_large)
        bounds = self.bounds
        if bounds != self.best.sums:
            return Large(Answer.FEASIBLE, Proof.NONE, self.best, bounds, self.widened)
        return Large(Answer.OPTIMAL, Proof.TREE if self.done else Proof.CPSAT, self.best, bounds, self.widened)
