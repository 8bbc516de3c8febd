"""Questions in line before a few places, the callers that have least taking turns."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Asked(Protocol):
    """What stands in line."""

    @property
    def caller(self) -> str:
        """Who has asked."""

    @property
    def number(self) -> int:
        """Position in the order of asking."""


_Asked = TypeVar("_Asked", bound=Asked)


@dataclass
class Lane(Generic[_Asked]):
    """One line. Not for two threads at a time.

    places: questions that run at a time. spare: so many more may run, each of a caller of whom none runs; so that
    questions of others, however long, keep a caller's first one waiting only when there are many of them.
    """

    places: int
    spare: int
    _waiting: dict[str, deque[_Asked]] = field(default_factory=dict)
    _running: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """Questions in line."""
        return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> int:
        """Questions that run."""
        return self._running.total()

    def join(self, asked: _Asked) -> None:
        """Come to the end of the line."""
        self._waiting.setdefault(asked.caller, deque()).append(asked)

    def leave(self, asked: _Asked) -> bool:
        """Out of the line; whether it was in it."""
        line = self._waiting.get(asked.caller)
        if line is None or asked not in line:
            return False
        line.remove(asked)
        self._tidied(asked.caller)
        return True

    def started(self) -> Iterator[_Asked]:
        """Those whose turn it is: of the caller of whom fewest run, the first. They run until `ended`."""
        while self._waiting:
            caller = min(self._waiting, key=lambda each: (self._running[each], self._waiting[each][0].number))
            if self.running >= self.places + (0 if self._running[caller] else self.spare):
                return
            asked = self._waiting[caller].popleft()
            self._tidied(caller)
            self._running[caller] += 1
            yield asked

    def ended(self, asked: _Asked) -> None:
        """One that ran does so no more."""
        self._running[asked.caller] -= 1
        if not self._running[asked.caller]:
            del self._running[asked.caller]

    def emptied(self) -> list[_Asked]:
        """All that are in line, who leave it."""
        waiting = [asked for line in self._waiting.values() for asked in line]
        self._waiting.clear()
        return waiting

    def _tidied(self, caller: str) -> None:
        if not self._waiting[caller]:
            del self._waiting[caller]
