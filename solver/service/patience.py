"""Calls whose request does not come: they hold a thread, so they are given up."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc


class Patience:
    """Cancels calls that wait longer than `most_s` seconds, give or take a quarter."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._lock = threading.Lock()
        self._waiting: dict[object, tuple[float, Callable[[], object]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="patience", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Give up nobody any more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def waiting(self, context: grpc.ServicerContext) -> Iterator[None]:
        """A call that waits while the body runs; its cancellation reaches the body as grpcio tells it."""
        key = object()
        with self._lock:
            self._waiting[key] = time.monotonic() + self._most_s, context.cancel
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(key, None)

    def _look(self) -> None:
        while not self._stop.wait(self._most_s / 4):
            now = time.monotonic()
            with self._lock:
                late = [key for key, (until, _) in self._waiting.items() if until < now]
                given_up = [self._waiting.pop(key)[1] for key in late]
            for cancel in given_up:
                cancel()
