"""Amounts of memory on the command line: `1Gi`, `500Mi`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from adapters.kubernetes.quantity import QuantityError, parse_quantity

_Body = TypeVar("_Body", bound=Callable[..., Any])

MIB = 1 << 20
#: Memory of one question, in MiB, unless told otherwise; the least and the most that may be told.
DEFAULT_MIB, LEAST_MIB, MOST_MIB = 1024, 64, 1 << 20


def memory_limit(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """A click callback: whole MiB, or a usage error."""
    if text is None:
        return None
    try:
        mebibytes = int(parse_quantity(text) / MIB)
    except QuantityError as error:
        raise click.BadParameter(f"{error}, such as 1Gi or 500Mi") from error
    if not LEAST_MIB <= mebibytes <= MOST_MIB:
        raise click.BadParameter(f"{text!r} is out of range (64Mi to 1Ti)")
    return mebibytes


def memory_limit_option(body: _Body) -> _Body:
    """Adds `--memory-limit`, in MiB; None = not given."""
    return click.option(
        "--memory-limit",
        metavar="QUANTITY",
        callback=memory_limit,
        help="Memory of one question here: 500Mi, 2Gi.  [default: 1Gi]",
    )(body)


def memory_mib(given: int | None, server: object) -> int:
    """The limit in MiB. Raises click.UsageError where it is given although a service, `server`, answers."""
    if given is not None and server is not None:
        raise click.UsageError("--memory-limit is for this machine; a service is limited by limits.search_memory_mib")
    return DEFAULT_MIB if given is None else given
