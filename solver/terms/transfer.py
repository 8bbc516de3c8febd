"""Term `transfer_us`: mean transfer time of one request over the gang's flows."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.gang import Flow, Pattern
from solver.domain.snapshot import Ints
from solver.terms.traffic import PairCost, Stream, Traffic, streams_of
from solver.topology.costs import capped_costs, paid, pair_ns


class TrafficTerm:
    """A term that is a Traffic: base of `transfer_us` and `proximity`."""

    holes = False

    def __init__(self, name: str, problem: Problem, streams: Sequence[Stream], unit: Fraction) -> None:
        self.name = name
        self.problem = problem
        self.traffic = Traffic(problem, streams)
        self.constant = self.traffic.constant
        self.magnitude = self.traffic.magnitude
        self.unit = unit / self.traffic.scale

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] what a domain adds."""
        traffic = self.traffic
        if not (traffic.products(level, bits) or traffic.imbalances(level, bits) or traffic.wholes(level, bits)):
            return None
        return self.traffic.cost(level, bits, self.problem.layout.spaces[level].pods)

    def hole_times(self) -> Ints:
        """Holes do not count here."""
        return np.zeros(self.problem.layout.spaces[-1].size, dtype=np.int64)

    def express(self, view: DomainView) -> Expr:
        """Gains of the pairs that meet and of the replicas that are whole here, prices of the imbalances."""
        total: Expr = 0
        for item in self.traffic.products(view.level, view.bits):
            total -= item.gain * view.product(item.left, item.right)
        for pull in self.traffic.imbalances(view.level, view.bits):
            if pull.stay:
                both = view.pods(pull.left) * pull.receivers + view.pods(pull.right) * pull.senders
                total += pull.stay * both
            if pull.weight:
                total += pull.weight * view.absolute(pull.left, pull.right, pull.receivers, pull.senders)
        for whole in self.traffic.wholes(view.level, view.bits):
            total -= whole.gain * view.closed(whole.group)
        return total


def transfer_term(problem: Problem) -> TrafficTerm:
    """The term over the gang's flows; integers are nanoseconds times a common denominator."""
    gang = problem.frame.structure.gang
    flows = [(flow, _pair_cost(problem, flow)) for flow in gang.flows]
    streams = streams_of(problem, flows, lambda flow: gang.flows.index(flow))
    return TrafficTerm("transfer_us", problem, streams, Fraction(1, 1000))


def _pair_cost(problem: Problem, flow: Flow) -> PairCost:
    roles, tree = problem.frame.roles, problem.tree
    limit = _limit(problem, flow)

    @cache
    def by_size(gpus: int, nodes: int, bits: int) -> int:
        return paid(capped_costs(pair_ns(tree, flow, gpus, nodes), limit), bits)

    def cost(left: int, right: int, bits: int) -> int:
        one, other = roles[left].source, roles[right].source
        if flow.pattern is Pattern.COLLECTIVE:
            return by_size(min(one.rank_gpus, other.rank_gpus), 1, bits)
        return by_size(min(one.engine_gpus, other.engine_gpus), min(one.engine_nodes, other.engine_nodes), bits)

    return cost


def _limit(problem: Problem, flow: Flow) -> int | None:
    """The finest level a reach rule keeps this flow inside, or None."""
    structure = problem.frame.structure
    gang = structure.gang
    levels = [structure.tree.level(gang.reach[position].level) for position in gang.binding(flow)]
    return max(levels, default=None)
