"""Kubernetes quantities."""

from fractions import Fraction

import pytest

from adapters.kubernetes.quantity import QuantityError, parse_quantity
from solver.domain.resources import MAX_AMOUNT


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("0", 0),
        ("1", 1),
        ("+1", 1),
        ("-0", 0),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("500m", Fraction(1, 2)),
        ("2000m", 2),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("2k", 2_000),
        ("2M", 2 * 10**6),
        ("2G", 2 * 10**9),
        ("2T", 2 * 10**12),
        ("2P", 2 * 10**15),
        ("0.001E", 10**15),
        ("1Ki", 1024),
        ("1Mi", 2**20),
        ("1Gi", 2**30),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("0.001Ei", Fraction(2**60, 1000)),
        ("1.5Gi", 3 * 2**29),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e-3", Fraction(1, 1000)),
        ("12E+2", 1200),
        (8, 8),
        (0.1, Fraction(1, 10)),
        (2.0, 2),
        (MAX_AMOUNT, MAX_AMOUNT),
    ],
)
def test_quantities_are_exact(value: object, amount: int | Fraction) -> None:
    """Every suffix and exponent is read without rounding; whole amounts are integers."""
    found = parse_quantity(value)
    assert found == amount
    assert isinstance(found, int) == (Fraction(amount).denominator == 1)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "must be a quantity, not ''"),
        (" 1", "must be a quantity, not ' 1'"),
        ("1\n", "must be a quantity, not '1\\n'"),
        ("1 Gi", "must be a quantity, not '1 Gi'"),
        ("1GiB", "must be a quantity, not '1GiB'"),
        ("1K", "must be a quantity, not '1K'"),
        ("1ki", "must be a quantity, not '1ki'"),
        ("NaN", "must be a quantity, not 'NaN'"),
        ("inf", "must be a quantity, not 'inf'"),
        ("0x10", "must be a quantity, not '0x10'"),
        ("1_000", "must be a quantity, not '1_000'"),
        ("٣", "must be a quantity, not '٣'"),
        ("1e99999999", "must be a quantity, not '1e99999999'"),
        (float("nan"), "must be a quantity, not nan"),
        (float("inf"), "must be a quantity, not inf"),
        (True, "must be a quantity, not true"),
        (None, "must be a quantity, not None"),
        ([1], "must be a quantity, not a list"),
        ("-1", "'-1' is negative"),
        (-0.5, "-0.5 is negative"),
        ("1E", "'1E' is too large"),
        ("1e30", "'1e30' is too large"),
        (1e30, "1e+30 is too large"),
        (10**60, "a huge number is too large"),
        (MAX_AMOUNT + 1, f"{MAX_AMOUNT + 1} is too large"),
    ],
)
def test_what_is_no_quantity_is_refused(value: object, problem: str) -> None:
    """Garbage, negative and absurd amounts are refused with one phrase."""
    with pytest.raises(QuantityError) as refused:
        parse_quantity(value)
    assert str(refused.value) == problem
