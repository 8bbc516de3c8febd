"""`make bench`: times, proofs, targets; growth, stream, engines, hotspots, limits, service, mirror and more.

Options: --sizes, --repeat, --budget, --limit, --only, --quick. Tables go to stdout and, with every single sample, to
build/bench/. Nothing here judges by exit code: a missed target is a line that says so.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import budgets, controller, engines, extender, growth, hotspots, mirror, service, stream
from benchmarks.cases import CASES
from benchmarks.measure import Job, by_first_model
from benchmarks.output import FOLDER, machine, percentile, print_table, say, time_text, write_csv
from solver.bound import kernel

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1_000, 10_000, 100_000)
#: Gangs with at most 300 states, those that keep tables warm, and those the simple placers are compared on.
SMALL = ("4p8d", "16p16d")
COMPARED = ("4p8d", "16p16d", "32p64d", "two-units")
#: Cases that merged tables bound; measured in a process of their own.
WIDE = ("128p384d-rack",)
#: Above so many nodes the simple placers take minutes.
MOST_NODES_COMPARED = 10_000
#: Budget of a joint batch by size, in seconds.
BATCH_S = {1_000: 1.8, 10_000: 9.0, 100_000: 30.0}
STAGES = ("compile_ms", "bound_ms", "search_ms", "verify_ms", "rest_ms")
NOT_BUILT = "not built yet"

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one size of site gave. memory_mb: peak of the process for all cases but WIDE, and for WIDE."""

    cold: list[Row]
    warm: list[Row]
    yardsticks: list[Row]
    batch: list[Row]
    memory_mb: tuple[float, float]
    has_warm: bool

    def values(self, cases: Sequence[str], key: str, warm: bool = False) -> list[float]:
        """One figure of all samples of some cases; a no counts only where a no is what the case is about."""
        rows = [row for row in (self.warm if warm else self.cold) if row["case"] in cases]
        return [row[key] for row in rows if row["status"] != "infeasible" or row["case"] == "infeasible"]


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its target. note: what it leaves out."""

    measured: str
    target: str
    met: bool | None
    note: str = ""

    @property
    def verdict(self) -> str:
        """In a word."""
        word = {True: "met", False: "MISSED", None: NOT_BUILT}[self.met]
        return f"{word} ({self.note})" if self.note else word


Target = Callable[[Measured, int], Figure]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen parts one after the other."""
    chosen = _parser().parse_args(arguments)
    if chosen.quick:
        chosen.sizes, chosen.repeat, chosen.budget, chosen.limit = [128], 1, 1.0, 5.0
    (FOLDER / "tables.md").unlink(missing_ok=True)
    convolution = "compiled" if kernel.build().compiled else "numpy"
    print(f"machine: {machine()}; convolution {convolution}; load before the start {os.getloadavg()[0]:.1f}")
    parts: dict[str, Callable[[], None]] = {
        "table": lambda: table(chosen.sizes, chosen.repeat, chosen.budget, chosen.limit),
        "growth": lambda: growth.main(["--quick"] if chosen.quick else []),
        "stream": lambda: stream.main(["--decisions", "5"] if chosen.quick else []),
        "engines": lambda: engines.main(["--quick"] if chosen.quick else []),
        "hotspots": lambda: hotspots.main(["--quick"] if chosen.quick else []),
        "budgets": lambda: budgets.main(["--quick"] if chosen.quick else []),
        "service": lambda: service.main(["--quick"] if chosen.quick else []),
        "mirror": lambda: mirror.main(["--quick"] if chosen.quick else []),
        "controller": lambda: controller.main(["--quick"] if chosen.quick else []),
        "extender": lambda: extender.main(["--quick"] if chosen.quick else []),
    }
    for name in chosen.only or parts:
        started = time.perf_counter()
        parts[name]()
        say(f"[{name}: {time.perf_counter() - started:.0f} s]")
    print(f"\nsamples and tables: {FOLDER.relative_to(ROOT)}/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure Huddle on synthetic and real sites.")
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help="nodes, as 1000,10000,100000")
    parser.add_argument("--repeat", type=int, default=24, help="most samples of a case and size")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of planning for a case and size")
    parser.add_argument("--limit", type=float, default=20.0, help="time limit of one call of plan(), in seconds")
    parts = ["table", "growth", "stream", "engines", "hotspots", "budgets", "service", "mirror", "controller"]
    parts += ["extender"]
    parser.add_argument("--only", nargs="+", choices=parts, help="parts to run")
    parser.add_argument("--quick", action="store_true", help="one sample on 128 nodes: does it still run")
    return parser


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def table(sizes: Sequence[int], repeat: int, budget_s: float, limit_s: float) -> None:
    """Measure every size and print all tables about it."""
    found = {size: measure(size, repeat, budget_s, limit_s) for size in sizes}
    times(found, warm=False)
    if any(each.has_warm for each in found.values()):
        times(found, warm=True)
    else:
        print(f"\nwarm tables: {NOT_BUILT}")
    targets(found)
    excess(found)
    write_csv("cold.csv", [row for each in found.values() for row in each.cold])
    write_csv("warm.csv", [row for each in found.values() for row in each.warm])
    write_csv("batch.csv", [row for each in found.values() for row in each.batch])
    write_csv("yardsticks.csv", [row for each in found.values() for row in each.yardsticks])


