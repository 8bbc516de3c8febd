"""Waiting for what a real system does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooLate(AssertionError):
    """What was waited for did not come; the message says what."""


def eventually(check: Callable[[], T | None], what: str, limit_s: float = 90.0, pause_s: float = 0.05) -> T:
    """The first true answer of `check`, asked again every `pause_s`; raises TooLate with `what` and the last answer."""
    end = time.monotonic() + limit_s
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TooLate(f"{what}: not within {limit_s:g} s, last answer {answer!r}")
        time.sleep(pause_s)
