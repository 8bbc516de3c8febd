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
from functools import cached_property, lru_cache
from math import lcm
from typing import NamedTuple

import numpy as np

from solver.compile.problem import Problem
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Flow, Pattern
from solver.domain.snapshot import Ints


class Size(NamedTuple):
    """What of a role the cost of a pair depends on: GPUs and nodes of its engine, or of a rank of it."""

    gpus: int = 1
    nodes: int = 1


@dataclass(frozen=True)
class PairCost:
    """D of a pair of roles. size: of a role; at: D of two sizes in a domain with path `bits`."""

    size: Callable[[int], Size]
    at: Callable[[Size, Size, int], int]

    def by_size(self, roles: Sequence[int]) -> dict[Size, tuple[int, ...]]:
        """Roles that pay alike."""
        found: dict[Size, list[int]] = {}
        for role in roles:
            found.setdefault(self.size(role), []).append(role)
        return {size: tuple(members) for size, members in found.items()}


@dataclass(frozen=True)
class Product:
    """−gain · n_left · n_right in a domain; for left = right the product is n·(n − 1)."""

    left: int
    right: int
    gain: int


@dataclass(frozen=True)
class Rectangle:
    """The products of all pairs of a role in `left` and one in `right`: the same roles, or none in common."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    gain: int

    def of(self, pods: Ints) -> Ints:
        """[states] pairs times gain, for pods [roles, states]."""
        here = pods[list(self.left)].sum(axis=0)
        there = here - 1 if self.left == self.right else pods[list(self.right)].sum(axis=0)
        return np.asarray(self.gain * (here * there))


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

    senders, receivers: pods of the sides. cost: D by role pair and path bits. engines: the groups of a collective, none
    of any other pattern.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    senders: int
    receivers: int
    pattern: Pattern
    cost: PairCost
    engines: tuple[Engines, ...] = ()

    @property
    def replicas(self) -> int:
        """Replicas of a collective's groups."""
        return sum(engines.count for engines in self.engines)

    @property
    def pairs(self) -> int:
        """Pairs of a sender and a receiver."""
        return self.senders * (self.receivers - 1 if self.left == self.right else self.receivers)

    @cached_property
    def blocks(self) -> tuple[tuple[Size, Size, tuple[int, ...], tuple[int, ...]], ...]:
        """Roles of both sides by size, so that all pairs of a block pay alike."""
        left, right = self.cost.by_size(self.left), self.cost.by_size(self.right)
        return tuple((one, other, left[one], right[other]) for one in left for other in right)

    def first(self, bits: int) -> int:
        """D of the first pair."""
        return self.cost.at(self.cost.size(self.left[0]), self.cost.size(self.right[0]), bits)


