"""What a gang of a batch may be placed as: shapes worth looking at, each with exact tables over the whole cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import groupby
from math import floor

import numpy as np

from solver.batch.state import Standing
from solver.bound.lanes import Lanes, plan_lanes
from solver.bound.support import Support
from solver.bound.tables import TreeTables
from solver.compile.frame import build_frame
from solver.compile.problem import Problem, build_problem
from solver.compile.shapes import Shape, shapes_of
from solver.compile.structure import Structure
from solver.domain.errors import TooLarge
from solver.domain.replicas import fewest_pods
from solver.domain.snapshot import Ints
from solver.rules import queue
from solver.rules.registry import allowed_states
from solver.terms.base import Term
from solver.terms.registry import terms_of

#: Most shapes of one gang that are looked at.
MOST_SHAPES = 24
#: What a standing says of the shape: pods above the fewest and kept replicas.
OF_SHAPE = 2
#: Most that each number of a standing may be, in order; None = any, and then every later one is None.
Limits = Sequence[Fraction | None]


@dataclass(frozen=True)
class Variant:
    """One shape of a gang. terms: from `containment_steps` to `proximity`; lanes: how `support` packs them."""

    shape: Shape
    above: Standing
    problem: Problem
    terms: tuple[Term, ...]
    lanes: Lanes
    support: Support
    best: Standing

    def limit(self, most: Limits) -> Ints | None:
        """[lanes] the highest cost within `most`; None when the shape itself is beyond it."""
        free = [term.magnitude for term in self.terms]
        for own, limit in zip(self.above, most, strict=False):
            if limit is None or own < limit:
                return self._packed(free)
            if own > limit:
                return None
        for at, (term, limit) in enumerate(zip(self.terms, most[OF_SHAPE:], strict=True)):
            if limit is None:
                break
            exact = limit / term.unit - term.constant
            free[at] = max(-term.magnitude, min(term.magnitude, floor(exact)))
            if free[at] != exact:
                break  # below the limit, so that what follows may be anything
        return self._packed(free)

    def next_beyond(self, most: Limits) -> Standing | None:
        """The least standing above `most` that a placement through some state has."""
        limit = self.limit(most)
        if limit is None:
            return self.best
        costs = self.support.beyond(limit)
        return None if costs is None else self._standing(costs)

    def _standing(self, costs: Ints) -> Standing:
        sums = self.lanes.unpack([int(cost) for cost in costs])
        values = ((total + term.constant) * term.unit for total, term in zip(sums, self.terms, strict=True))
        return (*self.above, *values)

    def _packed(self, sums: Sequence[int]) -> Ints:
        packed = np.zeros(self.lanes.count, dtype=np.int64)
        for value, (lane, weight) in zip(sums, self.lanes.slots, strict=True):
            packed[lane] += weight * value
        return packed


def variants_of(structure: Structure, fewer: int | None) -> list[Variant]:
    """Shapes of a gang with the best counts that can be placed alone, or up to so many pods fewer, the best first.

    fewer: None = only those with the best counts. Empty when the gang cannot be placed. Raises OutOfTime, and TooLarge
    for too many shapes, for tables that are too large, and for a gang that needs no pod.
    """
    gang = structure.gang
    least = fewest_pods(gang.root)
    if structure.root is None or least is None or queue.refusal(gang, structure.snapshot):
        return []
    if not least:
        raise TooLarge("gangs that need no pod", 1, 0)
    allowed = queue.allowing(structure)
    shapes = [shape for shape in shapes_of(structure.root, structure.budget) if allowed(shape)]
    found: list[Variant] = []
    tried = 0
    for (pods, _), family in groupby(shapes, key=lambda shape: (shape.pods, shape.kept_replicas)):
        if found and (fewer is None or pods < found[0].shape.pods - fewer):
            break
        for shape in family:
            tried += 1
            if tried > MOST_SHAPES:
                raise TooLarge("shapes of one gang", tried, MOST_SHAPES)
            variant = _variant(structure, shape, least)
            if variant is not None:
                found.append(variant)
    return sorted(found, key=lambda variant: variant.best)


def _variant(structure: Structure, shape: Shape, least: int) -> Variant | None:
    problem = build_problem(build_frame(structure, shape))
    if problem.impossible:
        return None
    problem.layout.check()
    terms = tuple(term for term in terms_of(problem) if not term.holes)
    lanes = plan_lanes(terms)
    tables = TreeTables(problem, terms, lanes, partial(allowed_states, problem), structure.budget)
    root = tables.root
    if root is None or not tables.may_be(problem.final):
        return None
    above = (Fraction(least - shape.pods), Fraction(-shape.kept_replicas))
    sums = lanes.unpack([int(cost) for cost in root[:, problem.final]])
    best = tuple((total + term.constant) * term.unit for total, term in zip(sums, terms, strict=True))
    return Variant(shape, above, problem, terms, lanes, Support(tables, problem.final), (*above, *best))
