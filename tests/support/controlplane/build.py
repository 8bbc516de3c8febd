"""Build the control plane's programs into the cache, once: `make control-plane`.

Exit status: 0 all are there, 1 a build failed or took too long (what was built before stays), 2 Go is missing.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from support.controlplane.binaries import MODULES, PROGRAMS, PROTOS, Program, cache_folder, find, place

#: Seconds between two looks at a compiler at work.
LOOK_S = 0.5
#: Lines of the compiler's words worth repeating.
TAIL = 20
#: Seconds in which code is generated, which takes one.
LIMIT_GENERATE_S = 120.0


class Failed(Exception):
    """A program could not be built; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing; a line per program."""
    options = _options(arguments)
    folder = cache_folder()
    if all(place(program).exists() for program in PROGRAMS):
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
                _provide(program, f"[{at}/{len(PROGRAMS)}]", options, end)
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
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _provide(program: Program, count: str, options: argparse.Namespace, end: float) -> None:
    """Have one program in its place: written under another name, and renamed when it is whole."""
    title, target = f"{count} {program.name} {program.version}", place(program)
    if target.exists():
        print(f"{title}: already there", flush=True)
        return
    limit_s = min(60 * options.limit, end - time.monotonic())
    started = time.monotonic()
    print(f"{title}: building", flush=True)
    target.parent.mkdir(exist_ok=True)
    unfinished = target.parent / f".{program.name}.{os.getpid()}"
    try:
        with _sources(program) as folder:
            _compile(program, folder, unfinished, options.jobs, limit_s)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    megabytes = target.stat().st_size / 1e6
    print(f"{title}: built in {time.monotonic() - started:.0f} s, {megabytes:.0f} MB", flush=True)


@contextmanager
def _sources(program: Program) -> Iterator[Path]:
    """The folder to build in: that of the module, or a copy of it with the Go code of protos/ added by buf."""
    module = MODULES / program.module
    if not program.from_protos:
        yield module
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(module, folder, dirs_exist_ok=True)
        plugins = ("protoc-gen-go", "protoc-gen-go-grpc")
        made = [{"local": str(find(plugin)), "out": ".", "opt": "module=huddle.scheduler"} for plugin in plugins]
        template = json.dumps({"version": "v2", "plugins": made})
        _run(program, [str(find("buf")), "generate", str(PROTOS), "--template", template], folder, LIMIT_GENERATE_S)
        yield folder


def _compile(program: Program, folder: Path, output: Path, jobs: int, limit_s: float) -> None:
    """Run the compiler, politely; raises Failed after `limit_s` seconds."""
    command = ["nice", "-n", "19", "go", "build", "-trimpath", f"-p={jobs}", "-ldflags", program.linker_flags]
    _run(program, [*command, "-o", str(output), program.package], folder, limit_s)


def _run(program: Program, command: list[str], folder: Path, limit_s: float) -> None:
    """Run one step of a build in a process group of its own; raises Failed when it fails or takes too long."""
    plain = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    with TemporaryFile("w+", encoding="utf-8") as said:
        step = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | plain,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = _wait(step, limit_s)
        finally:
            _end(step)
        said.seek(0)
        tail = "".join(said.readlines()[-TAIL:])
    if status is None:
        raise Failed(
            f"{program.name} was not built within {_in_words(limit_s)}; "
            "what is compiled is kept, so a second run of `make control-plane` goes on from here"
        )
    if status:
        raise Failed(f"{program.name} could not be built:\n{tail}")


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit status, or None when time is up."""
    end = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_S)
    return process.poll()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step and all it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
