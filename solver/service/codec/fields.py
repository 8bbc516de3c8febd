"""Reading fields of a message: what is missing or out of range is told with its path."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeVar

from solver.api.v1 import gang_pb2 as pb
from solver.domain.errors import InvalidRequest
from solver.service.errors import InvalidField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MS = 253_402_300_799_999  # the end of the year 9999

_N = TypeVar("_N", bound=int)
_T = TypeVar("_T")


def required(value: str, field: str) -> str:
    """A text that must not be empty."""
    if not value:
        raise InvalidField(field, "must not be empty")
    return value


def known(table: Mapping[_N, _T], value: _N, field: str) -> _T:
    """What an enum number stands for."""
    if value not in table:
        raise InvalidField(field, f"{value} is no known value")
    return table[value]


def within(value: int, low: int, high: int, field: str) -> int:
    """A number from `low` to `high`."""
    if not low <= value <= high:
        raise InvalidField(field, f"{value} is out of range ({low} to {high})")
    return value


def decode_rational(message: pb.Rational, field: str) -> Fraction:
    """A fraction; a denominator of 0 is read as 1."""
    within(message.denominator, 0, 2**63 - 1, f"{field}.denominator")
    return Fraction(message.numerator, message.denominator or 1)


def decode_moment(milliseconds: int, field: str) -> datetime:
    """A moment from milliseconds since the Unix epoch."""
    return _EPOCH + timedelta(milliseconds=within(milliseconds, 0, _MAX_MS, field))


def encode_moment(moment: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def encode_rational(value: Fraction) -> pb.Rational:
    """The fraction in lowest terms. Raises InvalidRequest for one of more than 63 bits above or below the line."""
    if max(abs(value.numerator), value.denominator) >= 2**63:
        raise InvalidRequest(f"{float(value):g} has more digits than can be sent; round it")
    return pb.Rational(numerator=value.numerator, denominator=value.denominator)


class checking:  # noqa: N801  # reads as a statement
    """Turns what the domain refuses inside the block into a wrong field."""

    def __init__(self, field: str) -> None:
        self.field = field

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidRequest) and not isinstance(error, InvalidField):
            raise InvalidField(self.field, str(error)) from error
