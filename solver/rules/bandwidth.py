"""Rule `bandwidth`: the traffic of a gang through NICs and uplinks stays within a share of what is left of them.

A domain sends out, of an all_to_all flow, rate · bytes · (n_s/N_s) · (1 − n_r/N_r), and takes in the mirror image; of a
nearest flow what one side has more of. With the totals settled these are functions of the domain's own counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from solver.compile.links import NO_LINK
from solver.compile.problem import Problem
from solver.compile.view import DomainView, Expr
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Flow, Gang, Pattern
from solver.domain.levels import TopologySpec
from solver.domain.plan import Notice
from solver.domain.snapshot import Ints, Mask
from solver.topology.tree import Tree

#: Sums of weighted counts stay below this.
LIMIT = 1 << 61


@dataclass(frozen=True)
class Part:
    """weight · what one flow sends out of a domain or into it, in units of 1/(N_s·N_r) of its traffic.

    left, right: frame roles; senders, receivers: their totals. within: the level a reach rule keeps the flow inside, or
    0: domains of it and of coarser levels see nothing.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    senders: int
    receivers: int
    pattern: Pattern
    weight: int
    within: int

    @property
    def to_itself(self) -> bool:
        """Whether senders and receivers are the same roles."""
        return set(self.left) == set(self.right)

    @property
    def most(self) -> int:
        """At least the count of any domain."""
        return self.senders * self.receivers


class Loads:
    """The traffic of a problem's gang over the link of one domain, as integers. scale: of one byte a second.

    Raises InvalidRequest when the numbers leave the 64-bit range.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        found = list(_flows(problem))
        shares = [rate / _pairs(part) for rate, part in found]
        common = lcm(*(share.denominator for share in shares))
        whole = [int(share * common) for share in shares]
        divisor = max(1, gcd(*whole))
        self.scale = Fraction(common, divisor)
        self.parts = [
            Part(part.left, part.right, part.senders, part.receivers, part.pattern, weight // divisor, part.within)
            for weight, (_, part) in zip(whole, found, strict=True)
        ]
        self.most = sum(part.weight * part.most for part in self.parts)
        if self.most >= LIMIT:
            raise InvalidRequest("bandwidth: the numbers leave the 64-bit range; use rounder bytes, ratios and rates")

    def allowed(self, limit: int) -> int | None:
        """The most that the sums may be on a link with so many bytes a second, None = they never exceed it."""
        most = int(limit * self.scale)
        return most if limit != NO_LINK and most < self.most else None

    def at(self, level: int) -> list[Part]:
        """The parts that domains of a level see."""
        return [part for part in self.parts if level > part.within]

    def mask(self, level: int, limit: int) -> Mask:
        """[states] of a domain of `level` that its link carries in both directions."""
        space = self.problem.layout.spaces[level]
        allowed, most = np.ones(space.size, dtype=np.bool_), self.allowed(limit)
        if most is None:
            return allowed
        out, back = np.zeros(space.size, dtype=np.int64), np.zeros(space.size, dtype=np.int64)
        for part in self.at(level):
            here, there = space.pods[list(part.left)].sum(axis=0), space.pods[list(part.right)].sum(axis=0)
            for total, (one, other) in zip((out, back), _crossing(part, here, there), strict=True):
                total += part.weight * (np.maximum(one - other, 0))
        return np.asarray((out <= most) & (back <= most))

    def rows(self, view: DomainView, limit: int) -> list[tuple[Expr, int]]:
        """(sum, most) for both directions of a domain of the model."""
        most = self.allowed(limit)
        if most is None:
            return []
        parts = self.at(view.level)
        out = sum(part.weight * _leaving(view, part) for part in parts)
        back = sum(part.weight * _leaving(view, _turned(part)) for part in parts)
        return [(out, most), (back, most)]


def mask(problem: Problem, level: int, limit: int) -> Mask:
    """[states] allowed in a domain of `level` whose link carries `limit` bytes a second for the gang."""
    return Loads(problem).mask(level, limit)


def notices(gang: Gang, tree: Tree) -> list[Notice]:
    """What the rule does not look at although the gang says how much it serves."""
    if gang.requests_per_second is None:
        return []
    spec = tree.spec
    if not gang.hands_over or not _states_links(spec):
        missing = "the gang has no flows" if not gang.hands_over else "the topology states neither nodeGbps nor uplinks"
        text = f"requests per second are given, but {missing}: the rule bandwidth has nothing to check"
        return [Notice("bandwidth_unchecked", gang.name, "requestsPerSecond", text)]
    if spec.nvlink is None or spec.node_gbps is None:
        return []
    sizes = np.bincount(tree.domain_of[spec.nvlink], minlength=len(tree.parent[spec.nvlink]))
    if not (sizes[tree.real[spec.nvlink]] > 1).any():
        return []
    name = tree.level_names[spec.nvlink]
    text = f"the NICs of the nodes of one {name} domain are looked at together, not node by node"
    return [Notice("nics_together", gang.name, "requestsPerSecond", text)]


def _states_links(spec: TopologySpec) -> bool:
    uplinks = any(level.uplink_gbps is not None or level.oversubscription is not None for level in spec.levels)
    return uplinks or spec.node_gbps is not None


def _flows(problem: Problem) -> list[tuple[Fraction, Part]]:
    """(bytes a second, part without weight) of each flow that has traffic."""
    structure = problem.frame.structure
    found = []
    for at, flow in enumerate(structure.gang.flows):
        rate = (structure.gang.requests_per_second or 0) * flow.per_request * flow.bytes
        left, right = problem.frame.members("from", at), problem.frame.members("to", at)
        part = Part(left, right, _total(problem, left), _total(problem, right), flow.pattern, 0, _within(problem, flow))
        if rate and _pairs(part) > 0 and flow.pattern is not Pattern.COLLECTIVE:
            found.append((Fraction(rate), part))
    return found


def _pairs(part: Part) -> int:
    return part.senders * (part.receivers - 1 if part.to_itself else part.receivers)


def _within(problem: Problem, flow: Flow) -> int:
    structure = problem.frame.structure
    gang = structure.gang
    levels = [structure.tree.level(gang.reach[position].level) for position in gang.binding(flow)]
    return max(levels, default=0)


def _total(problem: Problem, roles: Sequence[int]) -> int:
    return sum(problem.totals[role] for role in roles)


def _crossing(part: Part, here: Ints, there: Ints) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """(all that is sent here, what stays here) and (all that is received here, what stays here)."""
    sent, received = here * part.receivers, there * part.senders
    if part.pattern is Pattern.NEAREST:
        return (sent, received), (received, sent)
    return (sent, here * there), (received, here * there)


def _turned(part: Part) -> Part:
    """The part whose outgoing traffic is the incoming one of `part`."""
    return Part(part.right, part.left, part.receivers, part.senders, part.pattern, part.weight, part.within)


def _leaving(view: DomainView, part: Part) -> Expr:
    """At least what leaves a domain, and no more where that is asked for."""
    if part.pattern is Pattern.NEAREST:
        return view.excess(part.left, part.right, part.receivers, part.senders)
    sent = view.pods(part.left) * part.receivers
    if not part.to_itself:
        return sent - sum(view.product(min(a, b), max(a, b)) for a in part.left for b in part.right)
    # n² = Σ_a (n_a·(n_a − 1) + n_a) + 2·Σ_{a<b} n_a·n_b
    squares = sum(view.product(a, b) * (1 if a == b else 2) for a in part.left for b in part.left if a <= b)
    return sent - view.pods(part.left) - squares
