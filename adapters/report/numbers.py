"""Exact numbers as documents and people read them."""

from fractions import Fraction


def plain(value: Fraction | int | float) -> int | float:
    """The number for JSON and YAML: an int where whole, else a float."""
    exact = Fraction(value)
    return exact.numerator if exact.denominator == 1 else float(exact)


def short(value: Fraction | int | float, digits: int = 3) -> str:
    """Decimal text with at most `digits` digits after the point and no trailing zeros."""
    text = f"{float(value):.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: Fraction | float) -> str:
    """A share as percent with one digit, `<0.1 %` where that would read as nothing."""
    value = float(share) * 100
    return "<0.1 %" if 0 < value < 0.05 else f"{short(value, 1)} %"


def gap(value: Fraction, bound: Fraction | None) -> str:
    """How far a value can still be from the best: `proven`, a share of the value, or `not proven`."""
    if bound is None:
        return "not proven"
    if bound == value:
        return "proven"
    if value == 0:
        return f"gap {short(abs(value - bound))}"
    return f"gap {percent(abs((value - bound) / value))}"


def counted(count: int, word: str) -> str:
    """`1 node`, `2 nodes`, `2 classes`."""
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
