"""What a call may use: wall clock, memory, and a way to be told to stop."""

import time
from dataclasses import dataclass, replace
from typing import Protocol

from solver.domain.errors import TooLarge

#: Part of what is left that may be kept for what comes after.
_MOST_KEPT = 0.15
#: Bytes of a MiB.
_MIB = 1 << 20


class OutOfTime(Exception):
    """The budget ended, or the caller said stop, before the work was complete."""


class Stop(Protocol):
    """Set by the caller, from any thread, to end the work; a threading.Event is one."""

    def is_set(self) -> bool:
        """Whether the work is to end."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of a call.

    deadline: end of the work in seconds of `time.monotonic`. stop: ends it before. memory_mib: most memory that the
    call may take, in MiB; as much again for a search that runs in a process of its own.
    """

    deadline: float
    stop: Stop | None = None
    memory_mib: int = 1024

    @property
    def left_s(self) -> float:
        """Seconds left; 0 when over or told to stop."""
        if self.stop is not None and self.stop.is_set():
            return 0.0
        return max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raises OutOfTime when nothing is left."""
        if not self.left_s:
            raise OutOfTime

    def ending(self, seconds: float) -> "Budget":
        """The same, ending so many seconds sooner, but by a small part of what is left at most."""
        left = max(0.0, self.deadline - time.monotonic())
        return replace(self, deadline=self.deadline - min(seconds, _MOST_KEPT * left))

    def with_grace(self, seconds: float) -> "Budget":
        """For what has to be done after the end, as naming and checking a plan: some seconds more, stop or no stop."""
        return replace(self, deadline=self.deadline + seconds, stop=None)

    def allow(self, what: str, size: int) -> None:
        """Raises TooLarge when so many bytes are more than the memory of the call. what: what they are for."""
        if size > self.memory_mib * _MIB:
            raise TooLarge(f"{what}, in MiB of memory", -(-size // _MIB), self.memory_mib)

    def part(self, share: float) -> "Budget":
        """A share of what is left, 0 … 1."""
        return self.within(share * max(0.0, self.deadline - time.monotonic()))

    def within(self, seconds: float) -> "Budget":
        """The same, ending after so many seconds if that is sooner."""
        return replace(self, deadline=min(self.deadline, time.monotonic() + seconds))


#: For work that nobody waits for, and that is known to be small.
UNLIMITED = Budget(float("inf"))
