"""Lexicographic costs packed into as few 64-bit lanes as their ranges allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.domain.errors import InvalidRequest
from solver.domain.snapshot import Ints, Mask
from solver.terms.base import Term

#: An infeasible state in lane 0; sums of two still fit 64 bits.
INFINITE = 1 << 60
LIMIT = 1 << 58


@dataclass(frozen=True)
class Lanes:
    """Where each term sits. slots[term] = (lane, weight); lanes compare left to right.

    A lane's value is Σ weight · term, with each weight above twice the reach of everything to its right, so that
    comparing lanes compares the terms in order.
    """

    slots: tuple[tuple[int, int], ...]
    magnitudes: tuple[int, ...]
    count: int

    def unpack(self, values: Sequence[int]) -> list[int]:
        """Term sums from one state's lane values."""
        rest = list(values)
        found = [0] * len(self.slots)
        for at in range(len(self.slots)):
            lane, weight = self.slots[at]
            found[at] = (rest[lane] + weight // 2) // weight if weight > 1 else rest[lane]
            rest[lane] -= found[at] * weight
        return found


def plan_lanes(terms: Sequence[Term]) -> Lanes:
    """Pack `terms` in order; raises InvalidRequest when one alone leaves the 64-bit range."""
    magnitudes = tuple(term.magnitude for term in terms)
    lanes: list[list[int]] = [[]]
    for at, size in enumerate(magnitudes):
        if size >= LIMIT:
            raise InvalidRequest(
                f"term {terms[at].name}: its numbers leave the 64-bit range; use smaller bytes or ratios"
            )
        product = size
        for other in lanes[-1]:
            product *= 2 * magnitudes[other] + 2
        if product >= LIMIT // 4:
            lanes.append([])
        lanes[-1].append(at)
    slots = [(0, 1)] * len(magnitudes)
    for lane, members in enumerate(lanes):
        weight = 1
        for at in reversed(members):
            slots[at] = (lane, weight)
            weight *= 2 * magnitudes[at] + 2
    return Lanes(tuple(slots), magnitudes, len(lanes))


def infeasible(count: int, size: int) -> Ints:
    """[lanes, states] table in which nothing fits."""
    table = np.zeros((count, size), dtype=np.int64)
    table[0] = INFINITE
    return table


def settle(table: Ints) -> Ints:
    """Bring infeasible states to their one form, in place."""
    beyond = table[0] >= INFINITE // 2
    table[:, beyond] = 0
    table[0, beyond] = INFINITE
    return table


def better(left: Ints, right: Ints) -> Mask:
    """[…] where lane vectors `left` [lanes, …] come strictly before `right`."""
    smaller = left[-1] < right[-1]
    for lane in range(left.shape[0] - 2, -1, -1):
        smaller = (left[lane] < right[lane]) | ((left[lane] == right[lane]) & smaller)
    return np.asarray(smaller)
