"""The command as a process whose standard error is a terminal."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from support.controlplane.waiting import TooLate, eventually

ROOT = Path(__file__).resolve().parents[2]
#: Longest wait for anything, in seconds.
PATIENCE_S = 300.0


class Watched:
    """A process with what it has shown on its terminal so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self.process, self._terminal = process, terminal
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self._terminal, 65536):
                self._shown += part
        except OSError:  # the other end is closed
            pass

    @property
    def shown(self) -> str:
        """Everything so far, control codes and line breaks left out."""
        return " ".join(bytes(self._shown).decode(errors="replace").split())

    def until(self, text: str) -> None:
        """Wait until the terminal has shown a text."""
        with suppress(TooLate):
            eventually(lambda: text in self.shown or self.process.poll() is not None, text, PATIENCE_S)
        assert text in self.shown, self.shown

    def signalled(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Exit code and standard output, once it is over."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return self.process.returncode, out.decode()


@contextmanager
def watched(arguments: Sequence[str]) -> Iterator[Watched]:
    """A Python process in the repository; it is killed if it is still there in the end."""
    ours, theirs = pty.openpty()
    command = [sys.executable, *arguments]
    terminal = {"COLUMNS": "250", "TERM": "xterm"}
    environment = {**os.environ, **terminal, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    try:
        yield Watched(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
