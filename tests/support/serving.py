"""`huddle serve` as a process of its own, for clients that are not ours."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.controlplane.daemon import Daemon
from support.controlplane.waiting import eventually

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """The process and where it listens."""

    daemon: Daemon
    address: str


@contextmanager
def served(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A service on a free port of loopback, its log in `folder`, for the time of the block."""
    command = [sys.executable, "-m", "adapters.cli", "serve", "--listen", "127.0.0.1:0", *options]
    daemon = Daemon("huddle", command, folder / "huddle.log", {"PYTHONPATH": str(ROOT), **(environment or {})})
    try:
        port = eventually(lambda: _port(daemon), "huddle serve becomes ready", 60.0)
        yield Served(daemon, f"127.0.0.1:{port}")
    finally:
        daemon.stop()


def _port(daemon: Daemon) -> int | None:
    """From the line `ready` of its log; None while it is not there."""
    assert daemon.runs, daemon.tail()
    whole = [line for line in daemon.log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    ports = [line["port"] for line in map(json.loads, whole) if line["event"] == "ready"]
    return ports[0] if ports else None
