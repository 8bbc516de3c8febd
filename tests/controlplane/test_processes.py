"""Servers of the tests end with them, and ports have one owner."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.controlplane.daemon import Daemon
from support.controlplane.ports import claim_port
from support.controlplane.waiting import TooLate, eventually

STUBBORN = "trap '' TERM; echo started; sleep 100 & wait; sleep 100"
#: A test run in small: starts a server, tells its process id, and waits.
RUN = """
import pathlib, sys, time
from support.controlplane.daemon import Daemon
print(Daemon("sleep", ["sleep", "100"], pathlib.Path(sys.argv[1]), {}).pid, flush=True)
time.sleep(100)
"""


def test_killed_run_leaves_no_server(tmp_path: Path) -> None:
    """When the test run is killed, not even able to tidy up, its servers end."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", RUN, str(tmp_path / "log")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        assert not _gone(server)
        run.kill()
    eventually(lambda: _gone(server), "the server is gone", limit_s=10)


def test_stubborn_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores the polite signal is ended by force, with its children, and its log stays."""
    monkeypatch.setattr("support.controlplane.daemon.PATIENCE_S", 0.1)
    daemon = Daemon("sh", ["sh", "-c", STUBBORN], tmp_path / "log", {"UNUSED": "1"})
    eventually(lambda: daemon.tail() == "started", "the shell has started")
    daemon.stop()
    assert not daemon.runs
    eventually(lambda: _gone(daemon.pid), "the whole group is gone")


def test_frozen_server(tmp_path: Path) -> None:
    """SIGSTOP freezes a server, SIGCONT wakes it."""
    daemon = Daemon("sleep", ["sleep", "100"], tmp_path / "log", {})
    daemon.send(signal.SIGSTOP)
    eventually(lambda: _state(daemon.pid) == "T", "it is frozen")
    daemon.send(signal.SIGCONT)
    eventually(lambda: _state(daemon.pid) == "S", "it is awake")
    assert daemon.runs
    daemon.kill()


def test_ports_have_one_owner() -> None:
    """Claimed ports differ, can be listened on, and are skipped while somebody else listens."""
    ports = [claim_port() for _ in range(20)]
    assert len({port.number for port in ports}) == 20
    with socket.create_server(("127.0.0.1", ports[0].number)):
        pass
    for port in ports:
        port.release()


def test_waiting_has_an_end() -> None:
    """What never comes is said in words, with the last answer."""
    with pytest.raises(TooLate, match=r"the moon: not within 0 s, last answer \[\]"):
        eventually(list, "the moon", limit_s=0)


def _gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def _state(pid: int) -> str:
    """The letter of /proc that says what a process does."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
