"""What the text readers share: values with their line, limits, and the error of malformed text."""

import math
import re
from dataclasses import dataclass
from typing import Any

from adapters.kubernetes.objects import shown

#: Deepest nesting of mappings and lists.
MAX_DEPTH = 100

#: A digit of a number, before its exponent, that makes it something.
_NOT_ZERO = re.compile(r"^[^eE]*[1-9]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """One value of a stream and the line it starts on, counted from 1."""

    value: Any
    line: int


class TextError(ValueError):
    """Text that cannot be read.

    line: counted from 1, None where nobody knows it. syntax: the grammar is violated, so another reader may try.
    """

    def __init__(self, problem: str, line: int | None = None, *, syntax: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.syntax = syntax


def as_float(digits: str) -> float:
    """The number that digits stand for, away from zero where it is too small for a float but is not zero.

    Amounts are rounded up, so that a little is never nothing. Raises TextError for what is too large.
    """
    value = float(digits)
    if not math.isfinite(value):
        raise TextError(f"number {shown(digits)} is too large")
    if not value and _NOT_ZERO.search(digits):
        return math.copysign(math.ulp(0.0), value)
    return value
