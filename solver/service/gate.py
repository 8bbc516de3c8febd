"""Which calls may enter, and waiting for those inside to end."""

import threading
import time

from solver.service.errors import Full, Unavailable


class Gate:
    """Counts calls; after it is closed none enters.

    max_streams: streaming calls at a time. Standing calls, which end only when the client wants, are not waited for.
    """

    def __init__(self, max_streams: int) -> None:
        self._max_streams = max_streams
        self._changed = threading.Condition()
        self._streams = self._running = 0
        self._closed = self._hurried = False

    @property
    def streams(self) -> int:
        """Streaming calls that are inside."""
        return self._streams

    @property
    def running(self) -> int:
        """Calls that are inside and will end on their own."""
        return self._running

    def enter(self, stream: bool, standing: bool) -> None:
        """A call begins; `leave` must follow. Raises Unavailable when closed, Full when there are too many streams."""
        with self._changed:
            if self._closed:
                raise Unavailable("the service is shutting down; call another one, or again in a moment")
            if stream and self._streams >= self._max_streams:
                raise Full(f"{self._streams} streaming calls are open already, which is the limit", retry_s=5.0)
            self._streams += stream
            self._running += not standing

    def leave(self, stream: bool, standing: bool) -> None:
        """A call has ended."""
        with self._changed:
            self._streams -= stream
            self._running -= not standing
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True

    def hurry(self) -> None:
        """End the wait for those inside."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def wait_empty(self, most_s: float) -> bool:
        """Wait until nobody is inside who ends on their own, so many seconds at most; whether that came true."""
        until = time.monotonic() + most_s
        with self._changed:
            self._changed.wait_for(lambda: self._hurried or not self._running, max(0.0, until - time.monotonic()))
            return not self._running
