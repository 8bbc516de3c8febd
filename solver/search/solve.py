"""One gang solved: shapes in order of the term `replicas`, each settled by the tree or by CP-SAT, the best kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import groupby

from solver.bound.screen import may_fit, may_stay_empty, placeable
from solver.bound.solve import solve_shape
from solver.bound.warm import WarmShape, WarmTables
from solver.compile.frame import build_frame
from solver.compile.layout import TreeTooLarge, build_layout
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape, TooManyShapes, shapes_of
from solver.compile.structure import Structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import InternalError, TooLarge
from solver.domain.plan import Proof
from solver.rules import queue
from solver.search.cpsat import Answer
from solver.search.elastic import elastic_shapes
from solver.search.fill import Placed
from solver.search.large import can_be_built, solve_large
from solver.search.options import Engine
from solver.search.stages import States, certify, domains_of, solve_staged
from solver.terms.base import Term
from solver.terms.registry import terms_of

#: Up to so many nodes and pods an infeasible verdict of the tree is repeated by CP-SAT.
SMALL_NODES, SMALL_PODS = 64, 64
#: Part of the budget for exact tables, before merged ones take over.
TREE_SHARE = 0.6
#: Above so many pairs of states merged tables come first: exact ones take a second and more on 10,000 nodes.
LARGE_PAIRS = 100_000_000
#: Parts of what is left then: all but what names and checks take; for shapes that tie; for which may fit at all.
MERGING_SHARE, FAMILY_SHARE, SCREEN_SHARE = 0.93, 0.8, 0.2


@dataclass(frozen=True)
class Settled:
    """One shape with its best known placement. values, bounds: by term after `replicas`, in units of the answer."""

    shape: Shape
    problem: Problem | None
    states: States
    values: tuple[Fraction, ...]
    bounds: tuple[Fraction | None, ...]

    @property
    def optimal(self) -> bool:
        """Whether every term is proven for this shape."""
        return self.values == self.bounds


@dataclass
class Clock:
    """Milliseconds spent by room, sizes of what was solved, and whether CP-SAT looked beyond its first candidates."""

    compile_ms: float = 0.0
    bound_ms: float = 0.0
    search_ms: float = 0.0
    classes: int = 0
    signatures: int = 0
    recomputed: int = 0
    widened: bool = False
    _since: float = field(default_factory=time.perf_counter)

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        now = time.perf_counter()
        spent, self._since = (now - self._since) * 1000, now
        return spent


@dataclass(frozen=True)
class Outcome:
    """The verdict on one gang.

    settled: the plan when there is one; replicas_proven: no shape before it fits. too_large: without a verdict, what
    kept the search from looking further although it had time.
    """

    answer: Answer
    proof: Proof
    settled: Settled | None = None
    replicas_proven: bool = False
    too_large: TooLarge | None = None


#: A shape with merged tables: its best known placement, what proves that or that there is none, and what was too large.
_Merged = tuple[Settled | None, Proof, TooLarge | None]

#: Hears of better plans as they come, and whether no shape before theirs fits.
Improved = Callable[[Settled, bool], None]


def solve_gang(
    structure: Structure,
    engine: Engine,
    budget: Budget,
    clock: Clock,
    warm: WarmTables | None = None,
    improved: Improved | None = None,
    certificate: bool = True,
) -> Outcome:
    """Best plan of one gang, or the proof that there is none, within `budget`.

    warm: tables of earlier calls, for the tree. certificate: see Options. Raises OutOfTime, and TooLarge when the gang
    is too large even to begin.
    """
    if structure.root is None or queue.refusal(structure.gang, structure.snapshot):
        return Outcome(Answer.INFEASIBLE, Proof.TREE)
    if engine is Engine.CPSAT:
        return _by_cpsat(structure, budget, clock, improved)
    try:
        outcome = _by_bounds(structure, engine, budget, clock, warm, improved)
    except TooManyShapes as many:
        clock.bound_ms += clock.lap()
        if engine is Engine.TREE:
            return Outcome(Answer.UNKNOWN, Proof.NONE, too_large=many)
        return _by_cpsat(structure, budget, clock, improved)
    if improved is not None and outcome.settled is not None:
        improved(outcome.settled, outcome.replicas_proven)
    confirm = certificate and outcome.proof is Proof.TREE and engine is not Engine.TREE
    return _certified(structure, outcome, budget, clock) if confirm else outcome


def _by_bounds(
    structure: Structure,
    engine: Engine,
    budget: Budget,
    clock: Clock,
    warm: WarmTables | None,
    improved: Improved | None,
) -> Outcome:
    """By exact tables where they can be had, else by merged ones. Raises TooManyShapes."""
    if not _large(structure):
        with suppress(TreeTooLarge, OutOfTime):
            return _by_tree(structure, budget.part(TREE_SHARE), clock, warm)
        clock.bound_ms += clock.lap()
    return _by_merging(structure, engine, budget.part(MERGING_SHARE), clock, improved)


def _large(structure: Structure) -> bool:
    """Whether exact tables would take so long that it is better to know a plan and a bound first."""
    layout = build_layout(build_frame(structure, None))
    return max(space.pairs for space in layout.spaces) > LARGE_PAIRS


def _by_tree(structure: Structure, budget: Budget, clock: Clock, warm: WarmTables | None) -> Outcome:
    for shapes in _ranked(structure, budget, clock, warm):
        found = [one for one in (_settle_on_tree(structure, shape, budget, clock, warm) for shape in shapes) if one]
        if found:
            return Outcome(Answer.OPTIMAL, Proof.TREE, min(found, key=lambda one: one.values), True)
    return Outcome(Answer.INFEASIBLE, Proof.TREE)


def _ranked(structure: Structure, budget: Budget, clock: Clock, warm: WarmTables | None) -> Iterator[list[Shape]]:
    """Shapes that may be placeable, those with equal `replicas` together, the best first."""
    families = _families(structure)
    clock.compile_ms += clock.lap()
    if families and len(families[0]) == 1:
        yield families.pop(0)
    if families:
        rest = [shape for family in families for shape in family]
        fits = dict(zip((shape.counts for shape in rest), placeable(structure, rest, budget, warm), strict=True))
        clock.bound_ms += clock.lap()
        for family in families:
            yield [shape for shape in family if fits[shape.counts]]


def _families(structure: Structure) -> list[list[Shape]]:
    """Shapes that the queue allows, those with equal `replicas` together, the best first."""
    assert structure.root is not None
    allowed = queue.allowing(structure)
    shapes = [shape for shape in shapes_of(structure.root, structure.budget) if allowed(shape)]
    return [list(family) for _, family in groupby(shapes, key=lambda shape: (shape.pods, shape.kept_replicas))]


def _settle_on_tree(
    structure: Structure, shape: Shape, budget: Budget, clock: Clock, warm: WarmTables | None
) -> Settled | None:
    if not shape.pods:
        return _empty(structure, shape)
    frame = build_frame(structure, shape)
    kept = warm.shape(frame) if warm else WarmShape()
    problem = build_problem(frame, kept.book)
    terms = terms_of(problem)
    budget.check()
    clock.compile_ms += clock.lap()
    answer = solve_shape(problem, terms, budget, kept)
    clock.bound_ms += clock.lap()
    if answer is None:
        return None
    clock.classes = max(clock.classes, answer.classes)
    clock.signatures = max(clock.signatures, answer.signatures)
    clock.recomputed += answer.recomputed
    values = in_units(terms, answer.sums)
    return Settled(shape, problem, answer.states, values, values)


def _by_merging(
    structure: Structure, engine: Engine, budget: Budget, clock: Clock, improved: Improved | None
) -> Outcome:
    """The best `replicas` first, each shape between the bound of merged tables and the best plan found."""
    passed: set[Proof] = set()
    too_large: TooLarge | None = None
    for shapes in _possible(structure, budget, clock):
        if not budget.left_s:
            break
        part = budget.part(FAMILY_SHARE) if structure.root and structure.root.flexible else budget
        told = None if improved is None else partial(_tell, improved, len(shapes) == 1, Proof.NONE not in passed)
        known = [
            _in_time(partial(_settle_by_merging, structure, shape, engine, part.part(1 / len(shapes)), clock, told))
            for shape in shapes
        ]
        proofs = {proof for _, proof, _ in known}
        placed = [one for one, _, _ in known if one is not None]
        too_large = too_large or next((large for _, _, large in known if large), None)
        if not placed:
            passed |= proofs
            continue
        best = min(placed, key=lambda one: one.values)
        if Proof.NONE not in passed | proofs:
            proof = Proof.TREE if passed | proofs == {Proof.TREE} else Proof.CPSAT
            return Outcome(Answer.OPTIMAL, proof, best, True)
        if len(shapes) > 1:
            best = replace(best, bounds=(None,) * len(best.bounds))
        return Outcome(Answer.FEASIBLE, Proof.NONE, best, Proof.NONE not in passed)
    else:
        if Proof.NONE not in passed:
            return Outcome(Answer.INFEASIBLE, Proof.CPSAT if Proof.CPSAT in passed else Proof.TREE)
    return Outcome(Answer.UNKNOWN, Proof.NONE, too_large=too_large if budget.left_s else None)


def _possible(structure: Structure, budget: Budget, clock: Clock) -> Iterator[list[Shape]]:
    """As `_ranked`, with merged tables."""
    families = _families(structure)
    clock.compile_ms += clock.lap()
    if families and len(families[0]) == 1:
        yield families.pop(0)
    rest = [shape for family in families for shape in family]
    fits = dict.fromkeys((shape.counts for shape in rest), True)
    if rest:
        with suppress(TreeTooLarge, OutOfTime):
            maybe = may_fit(structure, rest, budget.part(SCREEN_SHARE))
            fits = dict(zip((shape.counts for shape in rest), maybe, strict=True))
        clock.bound_ms += clock.lap()
    for family in families:
        possible = [shape for shape in family if fits[shape.counts]]
        if possible:
            yield possible


def _in_time(settle: Callable[[], _Merged]) -> _Merged:
    """What becomes known of a shape; nothing where there is no time for it, or it is too large."""
    try:
        return settle()
    except OutOfTime:
        return None, Proof.NONE, None
    except TooLarge as error:
        return None, Proof.NONE, error


def _settle_by_merging(
    structure: Structure,
    shape: Shape,
    engine: Engine,
    budget: Budget,
    clock: Clock,
    told: Callable[[Settled], None] | None,
) -> _Merged:
    """The shape's best known placement, and what proves it the best, or that there is none.

    Last, what was too large to look further.
    """
    if not shape.pods:
        return _empty(structure, shape), Proof.TREE, None
    problem = build_problem(build_frame(structure, shape))
    terms = terms_of(problem)
    clock.compile_ms += clock.lap()

    def heard(placed: Placed, bounds: tuple[int | None, ...]) -> None:
        if told is not None:
            values = in_units(terms, placed.sums)
            told(Settled(shape, problem, placed.states, values, _bounds_in_units(terms, bounds)))

    found = solve_large(problem, terms_of, budget, engine is not Engine.TREE, heard)
    clock.bound_ms += clock.lap()
    clock.classes = max(clock.classes, problem.classes_in_use)
    clock.widened = clock.widened or found.widened
    if found.placed is None:
        return None, found.proof, found.too_large
    values, bounds = in_units(terms, found.placed.sums), _bounds_in_units(terms, found.bounds)
    return Settled(shape, problem, found.placed.states, values, bounds), found.proof, None


def _empty(structure: Structure, shape: Shape) -> Settled | None:
    """Nothing placed, which some gangs allow as long as nothing of them runs."""
    if not may_stay_empty(structure):
        return None
    nothing = (Fraction(0),) * 5
    return Settled(shape, None, {}, nothing, nothing)


def in_units(terms: Sequence[Term], sums: Sequence[int]) -> tuple[Fraction, ...]:
    """Term sums in units of the answer."""
    return tuple(value * term.unit for value, term in zip(sums, terms, strict=True))


def _certified(structure: Structure, outcome: Outcome, budget: Budget, clock: Clock) -> Outcome:
    """The tree's outcome with CP-SAT's word added, where it gives it in time."""
    clock.lap()
    agreed = False
    with suppress(OutOfTime, TooLarge):  # the tree's proof stands without it
        agreed = _agrees(structure, outcome.settled, budget, clock)
    clock.search_ms += clock.lap()
    return Outcome(outcome.answer, Proof.BOTH if agreed else Proof.TREE, outcome.settled, outcome.replicas_proven)


def _agrees(structure: Structure, settled: Settled | None, budget: Budget, clock: Clock) -> bool:
    """Whether CP-SAT proves the same within the budget. Raises OutOfTime, TooLarge."""
    if settled is None:
        pods = sum(len(role.pods) for role in structure.gang.roles)
        if len(structure.snapshot.nodes) > SMALL_NODES or pods > SMALL_PODS:
            return False
        verdict = _by_cpsat(structure, budget, clock)
        if verdict.settled is not None:
            raise InternalError("CP-SAT finds a plan where the tree proves there is none")
        return verdict.answer is Answer.INFEASIBLE
    if settled.problem is None:
        return False
    terms = terms_of(settled.problem)
    site = domains_of(settled.problem, settled.states)
    if settled.problem.frame.pods > SMALL_PODS and not can_be_built(settled.problem, site, budget):
        return False
    sums = [int(value / term.unit) for value, term in zip(settled.values, terms, strict=True)]
    return certify(settled.problem, terms, settled.states, sums, budget)


def _by_cpsat(structure: Structure, budget: Budget, clock: Clock, improved: Improved | None = None) -> Outcome:
    """CP-SAT alone: the best `replicas` first, then every shape that ties."""
    if not budget.left_s:
        return Outcome(Answer.UNKNOWN, Proof.NONE)
    best: Settled | None = None
    proven = False
    clock.lap()
    for family in elastic_shapes(structure, budget):
        if family.answer in (Answer.INFEASIBLE, Answer.UNKNOWN):
            clock.search_ms += clock.lap()
            proof = Proof.CPSAT if family.answer is Answer.INFEASIBLE else Proof.NONE
            return Outcome(family.answer, proof)
        alone, proven = len(family.shapes) == 1, family.answer is Answer.OPTIMAL
        told = None if improved is None else partial(_tell, improved, alone, proven)
        found = [_settle_by_cpsat(structure, shape, budget, clock, told) for shape in family.shapes]
        known = [one for one in found if one is not None]
        proven = family.answer is Answer.OPTIMAL and Answer.UNKNOWN not in found
        if known:
            best = min((one for one in known if isinstance(one, Settled)), key=lambda one: one.values, default=None)
            proven = proven and all(isinstance(one, Settled) and one.optimal for one in known)
            break
        if family.answer is Answer.FEASIBLE:
            return Outcome(Answer.UNKNOWN, Proof.NONE)
    if best is None:
        return Outcome(Answer.UNKNOWN, Proof.NONE)
    if proven:
        return Outcome(Answer.OPTIMAL, Proof.CPSAT, best, True)
    if len(family.shapes) > 1:  # a bound of one shape says nothing about those that tie with it
        best = replace(best, bounds=(None,) * len(best.bounds))
    return Outcome(Answer.FEASIBLE, Proof.NONE, best, family.answer is Answer.OPTIMAL)


def _tell(improved: Improved, alone: bool, proven: bool, settled: Settled) -> None:
    """Tell of a plan of one shape; its bounds say nothing about shapes that tie with it.

    alone: whether no other shape ties. proven: whether no shape before it fits.
    """
    bounds = settled.bounds if alone else (None,) * len(settled.bounds)
    improved(replace(settled, bounds=bounds), proven)


def _settle_by_cpsat(
    structure: Structure,
    shape: Shape,
    budget: Budget,
    clock: Clock,
    told: Callable[[Settled], None] | None = None,
) -> "Settled | Answer | None":
    """The shape's best placement, None when proven impossible, UNKNOWN when time ran out first."""
    if not shape.pods:
        return _empty(structure, shape)
    try:
        problem = build_problem(build_frame(structure, shape))
        terms = terms_of(problem)
    except OutOfTime:  # those that tie with it may have a plan
        return Answer.UNKNOWN
    clock.compile_ms += clock.lap()

    def improved(sums: Sequence[int], bounds: Sequence[int | None]) -> None:
        if told is not None:
            told(Settled(shape, problem, {}, in_units(terms, sums), _bounds_in_units(terms, bounds)))

    staged = solve_staged(problem, terms, budget, improved=improved)
    clock.search_ms += clock.lap()
    clock.classes = max(clock.classes, problem.classes_in_use)
    if staged.answer is Answer.INFEASIBLE:
        return None
    if staged.answer is Answer.UNKNOWN:
        return Answer.UNKNOWN
    bounds = _bounds_in_units(terms, staged.bounds)
    return Settled(shape, problem, staged.states, in_units(terms, staged.sums), bounds)


def _bounds_in_units(terms: Sequence[Term], bounds: Sequence[int | None]) -> tuple[Fraction | None, ...]:
    return tuple(None if bound is None else bound * term.unit for bound, term in zip(bounds, terms, strict=True))
