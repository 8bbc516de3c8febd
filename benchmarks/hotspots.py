"""Where a warm call spends its time: functions by their own time, certificate included, under Python's profiler.

The profiler makes small functions look dearer than they are; the times beside it are without it.
"""

import argparse
import cProfile
import pstats
import statistics
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from benchmarks.cases import CASES, Site, as_bound, build_site, renamed
from benchmarks.measure import STAYING, Row, timed_plan, warm_tables, warm_up
from benchmarks.output import print_table
from solver.domain.pods import BoundPod

_ROOT = Path(__file__).resolve().parent.parent
_SHOWN = 12


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description="Where a warm call spends its time.")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--case", choices=sorted(CASES), default="4p8d")
    parser.add_argument("--calls", type=int, default=60, help="calls with and without the profiler each")
    parser.add_argument("--quick", action="store_true", help="128 nodes, two calls")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.nodes, chosen.calls = 128, 2
    warm_up()
    arrivals = Arrivals(chosen.nodes, chosen.case)
    for _ in range(STAYING + 1):
        arrivals.place()
    plain = [arrivals.place() for _ in range(chosen.calls)]
    profile = cProfile.Profile()
    for _ in range(chosen.calls):
        arrivals.place(profile)
    stages(plain, chosen.nodes, chosen.case)
    hotspots(profile, chosen.calls)


class Arrivals:
    """Gangs of one case that come to a site one after another; a few stay, then the oldest leaves."""

    def __init__(self, nodes: int, case: str) -> None:
        self.case = CASES[case]
        self.snapshot = build_site(Site(nodes, "loaded", 16, 1, self.case.used))
        self.tables = warm_tables()
        self.staying: deque[list[BoundPod]] = deque()
        self.count = 0

    def place(self, profile: cProfile.Profile | None = None) -> Row:
        """Plan the next one, under `profile` if there is one."""
        self.count += 1
        gang = renamed(self.case.make(), f"bench/{self.case.name}-{self.count}")
        with profile or nullcontext():
            answer, row = timed_plan(self.snapshot, gang, 20.0, warm=self.tables)
        if answer.status.placed:
            self.staying.append(as_bound(gang, answer))
            self.snapshot = self.snapshot.with_pods(self.staying[-1])
        if len(self.staying) > STAYING:
            self.snapshot = self.snapshot.with_changes((), self.staying.popleft())
        return row


def stages(rows: Sequence[Row], nodes: int, case: str) -> None:
    """Median milliseconds of each stage, without the profiler."""
    keys = ("compile_ms", "bound_ms", "search_ms", "verify_ms", "rest_ms", "total_ms")
    figures = [f"{statistics.median(row[key] for row in rows):.2f}" for key in keys]
    title = f"warm {case} on {nodes:,} nodes: p50 in ms over {len(rows)} calls"
    print_table(title, [key.removesuffix("_ms") for key in keys], [figures])


def hotspots(profile: cProfile.Profile, calls: int) -> None:
    """Functions by their own time."""
    found = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    ranked = sorted(found, key=lambda item: -item[1][2])[:_SHOWN]
    rows = [
        [_named(*where), f"{1000 * own / calls:.2f}", f"{1000 * whole / calls:.2f}", f"{count / calls:.0f}"]
        for where, (_, count, own, whole, _) in ranked
    ]
    print_table("under the profiler, for one call", ["function", "own ms", "with callees ms", "times"], rows)


def _named(file: str, line: int, name: str) -> str:
    path = Path(file)
    if path.is_relative_to(_ROOT) and ".venv" not in path.parts:
        return f"{path.relative_to(_ROOT)}:{line} {name}"
    return f"{path.stem} {name}" if path.suffix else name
