"""`HOST:PORT` on the command line."""

import click


def address_option(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Host and port to listen on; None = not given."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise click.BadParameter(f"{text!r} is not HOST:PORT", context, option)
    return host.strip("[]"), int(port)
