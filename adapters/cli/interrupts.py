"""Work that a signal asks to end: the first one gently, the second at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from adapters.cli.course import Course
from adapters.cli.signals import Signals
from adapters.cli.streams import tell

_Found = TypeVar("_Found")

#: So long the work may take to end once it is asked to, in seconds; then what is known counts.
GRACE_S = 10.0
_SHOW_CURSOR = "\x1b[?25h"


def interruptible(work: Callable[[Course], _Found], known: Callable[[Course], _Found]) -> tuple[_Found, int]:
    """What `work` gives, and the number of the signal that cut it short (0 = none).

    SIGINT and SIGTERM are noted in the course that the work looks at; a second one ends the process at once, with the
    exit code 128 and its number. known: what counts if the work does not end. Outside the main thread signals are left
    alone.
    """
    course = Course()
    if threading.current_thread() is not threading.main_thread():
        return work(course), 0
    future: Future[_Found] = Future()
    with Signals() as signals:

        def run() -> None:
            try:
                future.set_result(work(course))
            except BaseException as error:
                future.set_exception(error)
            finally:
                signals.done()

        threading.Thread(target=run, name="work", daemon=True).start()
        first = signals.wait() or Signals.DONE
        if first != Signals.DONE:
            course.signal = first
            name = signal.Signals(first).name
            tell(f"{name}: ending with the best plan so far; once more ends at once")
            second = signals.wait(GRACE_S)
            if second is None:
                return known(course), first
            if second != Signals.DONE:
                _end_at_once(second)
    return future.result(), course.signal


def _end_at_once(number: int) -> None:
    """Leave without another word, and the terminal as it was."""
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{_SHOW_CURSOR}\n")
            sys.stderr.flush()
    os._exit(128 + number)
