"""A C library built by the system's compiler into the user's cache folder: where it lies, how it gets there."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=c11", "-fwrapv", "-fPIC", "-shared")
#: Seconds a compiler may take; it works beside the caller and usually needs one.
PATIENCE = 60.0
#: Age in seconds from which an unfinished library is litter of a process that was killed.
STALE = 3600.0
DIGEST = sha256().digest_size


class Unavailable(Exception):
    """Why there is no library."""


@dataclass(frozen=True)
class Build:
    """A compiler at work on a library that has not got its name yet."""

    process: "subprocess.Popen[bytes]"
    unfinished: Path
    target: Path
    started: float

    def done(self, patience: float) -> bool:
        """Whether the compiler is through, after waiting up to `patience` seconds for it; raises if it is too slow."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        if self.process.returncode is not None:
            return True
        if time.monotonic() - self.started > PATIENCE:
            raise Unavailable(f"the compiler took more than {PATIENCE:.0f} s")
        return False

    def abandon(self) -> None:
        """End the compiler if it still runs, and remove what it wrote."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.unfinished.unlink(missing_ok=True)


def library_path(source: Path) -> Path:
    """Where the library of `source` lies: named for the text, the flags, the machine and the Python it serves."""
    system = f"{os.uname().machine} {EXTENSION_SUFFIXES[0]} {' '.join(FLAGS)}"
    name = sha256(system.encode() + source.read_bytes()).hexdigest()[:20]
    return cache_folder() / f"{source.stem}-{name}.so"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/huddle or ~/.cache/huddle."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "huddle"
    home = Path.home()
    if not home.is_dir():
        raise Unavailable(f"the home folder {home} does not exist")
    return home / ".cache" / "huddle"


def load(path: Path) -> ctypes.CDLL | None:
    """The library at `path`; None when there is none, or not a whole one. Raises OSError, Unavailable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        return None
    for place in (path, path.parent):
        _trust(place)
    return ctypes.CDLL(str(path))


def _trust(place: Path) -> None:
    """Code is taken only from where nobody else can write."""
    found = place.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
        raise Unavailable(f"others can write to {place}")


def start_build(source: Path, target: Path) -> Build:
    """Start a compiler on `source`, for the library at `target`. Raises OSError, Unavailable."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise Unavailable(f"no C compiler ({', '.join(COMPILERS)}) on the path")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _trust(target.parent)
    _sweep(target.parent)
    handle, unfinished = tempfile.mkstemp(suffix=".unfinished", prefix=f"{target.stem}-", dir=target.parent)
    os.close(handle)
    quiet = subprocess.DEVNULL
    command = [compiler, *FLAGS, "-o", unfinished, str(source)]
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        os.unlink(unfinished)
        raise
    return Build(process, Path(unfinished), target, time.monotonic())


def _sweep(folder: Path) -> None:
    for left in folder.glob("*.unfinished"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def install(build: Build) -> None:
    """Give a finished library its digest, then its name, so that others see it whole. Raises OSError, Unavailable."""
    if build.process.returncode:
        raise Unavailable(f"the C compiler failed with exit status {build.process.returncode}")
    content = build.unfinished.read_bytes()
    if not content:
        raise Unavailable("the C compiler wrote nothing")
    with build.unfinished.open("ab") as file:
        file.write(sha256(content).digest())
        file.flush()
        os.fsync(file.fileno())
    build.unfinished.chmod(0o700)
    build.unfinished.replace(build.target)
