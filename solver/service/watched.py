"""Files that may change while the service runs."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

_log = structlog.get_logger("huddle.service")


class Watched:
    """Tells whether files changed since it was last asked; looks at most once in `every_s` seconds.

    Safe for several threads: one of them is told about a change, the others go on with what they have.
    """

    def __init__(self, paths: Sequence[Path], every_s: float) -> None:
        self._paths, self._every_s = tuple(paths), every_s
        self._lock = threading.Lock()
        self._seen = self._marks()
        self._next_look = time.monotonic() + every_s

    def changed(self) -> bool:
        """Whether any of them is another file, or has another content, than before."""
        if time.monotonic() < self._next_look or not self._lock.acquire(blocking=False):
            return False
        try:
            self._next_look = time.monotonic() + self._every_s
            marks = self._marks()
            differs, self._seen = marks != self._seen, marks
            return differs
        finally:
            self._lock.release()

    def _marks(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        return tuple(_mark(path) for path in self._paths)


def warn_if_open(path: Path) -> None:
    """Log a warning when everybody on this machine may read a file of secrets."""
    if path.stat().st_mode & 0o004:
        _log.warning("file_world_readable", file=str(path))


def _mark(path: Path) -> tuple[int, int, int, int] | None:
    """What changes with the file's content; links are followed, as mounted secrets are links."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
