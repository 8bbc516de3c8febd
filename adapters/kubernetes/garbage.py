"""Reading large inputs without the garbage collector in between."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pause:
    """Blocks that overlap in any order: the collector rests from the beginning of the first to the end of the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._enabled = False

    def begin(self) -> None:
        with self._lock:
            if not self._blocks:
                self._enabled = gc.isenabled()
                gc.disable()
            self._blocks += 1

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks and self._enabled:
                gc.enable()


_PAUSE = _Pause()


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """No search for reference cycles inside the block.

    While millions of containers are made, the collector searches all of them again and again: more than half of the
    time, for objects that have no cycles.
    """
    _PAUSE.begin()
    try:
        yield
    finally:
        _PAUSE.end()
