"""What the convolution costs in numpy, in C and in numba (where that is installed): speed, and the way to get started.

`python -m benchmarks.kernels` prints two tables. Every result is compared with numpy's first.
"""

import importlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from solver.bound.convolve import by_numpy, pair_count
from solver.bound.kernel import Kernel
from solver.bound.lanes import INFINITE
from solver.bound.pool import Pool
from solver.domain.snapshot import Ints

ROOT = Path(__file__).parents[1]
SHAPES = ((5, 9, 2), (17, 17), (9, 25, 3), (33, 65), (65, 129), (39, 39, 39), (245, 245))
Convolution = Callable[[Ints, Ints, tuple[int, ...]], Ints | None]

STEPS = {
    "C, in a cache that is empty: compile, load": "from solver.bound import kernel; assert kernel.build().compiled",
    "C, from the cache": "from solver.bound import kernel; assert kernel.build().compiled",
    "numba, import alone": "import numba",
    "numba, cache empty: import, compile": "from benchmarks import kernels_numba as k; {calls}",
    "numba, from the cache": "from benchmarks import kernels_numba as k; {calls}",
}
CALLS = "[k.convolve(t, t, (3, 3)) for t in (np.zeros((1, 9), np.int64), np.zeros((2, 9), np.int64))]"


def table(lanes: int, states: int, finite: float, seed: int = 7) -> Ints:
    """A random table with that share of finite states, many ties in the first lane."""
    random = np.random.default_rng(seed)
    found = random.integers(-1_000_000, 1_000_000, (lanes, states))
    found[0] //= 50_000
    beyond = random.random(states) >= finite
    found[:, beyond] = 0
    found[0, beyond] = INFINITE
    return found


def milliseconds(work: Callable[[], object]) -> float:
    """The best of several runs, as many as fit half a second."""
    best, end, runs = np.inf, time.perf_counter() + 0.5, 0
    while runs < 2 or (time.perf_counter() < end and runs < 1000):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best * 1000


def by_kernel(kernel: Kernel, left: Ints, right: Ints, shape: tuple[int, ...]) -> Ints:
    """One join, with the way into a pool and out of it."""
    native, pool = kernel.native(0), Pool(len(left))
    assert native is not None
    native.join(pool, shape, [(pool.put(left), pool.put(right))], lambda: None)
    return pool.get(2, left.shape[1])


def engines() -> dict[str, Convolution]:
    """numpy, and what else runs here."""
    found: dict[str, Convolution] = {"numpy": by_numpy}
    compiled = Kernel()
    compiled.prepare(patience=60)
    if compiled.status.compiled:
        found["C"] = partial(by_kernel, compiled)
    else:
        print(f"no C: {compiled.status.reason}")
    try:
        found["numba"] = importlib.import_module("benchmarks.kernels_numba").convolve
    except ImportError:
        print("no numba here")
    return found


def speeds(found: dict[str, Convolution]) -> Iterator[list[str]]:
    """Rows of the first table."""
    yield ["shape", "states", "pairs", "lanes", "finite", *(f"{name} ms" for name in found)]
    for shape in SHAPES:
        states, pairs = int(np.prod(shape)), pair_count(shape)
        for lanes in (1, 2):
            for finite in (1.0, 0.05):
                left, right = table(lanes, states, finite), table(lanes, states, 1.0, seed=8)
                known = by_numpy(left, right, shape)
                row = ["x".join(map(str, shape)), f"{states:,}", f"{pairs:,}", str(lanes), f"{finite:.0%}"]
                for name, convolve in found.items():
                    assert np.array_equal(known, convolve(left, right, shape)), name
                    row.append(f"{milliseconds(partial(convolve, left, right, shape)):.3f}")
                yield row


def starts(with_numba: bool) -> Iterator[list[str]]:
    """Rows of the second table: in a process that has numpy and the reference loaded already."""
    yield ["to get started", "ms"]
    with tempfile.TemporaryDirectory() as cache:
        for name, step in STEPS.items():
            if with_numba or "numba" not in name:
                yield [name, f"{start(step.format(calls=CALLS), cache, runs=1 if 'empty' in name else 7):.1f}"]


def start(step: str, cache: str, runs: int) -> float:
    """Milliseconds of `step` in a fresh interpreter, the best of `runs`."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "NUMBA_CACHE_DIR": cache}
    code = (
        "import time; import numpy as np; import solver.bound.convolve; start = time.perf_counter(); "
        f"{step}; print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code]
    found = (subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True) for _ in range(runs))
    return min(float(done.stdout) for done in found) * 1000


def show(rows: Iterator[list[str]]) -> None:
    """Print a Markdown table, row by row as they come."""
    for at, row in enumerate(rows):
        print(f"| {' | '.join(row)} |", flush=True)
        if not at:
            print("|" + " --- |" * len(row))


def main() -> None:
    """Both tables."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}\n")
    found = engines()
    show(speeds(found))
    print()
    show(starts("numba" in found))


if __name__ == "__main__":
    main()
