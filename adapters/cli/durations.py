"""Durations as Go and Kubernetes write them: `5s`, `500ms`, `1m30s`."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import click

_Body = TypeVar("_Body", bound=Callable[..., Any])

_UNITS_S = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12})(ns|us|µs|ms|s|m|h)", re.ASCII)

#: Longest duration accepted, in seconds: a day.
LONGEST_S = 86_400


def parse_duration(text: str, zero: bool = False) -> float:
    """Seconds of a positive duration, or of none where `zero` is allowed.

    Raises ValueError with one sentence for anything else.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 5s, 500ms or 1m30s")
    seconds = sum((Fraction(number) * _UNITS_S[unit] for number, unit in parts), Fraction(0))
    if not 0 <= seconds <= LONGEST_S or not (seconds or zero):
        raise ValueError(f"{text!r} is out of range ({'0s' if zero else 'above 0s,'} up to 24h)")
    return float(seconds)


def duration_option(context: click.Context, option: click.Parameter, text: str, zero: bool = False) -> float:
    """A click callback: seconds, or a usage error."""
    try:
        return parse_duration(text, zero)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error


def duration_or_none_option(context: click.Context, option: click.Parameter, text: str) -> float:
    """A click callback: seconds, 0 for `0s`, or a usage error."""
    return duration_option(context, option, text, zero=True)


def duration(name: str, default: str, text: str) -> Callable[[_Body], _Body]:
    """An option in seconds, written as 5s, 500ms or 1m30s. text: its help."""
    return click.option(
        name, metavar="DURATION", callback=duration_option, default=default, show_default=True, help=text
    )
