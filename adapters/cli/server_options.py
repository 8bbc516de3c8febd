"""Options that name a service to ask instead of solving here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from adapters.cli.solving import ServerAddress

_Body = TypeVar("_Body", bound=Callable[..., Any])
_file = click.Path(path_type=Path)

_OPTIONS = (
    click.option("--server", metavar="HOST:PORT", help="Ask this service (huddle serve) instead of solving here."),
    click.option("--server-ca", metavar="FILE", type=_file, help="With --server: use TLS; who signed its certificate."),
    click.option("--server-cert", metavar="FILE", type=_file, help="With --server: own certificate, for mutual TLS."),
    click.option("--server-key", metavar="FILE", type=_file, help="With --server: the key of the own certificate."),
    click.option("--server-token", metavar="FILE", type=_file, help="With --server: file that holds a bearer token."),
)


def server_options(body: _Body) -> _Body:
    """`--server` and what goes with it."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def server_address(
    server: str | None,
    server_ca: Path | None,
    server_cert: Path | None,
    server_key: Path | None,
    server_token: Path | None,
) -> ServerAddress | None:
    """The service the options name, if they name one."""
    if server is None:
        if any((server_ca, server_cert, server_key, server_token)):
            raise click.UsageError("options --server-… need --server", click.get_current_context())
        return None
    host, colon, port = server.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        problem = f"'--server': {server!r} is not HOST:PORT"
        raise click.UsageError(problem, click.get_current_context())
    return ServerAddress(server, server_ca, server_cert, server_key, server_token)
