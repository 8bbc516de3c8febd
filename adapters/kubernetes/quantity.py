"""Kubernetes quantities (`500m`, `64Gi`, `1e3`) as exact numbers."""

import math
import re
from fractions import Fraction
from functools import lru_cache

from adapters.kubernetes.objects import shown
from solver.domain.resources import MAX_AMOUNT

#: An exact amount; whole ones are `int`, which keeps sums fast.
Amount = int | Fraction

_FORM = re.compile(r"([+-]?)(\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?")
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}


class QuantityError(ValueError):
    """A value that is no usable quantity; the message is the problem, without the field."""


def parse_quantity(value: object) -> Amount:
    """The exact amount of a quantity: text as Kubernetes writes it, or a plain number.

    Raises QuantityError for anything else, for negative amounts and for ones above `MAX_AMOUNT`.
    """
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(value, value)
    if isinstance(value, float) and math.isfinite(value):
        return _in_range(Fraction(repr(value)), value)
    raise QuantityError(f"must be a quantity, not {shown(value)}")


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Amount:
    match = _FORM.fullmatch(text) if text.isascii() else None
    if match is None:
        raise QuantityError(f"must be a quantity, not {shown(text)}")
    sign, digits, suffix = match.groups()
    scale = Fraction(1)
    if suffix:
        scale = _SUFFIXES[suffix] if suffix in _SUFFIXES else Fraction(10) ** int(suffix[1:])
    amount = Fraction(digits) * scale
    return _in_range(-amount if sign == "-" else amount, text)


def _in_range(amount: Amount, value: object) -> Amount:
    if amount < 0:
        raise QuantityError(f"{shown(value)} is negative")
    if amount > MAX_AMOUNT:
        raise QuantityError(f"{shown(value)} is too large")
    return int(amount) if isinstance(amount, Fraction) and amount.denominator == 1 else amount
