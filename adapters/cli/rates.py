"""Requests per second on the command line."""

import math
from fractions import Fraction

import click

from solver.domain.gang import MAX_RATE


def rate_or_none_option(_: click.Context, __: click.Parameter, text: str | None) -> Fraction | None:
    """The decimal as written, above 0 and at most 10⁹; None when the option is not given. Raises click.BadParameter."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise click.BadParameter(f"{text!r} is not a number")
    if not 0 < value <= MAX_RATE:
        raise click.BadParameter(f"{text} is out of range (above 0, at most {MAX_RATE})")
    return Fraction(str(value))
