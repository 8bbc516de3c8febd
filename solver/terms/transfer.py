"""Term `transfer_us`: mean transfer time of one request over the gang's flows."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

import numpy as np

from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.gang import Flow, Pattern
from solver.domain.snapshot import Ints
from solver.terms.traffic import PairCost, Size, Stream, Traffic, streams_of
from solver.topology.costs import capped_costs, paid, pair_ns


class TrafficTerm:
    """A term that is a Traffic: base of `transfer_us` and `proximity`."""

    holes = False

    def __init__(self, name: str, problem: Problem, traffic: Traffic, unit: Fraction) -> None:
        self.name = name
        self.problem = problem
        self.traffic = traffic
        self.constant = self.traffic.constant
        self.magnitude = self.traffic.magnitude
        self.unit = unit / self.traffic.scale

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states] what a domain adds."""
        traffic = self.traffic
        if not (traffic.rectangles(level, bits) or traffic.imbalances(level, bits) or traffic.wholes(level, bits)):
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
    return TrafficTerm("transfer_us", problem, kept_traffic("transfer_us", problem, _streams), Fraction(1, 1000))


def kept_traffic(name: str, problem: Problem, streams: Callable[[Problem], Sequence[Stream]]) -> Traffic:
    """The traffic of a term, which is the same for everything that is listed of a frame."""
    kept = problem.frame.kept
    if name not in kept:
        kept[name] = Traffic(problem, streams(problem))
    found = kept[name]
    assert isinstance(found, Traffic)
    return found


def _streams(problem: Problem) -> list[Stream]:
    flows = []
    for position, flow in enumerate(problem.frame.structure.gang.flows):
        problem.budget.check()
        flows.append((position, flow, _pair_cost(problem, flow)))
    return streams_of(problem, flows)


def _pair_cost(problem: Problem, flow: Flow) -> PairCost:
    roles, tree = problem.frame.roles, problem.tree
    limit = _limit(problem, flow)

    @cache
    def costs(gpus: int, nodes: int) -> tuple[int, ...]:
        return capped_costs(pair_ns(tree, flow, gpus, nodes), limit)

    def at(one: Size, other: Size, bits: int) -> int:
        return paid(costs(min(one.gpus, other.gpus), min(one.nodes, other.nodes)), bits)

    def size(role: int) -> Size:
        source = roles[role].source
        if flow.pattern is Pattern.COLLECTIVE:
            return Size(source.rank_gpus)
        return Size(source.engine_gpus, source.engine_nodes)

    return PairCost(size, at)


def _limit(problem: Problem, flow: Flow) -> int | None:
    """The finest level a reach rule keeps this flow inside, or None."""
    structure = problem.frame.structure
    gang = structure.gang
    levels = [structure.tree.level(gang.reach[position].level) for position in gang.binding(flow)]
    return max(levels, default=None)
