"""Calls that are due later, by name."""

import asyncio
from collections.abc import Callable
from functools import partial


class Timers:
    """At most one call of each name waits. In one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call once, so long after the first time that this is asked."""
        if name not in self._waiting:
            self._waiting[name] = asyncio.get_running_loop().call_later(seconds, partial(self._elapsed, name, call))

    def cancel(self, name: str) -> None:
        """Do not call it."""
        if (timer := self._waiting.pop(name, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Call nothing any more."""
        for name in list(self._waiting):
            self.cancel(name)

    def _elapsed(self, name: str, call: Callable[[], None]) -> None:
        del self._waiting[name]
        call()
