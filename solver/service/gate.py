"""Which calls may enter, and waiting for those inside to end."""

import threading
import time
from collections import Counter
from enum import StrEnum

from solver.service.errors import Full, Unavailable


class Stream(StrEnum):
    """What streaming calls do. Each kind has room of its own, so that none keeps another out."""

    READ = "reading"  # watches of the ledger, and what asks for the contract
    PLAN = "planning"  # answers that are told on the way
    WRITE = "writing"  # snapshots and changes


class Gate:
    """Counts calls; after it is closed none enters.

    max_streams: streaming calls of one kind at a time. max_per_caller: of them, of one caller; None = all. Standing
    calls, which end only when the client wants, are not waited for.
    """

    def __init__(self, max_streams: int, max_per_caller: int | None = None) -> None:
        self._max_streams, self._max_per_caller = max_streams, max_per_caller or max_streams
        self._changed = threading.Condition()
        self._streams: Counter[Stream] = Counter()
        self._of_callers: Counter[tuple[Stream, str]] = Counter()
        self._running = 0
        self._closed = self._hurried = False

    @property
    def streams(self) -> int:
        """Streaming calls that are inside."""
        return self._streams.total()

    @property
    def running(self) -> int:
        """Calls that are inside and will end on their own."""
        return self._running

    def enter(self, stream: Stream | None, standing: bool, caller: str = "") -> None:
        """A call begins; `leave` must follow, with the same words.

        stream: None = a call of one request and one answer. Raises Unavailable when closed, Full when there are too
        many streams of this kind, of the caller or of all.
        """
        with self._changed:
            if self._closed:
                raise Unavailable("the service is shutting down; call another one, or again in a moment")
            if stream is not None:
                self._take(stream, caller)
            self._running += not standing

    def leave(self, stream: Stream | None, standing: bool, caller: str = "") -> None:
        """A call has ended."""
        with self._changed:
            if stream is not None:
                self._give_back(stream, caller)
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

    def _take(self, stream: Stream, caller: str) -> None:
        own = self._of_callers[stream, caller]
        if own >= self._max_per_caller:
            raise Full(f"{own} {stream} streams of this caller are open already, which is the limit", retry_s=5.0)
        if self._streams[stream] >= self._max_streams:
            raise Full(f"{self._streams[stream]} {stream} streams are open already, which is the limit", retry_s=5.0)
        self._streams[stream] += 1
        self._of_callers[stream, caller] += 1

    def _give_back(self, stream: Stream, caller: str) -> None:
        self._streams[stream] -= 1
        self._of_callers[stream, caller] -= 1
        if not self._of_callers[stream, caller]:
            del self._of_callers[stream, caller]
