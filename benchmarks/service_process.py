"""`huddle serve` as a process of its own on loopback: with its log, and its limits unless told otherwise."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

READY_S = 60.0


@contextmanager
def served(options: Sequence[str] = (), **limits: int) -> Iterator[str]:
    """Address of a service that runs for the time of the block. limits: settings of its section [limits]."""
    settings = {f"HUDDLE_SERVE_LIMITS_{key.upper()}": str(value) for key, value in limits.items()}
    command = [sys.executable, "-m", "adapters.cli", "serve", "--listen", "127.0.0.1:0", *options]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stderr=file, env={**os.environ, **settings})
        try:
            yield f"127.0.0.1:{_port(process, log)}"
        finally:
            process.terminate()
            process.wait(30)


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """From the line `ready`."""
    last = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < last:
        whole = (line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n"))
        for line in map(json.loads, whole):
            if line["event"] == "ready":
                return int(line["port"])
        time.sleep(0.05)
    raise RuntimeError(f"the service did not become ready: {log.read_text(encoding='utf-8')}")
