"""A controller's questions to `huddle serve`: what has changed since the last one travels along, nothing else does.

Before each question one pod goes and one comes. The same questions are answered by the engine in this process, with
warm tables on both sides.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from adapters.cli.live_solver import LiveSolver
from adapters.cli.remote_solver import RemoteSolver, named
from adapters.cli.solving import ServerAddress
from benchmarks.cases import CASES, Site, build_site, renamed
from benchmarks.output import percentile, print_table, say, time_text, write_csv
from benchmarks.service_process import served
from solver.domain.difference import difference
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot

Row = dict[str, Any]
CASE = "4p8d"
LIMIT_S = 20.0
NEVER = threading.Event()


def main(nodes: int, count: int) -> list[Row]:
    """Measure, print, write service_remote.csv, and give its rows; for the first one everything travels."""
    say(f"[remote, {nodes} nodes]")
    site, rows = build_site(Site(nodes, used=CASES[CASE].used)), []
    here = LiveSolver(LIMIT_S)
    with served() as address:
        there = RemoteSolver(ServerAddress(address), LIMIT_S, "bench")
        try:
            before = site
            for at in range(count + 1):
                later = _changed(before, at)
                gangs = [renamed(CASES[CASE].make(), f"bench/{CASE}-{at}")]
                row: Row = {"nodes": nodes, "step": at}
                row["difference_ms"], _ = _timed(lambda now=later, was=before: difference(was, now, named))
                row["remote_ms"], far = _timed(lambda now=later, asked=gangs: there.plan(now, asked, NEVER))
                row["local_ms"], near = _timed(lambda now=later, asked=gangs: here.plan(now, asked, NEVER))
                if far.gangs[0].assignments != near.gangs[0].assignments:
                    raise RuntimeError(f"question {at} has two answers")
                rows.append(row)
                before = later
        finally:
            there.close()
    write_csv("service_remote.csv", rows)
    _print(rows)
    return rows


def _changed(snapshot: Snapshot, at: int) -> Snapshot:
    """One pod goes, and another one of its size comes in its place."""
    pod = next(iter(snapshot.pods))
    new = BoundPod(f"bench/moved-{at}", pod.node, pod.requests, uid=f"moved-{at}")
    return snapshot.with_changes((new,), (pod,))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = call()
    return (time.perf_counter() - began) * 1000, found


def _print(rows: list[Row]) -> None:
    first, others = rows[0], rows[1:]
    keys = ("difference_ms", "remote_ms", "local_ms")
    cells = [time_text(percentile([row[key] for row in others], 50)) for key in keys]
    line = (f"{first['nodes']:,}", str(len(others)), *cells, time_text(first["remote_ms"]))
    headers = ("nodes", "n", "difference", "asked there", "solved here", "first, with everything")
    print_table("service: questions of a controller, one pod changed before each (medians)", headers, [line])