class Traffic:
    """The streams of one term over one problem.

    scale: what a cost of 1 per mean pair weighs in the integers. Raises OutOfTime.
    """

    def __init__(self, problem: Problem, streams: Sequence[Stream]) -> None:
        self.totals = problem.totals
        self.streams = tuple(streams)
        self.height = problem.tree.height
        self.check = problem.budget.check
        self.scale = lcm(*{_denominator(stream) for stream in self.streams})
        self.products = lru_cache(maxsize=None)(self._products)
        self.rectangles = lru_cache(maxsize=None)(self._rectangles)
        self.imbalances = lru_cache(maxsize=None)(self._imbalances)
        self.wholes = lru_cache(maxsize=None)(self._wholes)

    @cached_property
    def constant(self) -> int:
        """Cost when every all_to_all pair and every replica of a collective meets at the root."""
        total = 0
        for stream in self.streams:
            self.check()
            if stream.pattern is Pattern.ALL_TO_ALL:
                unit = self.scale // stream.pairs
                for one, other, left, right in stream.blocks:
                    here, there = self._pods(left), self._pods(right)
                    pairs = here * there - (here if left == right else 0)
                    total += unit * stream.cost.at(one, other, 1) * pairs
            elif stream.pattern is Pattern.COLLECTIVE:
                unit = self.scale // stream.replicas
                total += sum(unit * engines.count * _at(stream, engines, 1) for engines in stream.engines)
        return total

    @cached_property
    def magnitude(self) -> int:
        """Bound on the absolute value of any partial sum."""
        worst = 0
        for stream in self.streams:
            self.check()
            worst += max(stream.cost.at(one, other, 1) for one, other, *_ in stream.blocks)
        return 2 * worst * self.scale + 1

    def _pods(self, roles: Sequence[int]) -> int:
        return sum(self.totals[role] for role in roles)

    def _rectangles(self, level: int, bits: int) -> tuple[Rectangle, ...]:
        """Products counted in a domain of `level` with path `bits`, alike ones together; none in a void domain."""
        gains: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        if not level or not bits >> level & 1:
            return ()
        for stream in self.streams:
            self.check()
            if stream.pattern is Pattern.ALL_TO_ALL:
                unit = self.scale // stream.pairs
                for one, other, left, right in stream.blocks:
                    gain = stream.cost.at(one, other, bits ^ (1 << level)) - stream.cost.at(one, other, bits)
                    gains[left, right] = gains.get((left, right), 0) + unit * gain
        return tuple(Rectangle(left, right, gain) for (left, right), gain in gains.items() if gain)

    def _products(self, level: int, bits: int) -> tuple[Product, ...]:
        """The same, pair by pair."""
        gains: dict[tuple[int, int], int] = {}
        for block in self.rectangles(level, bits):
            for a in block.left:
                self.check()
                for b in block.right:
                    key = (min(a, b), max(a, b))
                    gains[key] = gains.get(key, 0) + block.gain
        return tuple(Product(a, b, gain) for (a, b), gain in sorted(gains.items()) if gain)

    def _wholes(self, level: int, bits: int) -> tuple[Whole, ...]:
        """Whole replicas counted in a domain of `level` with path `bits`; none in a void domain."""
        gains: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        if not level or not bits >> level & 1:
            return ()
        for stream in self.streams:
            self.check()
            for engines in stream.engines:
                saved = _at(stream, engines, bits ^ (1 << level)) - _at(stream, engines, bits)
                key = engines.group, engines.sizes
                gains[key] = gains.get(key, 0) + self.scale // stream.replicas * saved
        return tuple(Whole(group, sizes, gain) for (group, sizes), gain in gains.items() if gain)

    def _imbalances(self, level: int, bits: int) -> tuple[Imbalance, ...]:
        """Imbalances counted in a domain of `level` with path `bits`; none in a void domain."""
        found: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Stream, int, int]] = {}
        if not level or not bits >> level & 1:
            return ()
        for stream in self.streams:
            self.check()
            if stream.pattern is Pattern.NEAREST:
                unit = self.scale // (2 * stream.senders * stream.receivers)
                here, above = stream.first(bits), stream.first(bits ^ (1 << level))
                key = stream.left, stream.right
                _, weight, stay = found.get(key, (stream, 0, 0))
                stay += unit * here if level == self.height else 0
                found[key] = stream, weight + unit * (above - here), stay
        items = (
            Imbalance(*ends, stream.senders, stream.receivers, weight, stay)
            for ends, (stream, weight, stay) in found.items()
        )
        return tuple(item for item in items if item.weight or item.stay)

    def cost(self, level: int, bits: int, pods: Ints) -> Ints:
        """[states] what a domain of `level` with path `bits` adds, for pods [roles, states]."""
        total = np.zeros(pods.shape[1], dtype=np.int64)
        for block in self.rectangles(level, bits):
            self.check()
            total -= block.of(pods)
        for pull in self.imbalances(level, bits):
            self.check()
            left = pods[list(pull.left)].sum(axis=0) * pull.receivers
            right = pods[list(pull.right)].sum(axis=0) * pull.senders
            total += pull.weight * np.abs(left - right) + pull.stay * (left + right)
        for whole in self.wholes(level, bits):
            self.check()
            total -= whole.gain * np.min([pods[role] // size for role, size in whole.sizes], axis=0)
        return total


def _denominator(stream: Stream) -> int:
    if stream.pattern is Pattern.COLLECTIVE:
        return stream.replicas
    return stream.pairs * (2 if stream.pattern is Pattern.NEAREST else 1)


def _at(stream: Stream, engines: Engines, bits: int) -> int:
    """What a replica pays whose pods all meet in a domain with path `bits`."""
    size = stream.cost.size(engines.sizes[0][0])
    return 0 if engines.alone else stream.cost.at(size, size, bits)


def streams_of(problem: Problem, flows: Sequence[tuple[int, Flow, PairCost]]) -> list[Stream]:
    """Streams of the gang's `flows` between roles that are present, each with its position. Raises OutOfTime."""
    found = []
    for position, flow, cost in flows:
        problem.budget.check()
        left, right = problem.frame.members("from", position), problem.frame.members("to", position)
        stream = stream_of(problem, flow.pattern, cost, left, right)
        if stream is not None:
            if flow.pattern is Pattern.NEAREST:
                _check_equal_engines(problem, flow, left, right)
            found.append(stream)
    return found


def stream_of(
    problem: Problem, pattern: Pattern, cost: PairCost, left: tuple[int, ...], right: tuple[int, ...]
) -> Stream | None:
    """The stream between two sides; None without a pair."""
    senders, receivers = (sum(problem.totals[role] for role in side) for side in (left, right))
    if not left or not right or (left == right and senders < 2):
        return None
    engines = tuple(_engines(problem, left)) if pattern is Pattern.COLLECTIVE else ()
    return Stream(left, right, senders, receivers, pattern, cost, engines)


def _engines(problem: Problem, roles: Sequence[int]) -> Iterator[Engines]:
    """The groups that these roles are all of."""
    groups = problem.frame.groups
    group_of = problem.frame.kept.get("group_of")
    if group_of is None:
        group_of = {role: at for at, group in enumerate(groups) if not group.children for role in group.roles}
        problem.frame.kept["group_of"] = group_of
    for at in sorted({group_of[role] for role in roles if role in group_of}):
        yield Engines(at, groups[at].count, tuple((role, groups[at].inside[role]) for role in groups[at].roles))


def _check_equal_engines(problem: Problem, flow: Flow, left: Sequence[int], right: Sequence[int]) -> None:
    """A nearest flow has a closed form only when all its pairs pay alike."""
    roles = [role.source for role in problem.frame.roles]
    sides = [{(roles[at].engine_gpus, roles[at].engine_nodes) for at in side} for side in (left, right)]
    gpus = {min(one, other) for one, _ in sides[0] for other, _ in sides[1]}
    if len(gpus) > 1:
        raise InvalidRequest(f"flow {flow}: a nearest flow needs engines of one size, not of {sorted(gpus)} GPUs")
    nodes = {min(one, other) for _, one in sides[0] for _, other in sides[1]}
    if len(nodes) > 1:
        raise InvalidRequest(f"flow {flow}: a nearest flow needs engines of one size, not of {sorted(nodes)} nodes")
