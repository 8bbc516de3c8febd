"""The time by which leases end.

While the service runs, a lease ends when its length has elapsed, time in which the machine was suspended included,
whatever is done to the machine's clock meanwhile. A start continues at the machine's clock or at the last time noted in
the ledger, whichever is later. So a clock that was set back before a start prolongs a lease by no more than the
service was down plus what had passed since the last note (`NOTE_PERIOD_S`), a clock that was set forward ends it early,
and neither brings back what has ended, because its end is written down before anybody is told.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

#: So often the time is noted while a lease runs; every change notes it too.
NOTE_PERIOD_S = 5.0


def wall_ms() -> int:
    """The machine's clock, in milliseconds since the Unix epoch."""
    return time.time_ns() // 10**6


def elapsed_ms() -> int:
    """Milliseconds since some moment of the past, suspended ones included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**6


@dataclass(frozen=True, slots=True)
class TimeSource:
    """Where time comes from; tests bring their own."""

    wall_ms: Callable[[], int] = wall_ms
    elapsed_ms: Callable[[], int] = elapsed_ms


class LedgerClock:
    """Milliseconds since the Unix epoch that never run backwards. noted_ms: the last time that was noted."""

    def __init__(self, noted_ms: int, source: TimeSource) -> None:
        self._elapsed_ms = source.elapsed_ms
        self._offset_ms = max(noted_ms, source.wall_ms()) - source.elapsed_ms()

    def now_ms(self) -> int:
        """The time."""
        return self._elapsed_ms() + self._offset_ms
