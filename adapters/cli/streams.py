"""Standard input, output and error as they are found: any may be closed, full, or left by its reader."""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator
from typing import IO, NoReturn

from solver.domain.errors import HuddleError
from solver.domain.printable import printable


class CannotWrite(HuddleError):
    """The answer cannot be written where it should go."""


class ReaderGone(Exception):
    """Who asked for the answer does not read it any more, as `head` does."""


class ClosedBytes(io.RawIOBase):
    """A stream that was closed before the command began; every use says so."""

    def read(self, size: int = -1) -> NoReturn:
        """Raises OSError."""
        raise OSError(errno.EBADF, "it is closed")

    def write(self, content: object) -> NoReturn:
        """Raises OSError."""
        raise OSError(errno.EBADF, "it is closed")


class Closed(io.TextIOBase):
    """The same for text."""

    buffer = ClosedBytes()

    def write(self, text: str) -> NoReturn:
        """Raises OSError."""
        self.buffer.write(text)


def open_streams() -> None:
    """Make all three usable before anything else is opened.

    A file opened while one of them is closed would get its number, and what others write to it. Reading and answering
    through a closed one raises OSError; what is written to a closed stderr goes nowhere. Characters that a stream
    cannot carry are written escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or Closed()
    sys.stdout = sys.stdout or Closed()
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_out(answer: str | bytes) -> None:
    """Write the answer to stdout. A reader that went away is no error; raises CannotWrite for every other trouble."""
    try:
        if isinstance(answer, bytes):
            sys.stdout.buffer.write(answer)
        else:
            sys.stdout.write(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except (OSError, ValueError) as error:
        drop(sys.stdout)
        problem = error.strerror if isinstance(error, OSError) else "it is closed"
        raise CannotWrite(f"the answer cannot be written to standard output: {problem}") from error


@contextlib.contextmanager
def reader_may_go() -> Iterator[None]:
    """Raises ReaderGone where the body writes to stdout by itself and nobody reads it."""
    try:
        yield
    except BrokenPipeError as error:
        drop(sys.stdout)
        raise ReaderGone from error


def tell(line: str) -> None:
    """Write one line to stderr, or do without: the answer and the exit code do not depend on it."""
    try:
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        drop(sys.stderr)


def tell_trace(error: BaseException) -> None:
    """Write where an error comes from to stderr."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        tell(line)


def end_streams() -> None:
    """Write what is still buffered; what cannot be is dropped, so that closing the streams at exit stays quiet."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            drop(stream)


def drop(stream: IO[str]) -> None:
    """Send what is still buffered, and what follows, nowhere."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
