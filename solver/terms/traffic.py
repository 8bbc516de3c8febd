"""Traffic between roles as a sum of functions of one domain's counts; shared by `transfer_us` and `proximity`.

all_to_all: the mean cost over pairs is D(root) − Σ_domains δ·n_a·n_b/(N_a·N_b), where δ = D(parent) − D(domain) ≥ 0.
nearest: Σ_domains (δ/2)·|n_a/N_a − n_b/N_b| + Σ_nodes ½·(n_a/N_a + n_b/N_b)·D(node), the optimal transport on a tree.
collective: D(root) − Σ_domains δ·closed/R, where closed = min_r ⌊n_r/s_r⌋ is how many replicas are whole in the domain:
a replica saves δ in every real domain around all its pods, down to the lowest. No naming of pods makes more replicas
whole in any domain, and naming bottom up (compile.naming) makes as many in all of them at once: what a domain's
children make whole takes s_r pods of each role off n_r, so with the rest there are min_r ⌊n_r/s_r⌋ of them again.
Everything is multiplied by one common denominator and stays an integer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lcm

import numpy as np

from solver.compile.problem import Problem
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Flow, Pattern
from solver.domain.snapshot import Ints

#: D of a pair of roles in a domain with path bits `bits`.
PairCost = Callable[[int, int, int], int]


@dataclass(frozen=True)
class Product:
    """−gain · n_left · n_right in a domain; for left = right the product is n·(n − 1)."""

    left: int
    right: int
    gain: int


@dataclass(frozen=True)
class Imbalance:
    """weight · |n_left·receivers − n_right·senders| in a domain, plus stay · (n_left·receivers + n_right·senders)."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    senders: int
    receivers: int
    weight: int
    stay: int


@dataclass(frozen=True)
class Whole:
    """−gain · (replicas of a group that are whole) in a domain. sizes: (role, pods of it in a replica)."""

    group: int
    sizes: tuple[tuple[int, int], ...]
    gain: int


@dataclass(frozen=True)
class Engines:
    """`count` alike replicas of one group of the frame that run collectives. sizes: (role, pods of it in a replica)."""

    group: int
    count: int
    sizes: tuple[tuple[int, int], ...]

    @property
    def alone(self) -> bool:
        """Whether a replica is a single pod, which has nobody to talk to."""
        return sum(size for _, size in self.sizes) < 2


@dataclass(frozen=True)
class Stream:
    """One flow over the frame's roles, with both sides present.

    cost: D by role pair and path bits. engines: the groups of a collective, none of any other pattern.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    pattern: Pattern
    cost: PairCost
    engines: tuple[Engines, ...] = ()

    @property
    def replicas(self) -> int:
        """Replicas of a collective's groups."""
        return sum(engines.count for engines in self.engines)


