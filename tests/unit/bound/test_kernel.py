"""How the compiled arithmetic comes about, and that numpy does the work wherever it does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from solver.bound import kernel as module
from solver.bound import library
from solver.bound.kernel import BUILD_PAIRS, LOAD_PAIRS, Kernel
from solver.domain.snapshot import Ints
from tests.unit.bound.random_tables import joined, loaded_kernel

ROOT = Path(__file__).parents[3]
SMALL: Ints = np.zeros((1, 6), dtype=np.int64)
KNOWN = SMALL.tolist()
#: Does nothing, and says that it is done.
STUB = """
long huddle_scratch(void) {{ return 8; }}
long huddle_join(void) {{ return 0; }}
long huddle_finish(void) {{ return 0; }}
long huddle_trace(void) {{ return {found}; }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's folder of this test, not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "huddle"


@pytest.fixture(scope="module")
def compiler() -> None:
    """Only where there is a compiler that works; it is found out before a test has a folder of its own."""
    if loaded_kernel() is None:
        pytest.skip("no kernel can be compiled here")


def work(kernel: Kernel, pairs: int) -> list[list[int]] | None:
    """What a join of so many pairs gives; None = numpy has to do it."""
    native = kernel.native(pairs)
    return None if native is None else joined(native, SMALL, SMALL, (2, 3)).tolist()


def ready() -> Kernel:
    """A kernel that has had all the time it needs."""
    kernel = Kernel()
    kernel.prepare(patience=60)
    return kernel


def names(folder: Path) -> list[str]:
    """What lies in the cache, by kind."""
    return [path.suffix for path in folder.iterdir()]


def test_a_little_work_leaves_the_disk_alone(folder: Path) -> None:
    """Small gangs need no kernel."""
    kernel = Kernel()
    assert work(kernel, LOAD_PAIRS - 1) is None
    assert str(kernel.status) == "numpy: too little work so far to load the kernel"
    assert not folder.exists()


def test_some_work_loads_what_is_there_but_builds_nothing(folder: Path, compiler: None) -> None:
    """A library built before is loaded once it pays."""
    kernel = Kernel()
    assert work(kernel, LOAD_PAIRS) is None
    assert not folder.exists()
    assert ready().status.compiled
    kernel = Kernel()
    assert work(kernel, LOAD_PAIRS // 2) is None
    assert work(kernel, LOAD_PAIRS) == KNOWN
    assert kernel.status.compiled


def test_much_work_builds_it_beside_the_caller(folder: Path, compiler: None) -> None:
    """The first call never waits; a later one finds the library."""
    kernel = Kernel()
    work(kernel, BUILD_PAIRS)
    assert kernel.status.reason in ("the kernel is being compiled", str(next(folder.glob("*.so"), "")))
    kernel.prepare(patience=60)
    assert work(kernel, 1) == KNOWN
    assert names(folder) == [".so"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("compilers", "told"),
    [
        ((), "no C compiler () on the path"),
        (("no-such-compiler",), "no C compiler (no-such-compiler) on the path"),
        (("false",), "the C compiler failed with exit status 1"),
        (("true",), "the C compiler wrote nothing"),
    ],
)
def test_no_compiler_that_works(compilers: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy does the work, the status says why, and nothing is tried again."""
    monkeypatch.setattr(library, "COMPILERS", compilers)
    kernel = ready()
    assert kernel.status == module.Status(False, told)
    monkeypatch.undo()
    assert work(kernel, BUILD_PAIRS) is None
    assert kernel.status == module.Status(False, told)


def test_a_compiler_that_hangs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up and ended, and leaves nothing behind."""
    hanging = tmp_path / "hanging-compiler"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(library, "COMPILERS", (str(hanging),))
    monkeypatch.setattr(library, "PATIENCE", 0.0)
    kernel = Kernel()
    kernel.prepare()
    assert str(kernel.status) == "numpy: the compiler took more than 0 s"
    assert names(folder) == []


def test_leaving_ends_a_slow_compiler(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not stay for it."""
    slow = tmp_path / "slow-compiler"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(library, "COMPILERS", (str(slow),))
    monkeypatch.setattr(module, "FAREWELL", 0.0)
    kernel = Kernel()
    kernel.prepare()
    assert str(kernel.status) == "numpy: the kernel is being compiled"
    kernel.leave()
    assert names(folder) == []


@pytest.mark.parametrize("place", ["a file in the way", "read-only", "no home"])
def test_no_place_for_it(place: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be written means numpy."""
    if place == "a file in the way":
        folder.write_text("")
    elif place == "read-only":
        monkeypatch.setattr(library.tempfile, "mkstemp", _read_only)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    kernel = ready()
    assert not kernel.status.compiled
    assert work(kernel, BUILD_PAIRS) is None
    assert not (tmp_path / "nowhere").exists()


def _read_only(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


def test_the_home_cache_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~/.cache/huddle, also when XDG_CACHE_HOME is relative, which counts as unset."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert library.cache_folder() == tmp_path / ".cache" / "huddle"


@pytest.mark.parametrize("damage", ["empty", "short", "one byte", "another file"])
def test_a_damaged_library_is_built_anew(damage: str, folder: Path, compiler: None) -> None:
    """It is never loaded, as that could end the process."""
    path = Path(ready().status.reason)
    whole = path.read_bytes()
    path.unlink()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "empty": b"",
            "short": whole[:middle],
            "one byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "another file": b"no library at all",
        }[damage]
    )
    assert library.load(path) is None
    kernel = ready()
    assert work(kernel, 1) == KNOWN
    assert library.load(path) is not None
    assert names(folder) == [".so"]


def test_a_folder_others_can_write_to_is_not_trusted(folder: Path, compiler: None) -> None:
    """Neither to load from nor to build in."""
    assert ready().status.compiled
    folder.chmod(0o777)
    assert str(ready().status) == f"numpy: others can write to {folder}"
    for path in folder.iterdir():
        path.unlink()
    assert str(ready().status) == f"numpy: others can write to {folder}"
    assert names(folder) == []


@pytest.mark.usefixtures("folder", "compiler")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (STUB.format(found=0), "the compiled kernel computes wrongly"),
        (STUB.format(found=3), "the compiled kernel computes wrongly"),
        ("int other;", "huddle_scratch"),
        ("no C at all", "the C compiler failed"),
    ],
)
def test_a_kernel_that_does_not_do_its_work(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried on a known case before it is used."""
    source = tmp_path / "other.c"
    source.write_text(text)
    monkeypatch.setattr(module, "SOURCE", source)
    kernel = ready()
    assert not kernel.status.compiled
    assert told in kernel.status.reason


def test_litter_of_killed_processes_goes(folder: Path, compiler: None) -> None:
    """Old unfinished libraries are removed, a fresh one may be somebody's work."""
    folder.mkdir(mode=0o700)
    old, fresh = folder / "kernel-1.unfinished", folder / "kernel-2.unfinished"
    for path in (old, fresh):
        path.write_text("")
    os.utime(old, (time.time() - 2 * library.STALE,) * 2)
    assert ready().status.compiled
    assert (old.exists(), fresh.exists()) == (False, True)


def start(code: str, folder: Path) -> "subprocess.Popen[str]":
    """A fresh interpreter with that cache."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder.parent)}
    return subprocess.Popen([sys.executable, *code.split(" ", 1)], cwd=ROOT, env=environment, stdout=-1, text=True)


def test_several_processes_build_at_once(folder: Path, compiler: None) -> None:
    """Each ends with a whole library, and one remains."""
    started = [start("-m solver.bound.kernel", folder) for _ in range(4)]
    told = [process.communicate(timeout=120)[0] for process in started]
    (path,) = folder.iterdir()
    assert told == [f"compiled: {path}\n"] * 4
    assert library.load(path) is not None


def test_a_process_that_leaves_early_leaves_the_library(folder: Path, compiler: None) -> None:
    """The next one finds it, although the first ended before the compiler did."""
    code = "kernel.FAREWELL = 100.0; kernel._KERNEL.prepare(); print(kernel.status())"  # some machines compile slowly
    process = start(f"-c from solver.bound import kernel; {code}", folder)
    assert process.communicate(timeout=120)[0] == "numpy: the kernel is being compiled\n"
    assert names(folder) == [".so"]
    assert ready().status.compiled


def test_a_forked_process_leaves_its_parents_compiler_alone(folder: Path, compiler: None) -> None:
    """It starts over, and the parent gets its library."""
    code = (
        "import os; from solver.bound import kernel; kernel._KERNEL.prepare(); child = os.fork(); "
        "child and os.waitpid(child, 0); print(kernel.build() if child else kernel.status(), flush=True)"
    )
    told = start(f"-c {code}", folder).communicate(timeout=120)[0].splitlines()
    assert told == [
        "numpy: too little work so far to load the kernel",
        f"compiled: {next(folder.iterdir())}",
    ]
    assert names(folder) == [".so"]
