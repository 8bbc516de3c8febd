"""Term `proximity`: mean levels climbed, so that same node comes before same rack even where tiers cost the same."""

from fractions import Fraction

from solver.compile.problem import Problem
from solver.domain.gang import Pattern
from solver.terms.traffic import PairCost, Size, Stream, stream_of, streams_of
from solver.terms.transfer import TrafficTerm, kept_traffic
from solver.topology.costs import levels_climbed

#: All roles pay alike.
_SIZE = Size()


def proximity_term(problem: Problem) -> TrafficTerm:
    """The term over the gang's flows, or over all its GPU pods when it has none."""
    return TrafficTerm("proximity", problem, kept_traffic("proximity", problem, _streams), Fraction(1))


def _streams(problem: Problem) -> list[Stream]:
    height = problem.tree.height
    cost = PairCost(lambda role: _SIZE, lambda one, other, bits: levels_climbed(height, bits))
    flows = problem.frame.structure.gang.flows
    if flows:
        return streams_of(problem, [(at, flow, cost) for at, flow in enumerate(flows)])
    users = tuple(at for at, role in enumerate(problem.frame.roles) if role.gpus)
    alone = stream_of(problem, Pattern.ALL_TO_ALL, cost, users, users)
    return [] if alone is None else [alone]
