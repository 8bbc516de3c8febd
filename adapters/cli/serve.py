"""`huddle serve`: the gRPC service in this process, until it is told to end."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapters.cli import later
from adapters.cli.durations import duration_option
from adapters.cli.extras import needs_extra
from adapters.cli.responsive import stay_responsive
from adapters.cli.signals import Signals
from adapters.cli.streams import write_out

if TYPE_CHECKING:
    from solver.service.config import ServiceConfig
    from solver.service.server import Server

#: Names of `solver.service.config.Level`, spelt out so that --help need not load the service.
LEVELS = ("debug", "info", "warning", "error")

HELP = """Answer questions about placement over gRPC, and keep cluster states and promises for them.

\b
Examples:
  huddle serve --ledger promises.db
  huddle serve --listen 0.0.0.0:50551 --config serve.toml

A damaged ledger, or one of which a file is missing or old, is refused with one sentence: restore the newest copy of
FILE, FILE-wal and FILE.note together, or take what is there with --accept-ledger-at, which forgets what was promised or
given back since.

Settings come from --config, environment variables HUDDLE_SERVE_<SECTION>_<KEY> over it, and options over both;
--print-config shows all of them. Plaintext is for loopback only, unless --insecure says otherwise. The log goes to
stderr as JSON lines; the line `ready` tells the port. SIGTERM drains, a second one ends at once.

\b
Exit codes: 0 ended as told, 2 settings that cannot be met (one line), 1 a defect of huddle.
"""

_file = click.Path(path_type=Path)


def _duration(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    return None if text is None else duration_option(context, option, text)


@click.command("serve", cls=later.Command, help=HELP, short_help="Answer over gRPC.")
@click.option("--listen", metavar="HOST:PORT", help="Address; port 0 takes a free one. Default: 127.0.0.1:50551.")
@click.option("--config", "file", metavar="FILE", type=_file, help="Settings, as TOML.")
@click.option("--ledger", metavar="FILE", type=_file, help="Where promises are kept; default: in memory only.")
@click.option(
    "--accept-ledger-at",
    metavar="CHANGES",
    type=click.IntRange(min=0),
    help="Start, once, on a ledger that lacks confirmed changes, with the number that the refused start has told.",
)
@click.option("--insecure", is_flag=True, help="Allow plaintext, and callers without credentials, on every address.")
@click.option("--tls-cert", metavar="FILE", type=_file, help="Certificate chain of the server, as PEM.")
@click.option("--tls-key", metavar="FILE", type=_file, help="Its private key, as PEM.")
@click.option(
    "--client-ca", metavar="FILE", type=_file, help="Who signs client certificates; each client must show one."
)
@click.option("--tokens", metavar="FILE", type=_file, help="Bearer tokens: lines of `name role token`, or TOML.")
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there; default: nowhere.")
@click.option("--log-level", type=click.Choice(LEVELS), help="How much is logged; default: info.")
@click.option("--grace", metavar="DURATION", callback=_duration, help="Time for running calls after SIGTERM.")
@click.option("--print-config", is_flag=True, help="Print all settings in force as TOML, and end.")
def serve_command(file: Path | None, print_config: bool, **given: Any) -> None:
    """Read the settings, then serve or show them."""
    from solver.service.settings import config_text, load_config

    config = load_config(file, os.environ, flags(given))
    if print_config:
        write_out(config_text(config))
        return
    serve_until_told(config)


def flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the command line by the keys of the settings they stand over; None = not given."""
    return {
        "listen": given["listen"],
        "insecure": given["insecure"] or None,
        "ledger.file": given["ledger"],
        "ledger.accept_at": given["accept_ledger_at"],
        "tls.cert_file": given["tls_cert"],
        "tls.key_file": given["tls_key"],
        "tls.client_ca_file": given["client_ca"],
        "auth.token_file": given["tokens"],
        "metrics.listen": given["metrics"],
        "logs.level": given["log_level"],
        "drain.grace_s": given["grace"],
    }


def serve_until_told(config: "ServiceConfig") -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cancels what still runs."""
    server = _server(config)
    stay_responsive()
    with Signals() as signals:
        server.start()
        signals.wait()
        drain = threading.Thread(target=_drain, args=(server, signals), name="drain", daemon=True)
        drain.start()
        to_stop_s = 2 * config.drain.stop_s
        if signals.wait(config.drain.grace_s + to_stop_s) != Signals.DONE:
            server.hurry()
            drain.join(to_stop_s)
    _end_within(config.drain.stop_s)


def _server(config: "ServiceConfig") -> "Server":
    """The service, not yet started. Raises InvalidRequest when its libraries are not installed."""
    # Messages of gRPC's core are no JSON, and tell nothing about a failed handshake that a client would not know.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with needs_extra("huddle serve", "service"):
        from solver.service import logs
        from solver.service.server import Server
    logs.configure(config.logs)
    return Server(config)


def _drain(server: "Server", signals: Signals) -> None:
    try:
        server.stop()
    finally:
        signals.done()


def _end_within(seconds: float) -> None:
    """End the process after so long even if a thread never does; nobody is left whom that could hurt."""
    last = threading.Timer(seconds, os._exit, args=(0,))
    last.daemon = True
    last.start()
