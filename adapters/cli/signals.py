"""SIGTERM and SIGINT as something to wait for."""

import os
import select
import signal
from types import TracebackType
from typing import ClassVar


class Signals:
    """Signals, one after another, while the body runs. For the main thread only.

    They arrive through a pipe: a handler that sets an event may find that event's lock taken by the very thread it
    interrupts.
    """

    #: What `wait` gives after `done`.
    DONE: ClassVar[int] = 0
    _TAKEN: ClassVar = (signal.SIGTERM, signal.SIGINT)

    def __enter__(self) -> "Signals":
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in self._TAKEN}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        os.close(self._read)
        os.close(self._write)

    def wait(self, most_s: float | None = None) -> int | None:
        """The next signal, or DONE; None when nothing has come for so many seconds."""
        while select.select([self._read], [], [], most_s)[0]:
            found = os.read(self._read, 1)[0]
            if found == self.DONE or found in self._TAKEN:
                return found
        return None

    def done(self) -> None:
        """End a wait, from any thread."""
        os.write(self._write, bytes([self.DONE]))
