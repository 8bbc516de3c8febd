"""The compiled arithmetic: kernel.c, loaded into this process once numpy has had enough to do.

`python -m solver.bound.kernel` (part of `make`'s set-up) or `build()` builds the library; plan() only loads it. A
Kernel that builds lets the compiler work beside the caller, who goes on with numpy meanwhile. Any failure leaves numpy
in charge; `status()` says which of the two is in use and why.
"""

import atexit
import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solver.bound.arithmetic import Arithmetic, Domains, Reference, Shape
from solver.bound.lanes import INFINITE
from solver.bound.library import PATIENCE, Build, Unavailable, install, library_path, load, start_build
from solver.bound.native import Native
from solver.bound.pool import Pool

SOURCE = Path(__file__).with_name("kernel.c")
#: Pairs of states numpy has to have added in this process before the library is loaded, and before it is built:
#: about what loading costs (half a millisecond), and 10 ms of work.
LOAD_PAIRS = 100_000
BUILD_PAIRS = 2_000_000
#: Seconds a leaving process waits for the compiler it started.
FAREWELL = 10.0
#: Whatever can go wrong around files, compilers and libraries means numpy.
FAULTS = (Unavailable, OSError, RuntimeError, ValueError, AttributeError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Status:
    """Which arithmetic is in use, and why."""

    compiled: bool
    reason: str

    def __str__(self) -> str:
        return f"{'compiled' if self.compiled else 'numpy'}: {self.reason}"


class Kernel:
    """One library on its way: not needed so far, being built, loaded, or given up for this process.

    builds: whether a library that is missing is built once there was work enough for it; else only loaded.
    """

    def __init__(self, builds: bool = True) -> None:
        self.wanted, self.builds = True, builds
        self.forget()

    def forget(self) -> None:
        """Be as in a new process; a compiler at work is left alone."""
        self._reason = "too little work so far to load the kernel"
        self._native: Native | None = None
        self._build: Build | None = None
        self._given_up = False
        self._pairs = 0
        self._due = LOAD_PAIRS
        self._turn = threading.Lock()

    @property
    def status(self) -> Status:
        """Which arithmetic is in use, and why."""
        if not self.wanted:
            return Status(False, "the kernel is switched off")
        return Status(self._native is not None, self._reason)

    def native(self, pairs: int) -> Native | None:
        """What to do the next work with, which has `pairs` pairs of states to add; None when numpy has to do it."""
        if not self.wanted or self._given_up:
            return None
        if self._native is None:
            self._pairs += pairs
            if self._pairs >= self._due:
                self.prepare(build=self.builds and self._pairs >= BUILD_PAIRS)
        return self._native

    def prepare(self, build: bool = True, patience: float = 0.0) -> None:
        """Load the library, or get it built, waiting up to `patience` seconds for the compiler; never raises."""
        with self._turn:
            try:
                self._advance(build, patience)
            except FAULTS as fault:
                self._given_up, self._reason = True, str(fault) or type(fault).__name__
                self._end_build()

    def leave(self) -> None:
        """Give a compiler still at work a moment to finish, for the next process."""
        if self._build is not None:
            self.prepare(patience=FAREWELL)
        self._end_build()

    def _advance(self, build: bool, patience: float) -> None:
        if self._native is not None or self._given_up:
            return
        if self._build is None:
            path = library_path(SOURCE)
            if self._load(path):
                return
            self._due = BUILD_PAIRS
            if not build:
                return
            self._reason = "the kernel is being compiled"
            self._build = start_build(SOURCE, path)
            atexit.register(self.leave)
        if self._build.done(patience):
            install(self._build)
            if not self._load(self._build.target):
                raise Unavailable(f"{self._build.target} changed while it was installed")
            self._end_build()

    def _load(self, path: Path) -> bool:
        library = load(path)
        if library is None:
            return False
        native = Native(library)
        if not _works(native):
            raise Unavailable("the compiled kernel computes wrongly")
        self._native, self._reason = native, str(path)
        return True

    def _end_build(self) -> None:
        if self._build is not None:
            self._build.abandon()
            self._build = None
            atexit.unregister(self.leave)


def _works(native: Native) -> bool:
    """Whether small tables come out as in numpy."""
    return _tried(native) == _tried(Reference())


def _tried(worker: Arithmetic) -> object:
    """Two tables joined, finished and traced."""
    pool = Pool(2)
    for table in ([[0, 5, INFINITE, -2], [3, -1, 0, 4]], [[1, INFINITE, -6, 5], [0, 0, 2, 7]]):
        pool.put(np.array(table, dtype=np.int64))
    worker.join(pool, (2, 2), [(0, 1), (1, 2)], lambda: None)
    own, weights = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int64), np.array([0, 9], dtype=np.int64)
    worker.finish(pool, 4, np.array([0, 2, 3], dtype=np.int64), Domains([2, 3], [own, own], [1, 0], weights))
    tables = [pool.get(number, 4).tolist() for number in range(2, 4)], [pool.get(at, 3).tolist() for at in (4, 5)]
    return tables, worker.trace(pool, (2, 2), [(2, 3), (3, 1)])


_KERNEL = Kernel(builds=False)  # plan() starts no compiler by itself
os.register_at_fork(after_in_child=_KERNEL.forget)


def arithmetic(pool: Pool, shape: Shape, pairs: int) -> Arithmetic:
    """What to work with on tables over the box `shape`, for so many pairs of states to add."""
    native = _KERNEL.native(pairs)
    return native if native is not None and native.takes(pool, shape) else Reference()


def use_kernel(wanted: bool) -> None:
    """Switch the compiled arithmetic off, or on again; for tests and measuring."""
    _KERNEL.wanted = wanted


def status() -> Status:
    """Which arithmetic is in use in this process, and why."""
    return _KERNEL.status


def build() -> Status:
    """Load the kernel, building it first where it is missing, and wait for that."""
    _KERNEL.prepare(patience=PATIENCE)
    return _KERNEL.status


if __name__ == "__main__":
    print(build())
