"""The joint optimum of a few gangs, proven: what each reaches alone is the limit first, then a little more.

The sum of what the gangs reach alone bounds the batch from below, number by number in order. A placement better than
one that is known exceeds it in no number before the first in which that one does, and there by no more; and no single
gang can exceed its own optimum by more than all do together. So with a limit for each gang at its optimum, plus what is
allowed in one number, all placements that matter are in one small model (`united`).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from solver.batch.state import Standing
from solver.batch.united import SUMS, Sum, United, in_one_unit
from solver.batch.variants import OF_SHAPE, Limits, Variant, variants_of
from solver.compile.naming import name_pods
from solver.compile.structure import build_structure
from solver.domain.budget import Budget, OutOfTime
from solver.domain.errors import InternalError, TooLarge
from solver.domain.gang import Gang
from solver.domain.plan import Assignment
from solver.domain.resources import GPU, MILLI_GPU
from solver.domain.snapshot import Snapshot
from solver.search.cpsat import Answer, Run
from solver.topology.tree import Tree

#: What a gang may be above its optimum grows at least so many times from one search to the next.
GROWTH = 2
#: Part of what is left for a first placement, after which all that exceeds it is left out of the model.
FIRST_SHARE = 0.3

#: Numbers of a batch, lower is better: the sums of the standings, then `fragmentation`.
Values = tuple[Fraction, ...]


class _Said(Enum):
    """What a search within limits says: the best of all, some placement, none, or nothing."""

    BEST = "best"
    SOME = "some"
    NONE = "none"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Exact:
    """The best placement found of some gangs, None when none was; proven: no placement has lower values.

    Where values of a placement were given, none was found that has lower ones unless `values` are.
    """

    values: Values | None
    assignments: tuple[tuple[Assignment, ...], ...] | None
    proven: bool


def place_exactly(
    snapshot: Snapshot,
    gangs: Sequence[Gang],
    tree: Tree,
    alone: Sequence[Standing | None],
    known: Values | None,
    budget: Budget,
) -> Exact:
    """The best joint placement of all of `gangs`, in the order of Values.

    alone: what each reaches alone, where that is proven. known: of a placement of as many, which need not be of these.
    The gangs have no running members, one topology, no
    rule between them but room, and ask for whole GPUs only; the same nodes are open to all. What is too large, or takes
    too long, is not proven. Raises InternalError when the tables say that a gang reaches something else alone.
    """
    nothing = Exact(None, None, False)
    if not suited(snapshot, gangs):
        return nothing
    fewer = None
    try:
        members = [variants_of(build_structure(gang, snapshot, tree, budget=budget), None) for gang in gangs]
        if not all(members):
            return Exact(None, None, True)
        for gang, variants, best in zip(gangs, members, alone, strict=True):
            if best not in (None, variants[0].best):
                raise InternalError(f"gang {gang.name}: its tables for a batch contradict what it reaches alone")
        fewer = _fewer(members, known)
        if fewer is not None:
            members = [variants_of(build_structure(gang, snapshot, tree, budget=budget), fewer) for gang in gangs]
        search = _Search(snapshot, tree, members, known, budget)
    except (OutOfTime, TooLarge):
        return nothing
    proven = False
    with suppress(OutOfTime, TooLarge):
        proven = search.run()
    return Exact(search.values, search.named(), proven)


def suited(snapshot: Snapshot, gangs: Sequence[Gang]) -> bool:
    """Whether `fragmentation` of some gangs is a sum over domains: whole GPUs, and the same nodes open to all."""
    whole = all(role.requests[GPU] % MILLI_GPU == 0 for gang in gangs for role in gang.roles)
    views = {snapshot.open_to(gang.tolerations).tobytes() for gang in gangs}
    return whole and len(views) == 1


def _fewer(members: Sequence[Sequence[Variant]], known: Values | None) -> int | None:
    """How many pods fewer than it can have alone a gang may get, by what is known; None = shapes at their best only."""
    if known is None:
        return None
    least = _sums([variants[0].best for variants in members])
    if known[:OF_SHAPE] <= least[:OF_SHAPE]:
        return None
    return int(known[0] - least[0])


def _sums(standings: Sequence[Standing]) -> Values:
    return tuple(sum(column, Fraction(0)) for column in zip(*standings, strict=True))


@dataclass
class _Search:
    """The search of place_exactly. values, found: the best so far, of these gangs; known: of others, or of these."""

    snapshot: Snapshot
    tree: Tree
    members: Sequence[Sequence[Variant]]
    known: Values | None
    budget: Budget
    values: Values | None = None
    found: dict[int, tuple[Variant, dict[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.best = [variants[0].best for variants in self.members]
        self.least = _sums(self.best)

    def run(self) -> bool:
        """Whether nothing is better than what was known or is found. Raises OutOfTime, TooLarge."""
        last = self._first_open(self.known)
        if last is None:
            return True
        for at in range(SUMS, last - 1, -1):
            for allowed, is_last in self._allowances(at, last):
                said = self._within(at, allowed, is_last)
                if said is not _Said.NONE:
                    return said is _Said.BEST
        return self.known is not None

    def named(self) -> tuple[tuple[Assignment, ...], ...] | None:
        """What was found, with names."""
        if self.values is None:
            return None
        found = (self.found[at] for at in range(len(self.members)))
        return tuple(name_pods(variant.problem, states) for variant, states in found)

    def _first_open(self, values: Values | None) -> int | None:
        """The first number that might be better than in `values`; None when even the least that can be is worse."""
        if values is None:
            return 0
        if self.least > values[:SUMS]:
            return None
        return next((at for at in range(SUMS) if values[at] > self.least[at]), SUMS)

    def _allowances(self, at: int, last: int) -> Iterator[tuple[Fraction | None, bool]]:
        """How much number `at` may exceed what the gangs reach alone, more and more; None = by any amount.

        Each next one lets some gang have a state it did not have before. With each whether it leaves out nothing that
        could be better than what is known.
        """
        if at == SUMS:
            yield None, at == last
            return
        most = self.known[at] - self.least[at] if self.known is not None and at == last else None
        allowed = Fraction(0)
        while (step := self._next(at, allowed)) is not None and (most is None or 2 * step <= most):
            allowed = step * (GROWTH if allowed else 1)
            if most is not None and 2 * allowed > most:
                break
            yield allowed, False
        if most is not None:
            yield most, True

    def _next(self, at: int, allowed: Fraction) -> Fraction | None:
        """The least by which a gang exceeds its optimum in number `at` alone, above `allowed`; None when none can."""
        found = []
        for best, variants, limits in zip(self.best, self.members, self._limits(at, allowed), strict=True):
            for variant in variants:
                beyond = variant.next_beyond(limits)
                if beyond is not None and beyond[:at] == best[:at]:
                    found.append(beyond[at] - best[at])
        return min((each for each in found if each > allowed), default=None)

    def _limits(self, at: int, allowed: Fraction | None) -> list[Limits]:
        """Of each gang what it may be: its optimum before number `at`, so much above it there, anything after."""
        open_to = [] if at == SUMS else [allowed]
        free = [None] * (SUMS - at - len(open_to))
        return [
            [*best[:at], *(None if more is None else best[at] + more for more in open_to), *free] for best in self.best
        ]

    def _within(self, at: int, allowed: Fraction | None, is_last: bool) -> _Said:
        """The best placement whose numbers before `at` are the least, and that one at most `allowed` above it."""
        model = United(self.snapshot, self.tree, self.members, self._limits(at, allowed), self.budget)
        if model.impossible:
            return _Said.NONE
        for number in range(at, SUMS + 1):
            total = self._total(model, number)
            if number == at:
                self._cut(model, total, number, allowed)
            part = FIRST_SHARE if number == at < SUMS else 1.0
            result = model.minimise(total.expression, self.budget.part(part))
            if result.answer is Answer.UNKNOWN and part < 1:
                result = model.minimise(total.expression, self.budget)
            if not result.solved:
                if number > at:
                    return _Said.SOME
                return self._none(model, is_last) if result.answer is Answer.INFEASIBLE else _Said.NOTHING
            values = self._take(model, result)
            if number == at < SUMS and allowed is not None and values[at] - self.least[at] < allowed:
                return self._within(at, values[at] - self.least[at], False)
            if result.answer is not Answer.OPTIMAL:
                return _Said.SOME
            model.variables.add(total.expression == result.value(total.expression))
        return _Said.BEST

    def _total(self, model: United, number: int) -> Sum:
        """Number `number` of all gangs, which is looked at once."""
        return in_one_unit(model.sums[number]) if number < SUMS else Sum(model.add_fragmentation(), 0, Fraction(1))

    def _cut(self, model: United, total: Sum, number: int, allowed: Fraction | None) -> None:
        """All gangs together may not exceed what one may; nor what is known, where it has no other gap."""
        if number < SUMS:
            if allowed is not None:
                model.variables.add(total.expression <= total.most(self.least[number] + allowed))
        elif self.known is not None and self.known[:SUMS] == self.least:
            model.variables.add(total.expression <= total.most(self.known[SUMS]))

    def _none(self, model: United, is_last: bool) -> _Said:
        """What it means that nothing is within the limits: the next ones contain these, so only the last needs a proof.

        The last is believed when it is said with presolve and without.
        """
        if is_last and model.satisfy(self.budget, presolve=False).answer is not Answer.INFEASIBLE:
            return _Said.NOTHING
        return _Said.NONE

    def _take(self, model: United, result: Run) -> Values:
        """The numbers of a solution, which is kept if it is the best so far."""
        states = model.states(result)
        values = (*self._values(model, result), Fraction(model.fragmentation(result)))
        if self.values is None or values < self.values:
            self.values, self.found = values, states
        return values

    def _values(self, model: United, result: Run) -> Values:
        found = []
        for number in range(SUMS):
            added = model.sums[number]
            found.append(sum((weight * result.value(literal) for weight, literal in added), Fraction(0)))
        return tuple(found)
