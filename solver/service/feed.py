"""Changes of the ledger for those who watch. Nobody who reads slowly holds up the ledger or another watcher."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from solver.ledger import Promise
from solver.service.errors import Full, ServiceError

#: A watcher that was cut and still has not noticed after so many seconds is given up.
STUCK_S = 10.0


@dataclass(frozen=True, slots=True)
class Synced:
    """The beginning is complete. revision: of the ledger."""

    revision: int


class Watch:
    """What one watcher is told: what holds capacity at the beginning, then Synced, then every change.

    Iterating waits for what comes next and ends once the watch is closed. Raises Full when the watcher has fallen too
    far behind, and what else the watch was ended with.
    """

    def __init__(self, feed: "Feed", cluster: str, beginning: Sequence[Promise], revision: int, backlog: int) -> None:
        self.cluster = cluster
        self._feed, self._beginning, self._synced, self._backlog = feed, beginning, Synced(revision), backlog
        self._changed = threading.Condition()
        self._waiting: deque[Promise] = deque()
        self._over, self._over_at_s = False, 0.0
        self._error: ServiceError | None = None
        self._abandon: Callable[[], object] | None = None

    def __iter__(self) -> Iterator[Promise | Synced]:
        for promise in self._beginning:
            if self._over:
                break
            yield promise
        self._beginning = ()
        if not self._over:
            yield self._synced
        while (change := self._next()) is not None:
            yield change

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def when_stuck(self, abandon: Callable[[], object]) -> None:
        """Call this when the watcher was cut and does not come back to hear of it."""
        self._abandon = abandon

    def close(self) -> None:
        """End the watch; whoever iterates stops."""
        self.end(None)
        self._feed.leave(self)

    def end(self, error: ServiceError | None) -> None:
        """Tell nothing more; whoever iterates stops, or hears the error."""
        with self._changed:
            if self._over:
                return
            self._over, self._error, self._over_at_s = True, error, time.monotonic()
            self._waiting.clear()
            self._changed.notify_all()

    def offer(self, promise: Promise) -> None:
        """Put a change in line; a line that is full is cut off."""
        with self._changed:
            if len(self._waiting) < self._backlog and not self._over:
                self._waiting.append(promise)
                self._changed.notify()
                return
        self.end(Full(f"the watcher fell more than {self._backlog} changes behind; watch anew"))

    def give_up(self, now_s: float) -> bool:
        """Abandon the watcher if it was cut long ago; whether it was."""
        with self._changed:
            if not self._over or now_s - self._over_at_s < STUCK_S:
                return False
            abandon, self._abandon = self._abandon, None
        if abandon is not None:
            abandon()
        return True

    def _next(self) -> Promise | None:
        with self._changed:
            while not self._waiting and not self._over:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            return None if self._over else self._waiting.popleft()


class Feed:
    """All watchers. backlog: changes a watcher may fall behind."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._lock = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._ended: ServiceError | None = None

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._watches.values()))

    def open(self, cluster: str, beginning: Sequence[Promise], revision: int) -> Watch:
        """A new watcher, who has to hear what holds capacity now. Raises what the feed was ended with."""
        watch = Watch(self, cluster, beginning, revision, self._backlog)
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._watches.setdefault(cluster, set()).add(watch)
        return watch

    def tell(self, changed: Iterable[Promise]) -> None:
        """Tell every watcher of the clusters concerned; never waits for one."""
        with self._lock:
            for promise in changed:
                for watch in self._watches.get(promise.cluster, ()):
                    watch.offer(promise)

    def leave(self, watch: Watch) -> None:
        """Forget a watcher."""
        with self._lock:
            watches = self._watches.get(watch.cluster, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(watch.cluster, None)

    def give_up_stuck(self) -> None:
        """Abandon watchers that were cut and do not come back to hear of it."""
        now_s = time.monotonic()
        with self._lock:
            watches = [watch for each in self._watches.values() for watch in each]
        for watch in watches:
            if watch.give_up(now_s):
                self.leave(watch)

    def end(self, error: ServiceError) -> None:
        """End all watches; no new ones can be opened."""
        with self._lock:
            self._ended = error
            watches = [watch for each in self._watches.values() for watch in each]
        for watch in watches:
            watch.end(error)
