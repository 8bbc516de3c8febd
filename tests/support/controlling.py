"""`huddle controller` as a process of its own, on the control plane."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from support.controlplane.daemon import Daemon
from support.controlplane.waiting import eventually

ROOT = Path(__file__).parents[2]
#: Waits that are shorter than in a cluster, so that repairs need not be waited for.
QUICK = ("--grace", "20s", "--refused-after", "2s", "--unheard-after", "8s")


@dataclass(frozen=True)
class Controlled:
    """The process."""

    daemon: Daemon

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        """What its log says about an event so far."""
        text = self.daemon.log.read_text(encoding="utf-8")
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def wait_for(self, event: str, limit_s: float = 60.0) -> Mapping[str, Any]:
        """The first line about an event."""

        def found() -> Mapping[str, Any] | None:
            lines = self.lines(event)
            assert lines or self.daemon.runs, self.daemon.tail()
            return lines[0] if lines else None

        return eventually(found, f"{self.daemon.name} says {event}", limit_s)

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of /healthz, /readyz or /metrics."""
        port = self.wait_for("started")["port"]
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=False, timeout=10.0)
        return answer.status, answer.data.decode()


def start_controller(
    kubeconfig: Path,
    folder: Path,
    *options: str,
    name: str = "controller",
    env: Mapping[str, str] | None = None,
    leader_election: bool = False,
) -> Controlled:
    """Start one; its log is in `folder`, after that of earlier ones of its name."""
    election = ("--lease-namespace", "default") if leader_election else ("--no-leader-election",)
    own = ["--kubeconfig", str(kubeconfig), "--listen", "127.0.0.1:0", *election, *options]
    command = [sys.executable, "-m", "adapters.cli", "controller", *own]
    return Controlled(Daemon(name, command, folder / f"{name}.log", {"PYTHONPATH": str(ROOT), **(env or {})}))


@contextmanager
def controlled(kubeconfig: Path, folder: Path, *options: str, **more: Any) -> Iterator[Controlled]:
    """A controller at work for the time of the block; it ends in good order."""
    controller = start_controller(kubeconfig, folder, *options, **more)
    try:
        controller.wait_for("leading" if not more.get("leader_election") else "started")
        yield controller
    finally:
        controller.daemon.stop()
