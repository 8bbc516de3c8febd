"""Searches in a disposable process: whatever happens there, the caller hears `unknown` at worst."""

import array
import atexit
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from solver.domain.budget import Budget
from solver.search.child import ANSWER, READY, REQUEST

#: How to start a child: isolated from the working directory, so that nothing there is taken for a module.
COMMAND = (sys.executable, "-P", "-m", "solver.search.child")
#: How often a stop signal is looked for, in seconds.
STOP_PERIOD_S = 0.02
#: A child is killed so long after the deadline: seconds, and part of the time it had.
GRACE_S, GRACE_SHARE = 0.05, 0.05
#: After a fault so many searches run in a child, small ones too.
WARY_SEARCHES = 20
#: After so many children in a row that did not start, no more are started.
MAX_REFUSALS = 3
#: Longest time for a child to start, in seconds.
START_S = 10.0
#: A child that holds more memory than this after its search is not kept, in bytes.
KEEP_BYTES = 256 * 2**20
#: Statuses as CP-SAT numbers them: an unknown outcome, and those that come with a solution.
UNKNOWN, SOLVED = 0, (2, 4)


class Unavailable(Exception):
    """No child can be started here."""


class Stopped(Exception):
    """The caller said stop, or there was no time left to begin with."""


class Failed(Exception):
    """The child crashed, overran its deadline or answered garbage."""


@dataclass(frozen=True)
class Reply:
    """What a child answered. status: as CP-SAT numbers it; bound: of a minimised objective; values: by variable."""

    status: int = UNKNOWN
    bound: int = 0
    values: Sequence[int] = ()


@dataclass
class Child:
    """One process. Not for two threads at a time."""

    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(cls, command: Sequence[str], budget: Budget, ready: bytes = READY) -> "Child":
        """A child that is ready, as `ready` says. Raises Stopped, Failed, OSError."""
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        child = cls(process)
        try:
            for end in child.ends:
                os.set_blocking(end, False)
            if child.exchange(b"", len(ready), budget.within(START_S)) != ready:
                raise Failed
        except BaseException:
            child.kill()
            raise
        return child

    @property
    def ends(self) -> tuple[int, int]:
        """Our ends of its input and output."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin.fileno(), self.process.stdout.fileno()

    @property
    def held_bytes(self) -> int:
        """Resident memory; 0 where that cannot be told."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def solve(self, parameters: str, model: str, variables: int, budget: Budget) -> Reply:
        """The answer for a model with so many variables. Raises Stopped, Failed."""
        token = os.urandom(8)
        texts = parameters.encode(), model.encode()
        head = REQUEST.pack(token, budget.deadline, budget.memory_mib << 20, len(texts[0]), len(texts[1]))
        grace = GRACE_S + GRACE_SHARE * budget.left_s
        late = Budget(budget.deadline + grace, budget.stop)
        answer = self.exchange(b"".join((head, *texts)), ANSWER.size, late)
        answered, status, bound, count = ANSWER.unpack(answer)
        if answered != token or not 0 <= status <= 4 or count != (variables if status in SOLVED else 0):
            raise Failed
        values = array.array("q")
        values.frombytes(self.exchange(b"", count * values.itemsize, late))
        return Reply(status, bound, values)

    def exchange(self, request: bytes, size: int, budget: Budget) -> bytes:
        """Send `request`, then receive exactly `size` bytes. Raises Stopped, Failed."""
        to, source = self.ends
        unsent, received = memoryview(request), bytearray()
        poll = select.poll()
        poll.register(source, select.POLLIN)
        if unsent:
            poll.register(to, select.POLLOUT)
        while unsent or len(received) < size:
            for end, _ in poll.poll(_patience_ms(budget)):
                try:
                    if end == to:
                        unsent = unsent[os.write(to, unsent) :]
                        if not unsent:
                            poll.unregister(to)
                    else:
                        received += _some(source, size - len(received))
                except OSError as error:
                    raise Failed from error
        return bytes(received)

    def kill(self, patience_s: float = 0.01) -> None:
        """End it, whatever it does, and leave nothing of it behind; wait for that a little."""
        self.process.kill()
        self.forget()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:  # giving back much memory takes the system a while
            threading.Thread(target=self.process.wait, daemon=True).start()

    def forget(self) -> None:
        """Close our ends; it ends by itself then."""
        for end in (self.process.stdin, self.process.stdout):
            assert end is not None
            with suppress(OSError):
                end.close()


def _patience_ms(budget: Budget) -> float:
    """How long to wait for the other side before looking again. Raises Stopped, Failed when it is time to end."""
    if budget.stop is not None and budget.stop.is_set():
        raise Stopped
    left = budget.left_s
    if not left:
        raise Failed
    return 1000 * (left if budget.stop is None else min(left, STOP_PERIOD_S))


def _some(source: int, size: int) -> bytes:
    """At least one byte, `size` at most. Raises Failed at the end of the stream, and for more than was asked for."""
    if not size:
        raise Failed
    part = os.read(source, min(size, 1 << 20))
    if not part:
        raise Failed
    return part


@dataclass
class Children:
    """The children of this process: one is kept between searches, more only while several searches run at a time."""

    command: Sequence[str] = COMMAND
    idle: list[Child] = field(default_factory=list)
    wary: int = 0
    refusals: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def due(self) -> bool:
        """Whether a search of any size belongs in a child, because of a fault not long ago; counts down."""
        with self.lock:
            due = self.wary > 0
            self.wary -= due
            return due

    def note_fault(self) -> None:
        """A search did not behave: the next ones run in a child."""
        with self.lock:
            self.wary = WARY_SEARCHES

    def solve(self, parameters: str, model: str, variables: int, budget: Budget) -> Reply:
        """The answer of a child, `unknown` after any fault. Raises Unavailable where none can be started."""
        try:
            child = self._borrow(budget)
        except Stopped:
            return Reply()
        try:
            reply = child.solve(parameters, model, variables, budget)
        except BaseException as error:
            child.kill()
            if not isinstance(error, Stopped | Failed):
                raise
            if isinstance(error, Failed):
                self.note_fault()
            return Reply()
        self._give_back(child)
        return reply

    def close(self) -> None:
        """End the child that is kept; a later search starts another."""
        with self.lock:
            idle, self.idle = self.idle, []
        for child in idle:
            child.kill(patience_s=1.0)

    def after_fork(self) -> None:
        """In a forked process: leave the parent's children to the parent."""
        self.lock = threading.Lock()
        for child in self.idle:
            child.forget()
            child.process.returncode = 0  # not ours to wait for
        self.idle = []

    def _borrow(self, budget: Budget) -> Child:
        with self.lock:
            while self.idle:
                child = self.idle.pop()
                if child.process.poll() is None:
                    return child
                child.kill()
            if self.refusals >= MAX_REFUSALS:
                raise Unavailable
        try:
            child = Child.start(self.command, budget)
        except (OSError, Failed) as error:
            if not budget.left_s:
                raise Stopped from error
            with self.lock:
                self.refusals += 1
            raise Unavailable from error
        with self.lock:
            self.refusals = 0
        return child

    def _give_back(self, child: Child) -> None:
        with self.lock:
            if not self.idle and child.held_bytes <= KEEP_BYTES:
                self.idle.append(child)
                return
        child.kill()


CHILDREN = Children()
atexit.register(CHILDREN.close)
os.register_at_fork(after_in_child=CHILDREN.after_fork)