def measure(nodes: int, repeat: int, budget_s: float, limit_s: float) -> Measured:
    """All jobs of one size, each in its own process."""
    standing = tuple(name for name in CASES if name not in WIDE)
    cold, wide = (ask(Job("cold", nodes, names, repeat, budget_s, limit_s)) for names in (standing, WIDE))
    warm = ask(Job("warm", nodes, SMALL, 4 * repeat, budget_s, limit_s)) if cold["warm"] else {"rows": []}
    simple: dict[str, Any] = {"rows": []}
    if nodes <= MOST_NODES_COMPARED:
        simple = ask(Job("yardsticks", nodes, COMPARED, repeat, budget_s, limit_s))
    joint = ask(Job("batch", nodes, (), 1, budget_s, BATCH_S.get(nodes, 2.0)))
    memory = (cold["peak_mb"], wide["peak_mb"])
    rows = cold["rows"] + wide["rows"]
    return Measured(rows, warm["rows"], simple["rows"], joint["rows"], memory, cold["warm"])


def ask(job: Job) -> dict[str, Any]:
    """The answer of a measuring process."""
    say(f"[{job.part}, {job.nodes} nodes]")
    command = [sys.executable, "-m", "benchmarks.measure"]
    done = subprocess.run(
        command, input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def times(found: Mapping[int, Measured], warm: bool) -> None:
    """Where the time of a call went: medians by stage, the total with its tail, and how much was proven."""
    rows = []
    for size, each in found.items():
        samples = each.warm if warm else each.cold
        rows += [
            [name, f"{size:,}", *_times_of([row for row in samples if row["case"] == name])]
            for name in dict.fromkeys(row["case"] for row in samples)
        ]
    headers = ("case", "nodes", "n", "compile", "bound", "search", "verify", "rest", "total p50", "p99", "placed")
    headers += ("proven", "first model")
    title = "warm tables, gangs arriving and leaving" if warm else "cold: every call without anything remembered"
    words = (
        "search: CP-SAT, as a rule its certificate; rest: reasons; first model: gap closed on the plan's own domains"
    )
    print_table(f"{title} (medians; {words})", headers, rows)
    if warm:
        compared = [row["equal"] for each in found.values() for row in each.warm if row["equal"] is not None]
        print(f"warm and cold gave the same status and values in {sum(compared)} of {len(compared)} comparisons")


def _times_of(samples: Sequence[Row]) -> list[str]:
    totals = [row["total_ms"] for row in samples]
    medians = [time_text(percentile([row[stage] for row in samples], 50)) for stage in STAGES]
    tail = [time_text(percentile(totals, percent)) for percent in (50, 99)]
    placed = sum(row["status"] in ("optimal", "feasible") for row in samples)
    shares = [f"{sum(map(_proven, samples))} of {len(samples)}", f"{sum(map(by_first_model, samples))} of {placed}"]
    return [str(len(samples)), *medians, *tail, str(placed), *shares]


def _proven(row: Row) -> bool:
    return row["status"] in ("optimal", "infeasible")


def targets(found: Mapping[int, Measured]) -> None:
    """Every target with what was measured."""
    rows = []
    for name, figure in TARGETS.items():
        for size, each in found.items():
            if size in SIZES:
                one = figure(each, SIZES.index(size))
                rows.append([name, f"{size:,}", one.measured, one.target, one.verdict])
    if rows:
        title = "targets (times without the certificate, which has a line of its own)"
        print_table(title, ("target", "nodes", "measured", "wanted", "verdict"), rows)


def _times_target(cases: Sequence[str], *wanted: tuple[float, float | None], warm: bool = False) -> Target:
    """p50, and p99 where wanted, of everything but the certificate."""

    def figure(each: Measured, at: int) -> Figure:
        middle, tail = wanted[at]
        text = time_text(middle) + (f" / {time_text(tail)}" if tail else "")
        values = each.values(cases, "without_certificate_ms", warm)
        if not values:
            return Figure("-", text, None)
        p50, p99 = percentile(values, 50), percentile(values, 99)
        shown = time_text(p50) + (f" / {time_text(p99)}" if tail else "")
        shown = f"{shown} (n {len(values)})"
        return Figure(shown, text, p50 <= middle and (tail is None or p99 <= tail))

    return figure


def _certificate(each: Measured, at: int) -> Figure:
    certified = [row["search_ms"] for row in each.cold if row["proof"] == "tree+cpsat"]
    if not certified:
        return Figure("-", "15 ms", False, "no certificate")
    p50 = percentile(certified, 50)
    return Figure(time_text(p50), "15 ms", p50 <= 15)


def _infeasible(each: Measured, at: int) -> Figure:
    measured = _times_target(("infeasible",), (50, None), (200, None), (2000, None))(each, at)
    return Figure(measured.measured, measured.target, measured.met, "reasons only, relaxations are not built yet")


def _batch(each: Measured, at: int) -> Figure:
    text = ("2 s", "10 s", "budget, gap stated")[at]
    if not each.batch:
        return Figure("-", text, None)
    sequential, joint = each.batch[-2:]
    budget = BATCH_S[SIZES[at]]
    in_time = joint["total_ms"] <= 1000 * (2, 10, 1.1 * budget)[at]
    shown = f"{time_text(joint['total_ms'])}, {joint['placed']} placed (at most {joint['at_most']} can be)"
    than = "not worse" if joint["never_worse"] else "worse"
    note = f"budget {budget:g} s, {than} than one after another in the same budget: {sequential['placed']} placed"
    return Figure(shown, text, in_time and joint["never_worse"], note)


def _share(each: Measured, at: int) -> Figure:
    proven, wanted = sum(map(_proven, each.cold)), (1.0, 1.0, 0.99)[at]
    open_cases = sorted({row["case"] for row in each.cold if not _proven(row)})
    shown = f"{proven} of {len(each.cold)}"
    return Figure(shown, f"{wanted:.0%}", proven >= wanted * len(each.cold), "open: " + ", ".join(open_cases or "-"))


def _memory(process: int) -> Target:
    def figure(each: Measured, at: int) -> Figure:
        peak, wanted = each.memory_mb[process], (250, 350, 1200)[at]
        return Figure(f"{peak:.0f} MB", f"{wanted} MB", peak <= wanted)

    return figure


TARGETS: dict[str, Target] = {
    "S ≤ 300, warm, p50 / p99": _times_target(SMALL, (3, 15), (8, 40), (40, 150), warm=True),
    "S ≤ 300, cold, p50 / p99": _times_target(SMALL, (10, 40), (40, 120), (400, 1000)),
    "certificate, p50": _certificate,
    "32P+64D, cold, p50": _times_target(("32p64d",), (60, None), (150, None), (1000, None)),
    "512 alike pods, preferred rack, p50": _times_target(("512-rack",), (100, None), (300, None), (2000, None)),
    "512 pods in two roles, preferred rack, p50": _times_target(
        ("128p384d-rack",), (100, None), (300, None), (2000, None)
    ),
    "infeasible, p50": _infeasible,
    "joint batch of 50 gangs": _batch,
    "proven share of all cold calls": _share,
    "peak resident memory, all cases but the next": _memory(0),
    "peak resident memory, 512 pods in two roles": _memory(1),
}


def excess(found: Mapping[int, Measured]) -> None:
    """How much more transfer time the simple placers pay than the proven optimum, and what they fail to admit."""
    rows = []
    for size, each in found.items():
        optimum = {_key(row): row["transfer_us"] for row in each.cold if row["status"] == "optimal"}
        for case in COMPARED:
            samples = [row for row in each.yardsticks if row["case"] == case and _key(row) in optimum]
            for name in dict.fromkeys(row["yardstick"] for row in samples):
                mine = [row for row in samples if row["yardstick"] == name]
                rows.append([name, case, f"{size:,}", *_excess_of(mine, optimum)])
    if any(nodes > MOST_NODES_COMPARED for nodes in found):
        print(f"\nthe simple placers are not run on more than {MOST_NODES_COMPARED:,} nodes")
    headers = ("placer", "case", "nodes", "n", "mean excess", "largest", "not admitted", "took p50")
    print_table("transfer time above the proven optimum, where both place the gang", headers, rows, texts=2)


def _excess_of(samples: Sequence[Row], optimum: Mapping[Any, float]) -> list[str]:
    above = [row["transfer_us"] / optimum[_key(row)] - 1 for row in samples if row["admitted"]]
    failed = sum(not row["admitted"] for row in samples)
    mean = f"{sum(above) / len(above):.1%}" if above else "-"
    largest = f"{max(above):.1%}" if above else "-"
    took = time_text(percentile([row["spent_ms"] for row in samples], 50))
    return [str(len(samples)), mean, largest, f"{failed} of {len(samples)}", took]


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[part] for part in ("case", "nodes", "load", "rack", "seed"))


if __name__ == "__main__":
    main()
