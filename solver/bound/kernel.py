"""The compiled convolution: kernel.c, built when first needed and loaded into this process.

The compiler works beside the caller, who goes on with numpy meanwhile, so that it costs no time budget. Any failure
leaves numpy in charge; `status()` says which of the two is in use and why. `python -m solver.bound.kernel` builds the
library ahead.
"""

import atexit
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solver.bound.lanes import INFINITE
from solver.bound.library import PATIENCE, Build, Unavailable, install, library_path, load, start_build
from solver.domain.snapshot import Ints

SOURCE = Path(__file__).with_name("kernel.c")
#: Pairs of states between two looks at the caller's budget: 10 to 50 ms.
CHUNK = 30_000_000
#: Seconds a leaving process waits for the compiler it started.
FAREWELL = 10.0
#: Whatever can go wrong around files, compilers and libraries means numpy.
FAULTS = (Unavailable, OSError, RuntimeError, ValueError, AttributeError, subprocess.SubprocessError)
UNLIMITED = (1 << 63) - 1
DONE = -1

Call = Callable[..., int]


@dataclass(frozen=True)
class Status:
    """Which convolution is in use, and why."""

    compiled: bool
    reason: str

    def __str__(self) -> str:
        return f"{'compiled' if self.compiled else 'numpy'}: {self.reason}"


class Kernel:
    """One library on its way: not needed so far, being built, loaded, or given up for this process."""

    def __init__(self) -> None:
        self.status = Status(False, "no convolution was large enough so far")
        self._call: Call | None = None
        self._build: Build | None = None
        self._given_up = False
        self._turn = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether a convolution costs no more than the call."""
        return self._call is not None

    def prepare(self, patience: float = 0.0) -> Status:
        """Load the library or get it built, waiting up to `patience` seconds for the compiler; never raises."""
        if self._call is None and not self._given_up:
            with self._turn:
                try:
                    self._advance(patience)
                except FAULTS as fault:
                    self._give_up(str(fault) or type(fault).__name__)
        return self.status

    def convolve(
        self, left: Ints, right: Ints, shape: tuple[int, ...], check: Callable[[], None] | None = None
    ) -> Ints | None:
        """As in `solver.bound.convolve`; None when numpy has to do it."""
        call = self._call
        return None if call is None else _run(call, left, right, shape, check)

    def leave(self) -> None:
        """Give a compiler still at work a moment to finish, for the next process."""
        if self._build is not None:
            self.prepare(FAREWELL)
        if self._build is not None:
            self._give_up("the process ended before the compiler did")

    def _advance(self, patience: float) -> None:
        if self._call is not None or self._given_up:
            return
        path = library_path(SOURCE) if self._build is None else self._path
        if self._build is None:
            if self._load(path):
                return
            self._path = path
            self._build = start_build(SOURCE, path)
            self.status = Status(False, "the kernel is being compiled")
            atexit.register(self.leave)
        if self._build.done(patience):
            install(self._build, path)
            if not self._load(path):
                raise Unavailable(f"{path} changed while it was installed")
            self._end_build()

    def _load(self, path: Path) -> bool:
        library = load(path)
        if library is None:
            return False
        call = _entry(library)
        _try_out(call)
        self._call, self.status = call, Status(True, str(path))
        return True

    def _give_up(self, reason: str) -> None:
        self._given_up, self.status = True, Status(False, reason)
        self._end_build()

    def _end_build(self) -> None:
        if self._build is not None:
            self._build.abandon()
            self._build = None
            atexit.unregister(self.leave)


def _entry(library: ctypes.CDLL) -> Call:
    entry = library.huddle_convolve
    entry.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
    entry.restype = ctypes.c_int64
    call: Call = entry
    return call


def _try_out(call: Call) -> None:
    """One small convolution whose result is known."""
    left = np.array([[0, 5, INFINITE, -2], [3, -1, 0, 4]], dtype=np.int64)
    right = np.array([[1, INFINITE, -4, 5], [0, 0, 2, 7]], dtype=np.int64)
    known = [[1, 6, -4, -1], [3, -1, 5, 4]]
    found = _run(call, left, right, (2, 2), None)
    if found is None or found.tolist() != known:
        raise Unavailable("the compiled kernel computes wrongly")


def _run(
    call: Call, left: Ints, right: Ints, shape: tuple[int, ...], check: Callable[[], None] | None
) -> Ints | None:
    left, right = np.ascontiguousarray(left, dtype=np.int64), np.ascontiguousarray(right, dtype=np.int64)
    best = np.empty_like(left)
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    tables = left.ctypes.data, right.ctypes.data, best.ctypes.data
    work = UNLIMITED if check is None else CHUNK
    at = 0
    while at >= 0:
        at = call(left.shape[0], len(shape), sizes, *tables, at, work)
        if check is not None:
            check()
    return best if at == DONE else None


_KERNEL = Kernel()
_SWITCH = {"wanted": True}


def _start_over() -> None:
    """A forked process has no hand on its parent's compiler."""
    global _KERNEL
    if not _KERNEL.loaded:
        _KERNEL = Kernel()


os.register_at_fork(after_in_child=_start_over)
