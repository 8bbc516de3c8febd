"""How late event loops are: what runs too long in one keeps everything else in it waiting."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

#: A loop is looked at so often, in seconds; its lateness is remembered for so long.
PERIOD_S, WINDOW_S = 0.25, 60.0


class Lag:
    """Lateness of one event loop. `run` belongs into it; any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s: float | None = None
        self._late_s: deque[tuple[float, float]] = deque(maxlen=round(WINDOW_S / PERIOD_S))  # when, and how late

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self._due_s = self._clock() + PERIOD_S
                await asyncio.sleep(PERIOD_S)
                now_s = self._clock()
                self._late_s.append((now_s, max(0.0, now_s - self._due_s)))
        finally:
            self._due_s = None

    @property
    def now_s(self) -> float:
        """How late the loop is at this moment, in seconds: it has not turned for so long. 0 when it does not run."""
        due_s = self._due_s
        return 0.0 if due_s is None else max(0.0, self._clock() - due_s)

    @property
    def most_s(self) -> float:
        """How late it was at most in the last minute, this moment included, in seconds."""
        since_s = self._clock() - WINDOW_S
        return max([self.now_s, *(late_s for at_s, late_s in list(self._late_s) if at_s >= since_s)])
