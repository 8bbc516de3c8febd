"""Reading a FIFO, which nobody may ever write to."""

import os
import select
import stat
from pathlib import Path

#: How long a writer may take to come, in seconds; one that has opened the other end may take any time.
WAIT_S = 5.0


class NoWriter(OSError):
    """Nobody writes to a FIFO."""

    def __init__(self) -> None:
        super().__init__(0, f"is a FIFO that nobody writes to (waited {WAIT_S:g} s)")


def is_fifo(path: str) -> bool:
    """Whether that is what the name leads to. Raises OSError and ValueError as opening it would."""
    return stat.S_ISFIFO(Path(path).stat().st_mode)


def read_fifo(path: str, most: int) -> bytes:
    """What is written to a FIFO until its writers are gone, at most so many bytes. Raises NoWriter and OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        first = b"" if _has_news(handle) else _first(handle)
        os.set_blocking(handle, True)
        return first + file.read(most - len(first))


def _has_news(handle: int) -> bool:
    """Whether something is written, or a writer has come and gone, within the time."""
    news = select.poll()
    news.register(handle, select.POLLIN)
    return bool(news.poll(WAIT_S * 1000))


def _first(handle: int) -> bytes:
    """The first byte, none if a writer is there and silent. Raises NoWriter."""
    try:
        found = os.read(handle, 1)
    except BlockingIOError:
        return b""
    if not found:
        raise NoWriter
    return found
