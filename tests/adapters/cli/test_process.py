"""The command as a process of its own: imports, pipes, signals, a terminal's absence."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

from support.controlplane.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
PROBE = (
    "import sys; from adapters.cli.main import huddle\n"
    "try: huddle.main(sys.argv[1:], prog_name='huddle')\n"
    "finally: print('ortools' in sys.modules, file=sys.stderr)\n"
)


def python(*arguments: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter in the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_topology_and_bad_input_do_not_load_the_engine(cluster: str) -> None:
    """OR-Tools is imported only once there is something to plan."""
    for code, *arguments in (
        (0, "--help"),
        (0, "plan", "--help"),
        (0, "topology", "--cluster", cluster),
        (2, "plan", "absent.yaml", "--cluster", cluster),
        (2, "plan"),
        (2, "explain"),
    ):
        done = python("-c", PROBE, *map(str, arguments))
        assert done.returncode == code
        assert done.stderr.splitlines()[-1] == "False"


def test_the_module_runs_as_the_command(cluster: str) -> None:
    """`python -m adapters.cli` is the same program."""
    done = python("-m", "adapters.cli", "topology", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 nodes")


def test_a_reader_that_goes_away_is_no_error(cluster: str) -> None:
    """`huddle … | head -0` is quiet."""
    command = [sys.executable, "-m", "adapters.cli", "topology", "--cluster", cluster, "-o", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_log_file_in_plain_ascii_is_fine(cluster: str) -> None:
    """A stream that cannot carry every character still gets the answer."""
    done = python("-m", "adapters.cli", "topology", "--cluster", cluster, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def _unread(pipe: IO[bytes] | None) -> int:
    """Bytes that were written into a pipe and that nobody has read yet."""
    assert pipe is not None
    found: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupting_while_reading_exits_130(cluster: str) -> None:
    """Ctrl-C during a read of standard input ends quietly."""
    # Interrupts are ignored where tests run in the background, and whoever is ignoring them passes that on.
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", heed, sys.executable, "-m", "adapters.cli", "topology", "--cluster", "-"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"kind: ")
        process.stdin.flush()
        eventually(lambda: _unread(process.stdin) == 0, "what was written has been read", 60.0)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
