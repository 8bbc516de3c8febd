"""Term `proximity`: mean levels climbed, so that same node comes before same rack even where tiers cost the same."""

from fractions import Fraction

from solver.compile.problem import Problem
from solver.domain.gang import Flow
from solver.terms.traffic import streams_of
from solver.terms.transfer import TrafficTerm
from solver.topology.costs import levels_climbed


def proximity_term(problem: Problem) -> TrafficTerm:
    """The term over the gang's flows, or over all its GPU pods when it has none."""
    gang, height = problem.frame.structure.gang, problem.tree.height

    def cost(left: int, right: int, bits: int) -> int:
        return levels_climbed(height, bits)

    flows = gang.flows or (Flow((), (), 0),)
    streams = streams_of(
        problem, [(flow, cost) for flow in flows], lambda flow: gang.flows.index(flow) if gang.flows else None
    )
    return TrafficTerm("proximity", problem, streams, Fraction(1))