class Traffic:
    """The streams of one term over one problem.

    scale: what a cost of 1 per mean pair weighs in the integers.
    """

    def __init__(self, problem: Problem, streams: Sequence[Stream]) -> None:
        self.totals = problem.totals
        self.streams = tuple(streams)
        self.height = problem.tree.height
        self.scale = lcm(*(self._denominator(stream) for stream in self.streams))
        self.products = lru_cache(maxsize=None)(self._products)
        self.imbalances = lru_cache(maxsize=None)(self._imbalances)
        self.wholes = lru_cache(maxsize=None)(self._wholes)

    def _sides(self, stream: Stream) -> tuple[int, int]:
        return (
            sum(self.totals[role] for role in stream.left),
            sum(self.totals[role] for role in stream.right),
        )

    def _pairs(self, stream: Stream) -> int:
        left, right = self._sides(stream)
        return left * (right - 1) if stream.left == stream.right else left * right

    def _denominator(self, stream: Stream) -> int:
        if stream.pattern is Pattern.COLLECTIVE:
            return stream.replicas
        return self._pairs(stream) * (2 if stream.pattern is Pattern.NEAREST else 1)

    @property
    def constant(self) -> int:
        """Cost when every all_to_all pair and every replica of a collective meets at the root."""
        total = 0
        for stream in self.streams:
            if stream.pattern is Pattern.ALL_TO_ALL:
                unit = self.scale // self._pairs(stream)
                total += sum(
                    unit * stream.cost(a, b, 1) * self.totals[a] * (self.totals[b] - (a == b))
                    for a in stream.left
                    for b in stream.right
                )
            elif stream.pattern is Pattern.COLLECTIVE:
                unit = self.scale // stream.replicas
                total += sum(unit * engines.count * _at(stream, engines, 1) for engines in stream.engines)
        return total

    @property
    def magnitude(self) -> int:
        """Bound on the absolute value of any partial sum."""
        worst = 0
        for stream in self.streams:
            worst += max(stream.cost(a, b, 1) for a in stream.left for b in stream.right)
        return 2 * worst * self.scale + 1

    def _products(self, level: int, bits: int) -> tuple[Product, ...]:
        """Products counted in a domain of `level` with path `bits`; none in a void domain."""
        gains: dict[tuple[int, int], int] = {}
        if not level or not bits >> level & 1:
            return ()
        for stream in self.streams:
            if stream.pattern is Pattern.ALL_TO_ALL:
                unit = self.scale // self._pairs(stream)
                for a in stream.left:
                    for b in stream.right:
                        gain = stream.cost(a, b, bits ^ (1 << level)) - stream.cost(a, b, bits)
                        key = (min(a, b), max(a, b))
                        gains[key] = gains.get(key, 0) + unit * gain
        return tuple(Product(a, b, gain) for (a, b), gain in sorted(gains.items()) if gain)

    def _wholes(self, level: int, bits: int) -> tuple[Whole, ...]:
        """Whole replicas counted in a domain of `level` with path `bits`; none in a void domain."""
        if not level or not bits >> level & 1:
            return ()
        found = []
        for stream in self.streams:
            for engines in stream.engines:
                saved = _at(stream, engines, bits ^ (1 << level)) - _at(stream, engines, bits)
                found.append(Whole(engines.group, engines.sizes, self.scale // stream.replicas * saved))
        return tuple(item for item in found if item.gain)

    def _imbalances(self, level: int, bits: int) -> tuple[Imbalance, ...]:
        """Imbalances counted in a domain of `level` with path `bits`; none in a void domain."""
        found = []
        if not level or not bits >> level & 1:
            return ()
        for stream in self.streams:
            if stream.pattern is Pattern.NEAREST:
                senders, receivers = self._sides(stream)
                unit = self.scale // (2 * senders * receivers)
                here = stream.cost(stream.left[0], stream.right[0], bits)
                above = stream.cost(stream.left[0], stream.right[0], bits ^ (1 << level))
                stay = unit * here if level == self.height else 0
                found.append(Imbalance(stream.left, stream.right, senders, receivers, unit * (above - here), stay))
        return tuple(item for item in found if item.weight or item.stay)

    def cost(self, level: int, bits: int, pods: Ints) -> Ints:
        """[states] what a domain of `level` with path `bits` adds, for pods [roles, states]."""
        total = np.zeros(pods.shape[1], dtype=np.int64)
        for item in self.products(level, bits):
            other = pods[item.right] - (1 if item.left == item.right else 0)
            total -= item.gain * pods[item.left] * other
        for pull in self.imbalances(level, bits):
            left = pods[list(pull.left)].sum(axis=0) * pull.receivers
            right = pods[list(pull.right)].sum(axis=0) * pull.senders
            total += pull.weight * np.abs(left - right) + pull.stay * (left + right)
        for whole in self.wholes(level, bits):
            total -= whole.gain * np.min([pods[role] // size for role, size in whole.sizes], axis=0)
        return total


def _at(stream: Stream, engines: Engines, bits: int) -> int:
    """What a replica pays whose pods all meet in a domain with path `bits`."""
    role = engines.sizes[0][0]
    return 0 if engines.alone else stream.cost(role, role, bits)


def streams_of(
    problem: Problem, flows: Sequence[tuple[Flow, PairCost]], link: Callable[[Flow], int | None]
) -> list[Stream]:
    """Streams of `flows` between roles that are present.

    link: position of a flow among the gang's flows, or None for one among all roles with GPUs.
    """
    found = []
    for flow, cost in flows:
        position = link(flow)
        left = _members(problem, "from", position)
        right = _members(problem, "to", position)
        if set(left) == set(right) and sum(problem.totals[role] for role in left) < 2:
            continue
        if not left or not right:
            continue
        if flow.pattern is Pattern.NEAREST:
            _check_equal_engines(problem, flow, left, right)
        engines = tuple(_engines(problem, left)) if flow.pattern is Pattern.COLLECTIVE else ()
        found.append(Stream(left, right, flow.pattern, cost, engines))
    return found


def _engines(problem: Problem, roles: Sequence[int]) -> Iterator[Engines]:
    """The groups that these roles are all of."""
    for at, group in enumerate(problem.frame.groups):
        if not group.children and not set(group.roles).isdisjoint(roles):
            yield Engines(at, group.count, tuple((role, group.inside[role]) for role in group.roles))


def _members(problem: Problem, side: str, position: int | None) -> tuple[int, ...]:
    roles = enumerate(problem.frame.roles)
    if position is None:
        return tuple(at for at, role in roles if role.gpus)
    return tuple(at for at, role in roles if (side, position) in role.source.links)


def _check_equal_engines(problem: Problem, flow: Flow, left: Sequence[int], right: Sequence[int]) -> None:
    """A nearest flow has a closed form only when all its pairs pay alike."""
    roles = [role.source for role in problem.frame.roles]
    gpus = {min(roles[a].engine_gpus, roles[b].engine_gpus) for a in left for b in right}
    if len(gpus) > 1:
        raise InvalidRequest(f"flow {flow}: a nearest flow needs engines of one size, not of {sorted(gpus)} GPUs")
    nodes = {min(roles[a].engine_nodes, roles[b].engine_nodes) for a in left for b in right}
    if len(nodes) > 1:
        raise InvalidRequest(f"flow {flow}: a nearest flow needs engines of one size, not of {sorted(nodes)} nodes")
