"""One server at work beside the tests: a process group of its own that never outlives the test run."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: Ends the group $1 as soon as the test run is gone, however it went: only then does standard input end.
WATCHER = 'read -r _; kill -KILL -"$1"'
#: Seconds a server has to leave by itself.
PATIENCE_S = 15.0


class Daemon:
    """A server from start to stop. Its words are in the file `log`."""

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=log.parent,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, "watcher", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id, and id of the process group."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As of subprocess: negative = ended by that signal; None while it runs."""
        return self._process.poll()

    def send(self, signum: signal.Signals) -> None:
        """Signal the group: SIGSTOP and SIGCONT make a server that hangs and comes back."""
        if self.runs:
            os.killpg(self.pid, signum)

    def stop(self) -> None:
        """End it in good order; when it does not leave, by force."""
        self.send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._watcher.kill()
        self._watcher.communicate()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        words = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(words[-lines:])
