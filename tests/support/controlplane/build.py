"""Build the control plane's programs into the cache, once: `make control-plane`.

Exit status: 0 all are there, 1 a build failed or took too long (what was built before stays), 2 Go is missing.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from support.controlplane.binaries import MODULES, PROGRAMS, Program, cache_folder

#: Seconds between two looks at a compiler at work.
LOOK_S = 0.5
#: Lines of the compiler's words worth repeating.
TAIL = 20


class Failed(Exception):
    """A program could not be built; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing; a line per program."""
    options = _options(arguments)
    folder = cache_folder()
    missing = [program for program in PROGRAMS if not (folder / program.name).exists()]
    if not missing:
        print(f"control plane: all {len(PROGRAMS)} programs are in {folder}")
        return 0
    if shutil.which("go") is None:
        print("The control plane is built with Go 1.26 or newer, and there is no `go` on the PATH.", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.total
    try:
        with _alone(folder):
            for at, program in enumerate(PROGRAMS, 1):
                _provide(program, folder, f"[{at}/{len(PROGRAMS)}]", options, end)
    except Failed as failed:
        print(f"control plane: {failed}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make control-plane", description=__doc__)
    parser.add_argument("--limit", type=float, default=45.0, help="minutes one program may take (default 45)")
    parser.add_argument("--total", type=float, default=120.0, help="minutes all may take together (default 120)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once (default: all cores)")
    return parser.parse_args(arguments)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two builds of the same programs wait for each other."""
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _provide(program: Program, folder: Path, count: str, options: argparse.Namespace, end: float) -> None:
    """Have one program in `folder`: written under another name, and renamed when it is whole."""
    title, target = f"{count} {program.name} {program.version}", folder / program.name
    if target.exists():
        print(f"{title}: already there", flush=True)
        return
    limit_s = min(60 * options.limit, end - time.monotonic())
    started = time.monotonic()
    print(f"{title}: building", flush=True)
    unfinished = folder / f".{program.name}.{os.getpid()}"
    try:
        _compile(program, unfinished, options.jobs, limit_s)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    megabytes = target.stat().st_size / 1e6
    print(f"{title}: built in {time.monotonic() - started:.0f} s, {megabytes:.0f} MB", flush=True)


def _compile(program: Program, output: Path, jobs: int, limit_s: float) -> None:
    """Run the compiler in a process group of its own, politely; raises Failed after `limit_s` seconds."""
    command = ["go", "build", "-trimpath", f"-p={jobs}", "-ldflags", program.linker_flags]
    command += ["-o", str(output), program.package]
    plain = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    with TemporaryFile("w+", encoding="utf-8") as said:
        go = subprocess.Popen(
            ["nice", "-n", "19", *command],
            cwd=MODULES / program.module,
            env=os.environ | plain,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = _wait(go, limit_s)
        finally:
            _end(go)
        said.seek(0)
        tail = "".join(said.readlines()[-TAIL:])
    if status is None:
        raise Failed(
            f"{program.name} was not built within {limit_s / 60:.2g} minutes; "
            "what is compiled is kept, so a second run of `make control-plane` goes on from here"
        )
    if status:
        raise Failed(f"{program.name} could not be built:\n{tail}")


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit status, or None when time is up."""
    end = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_S)
    return process.poll()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the compiler and all it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
