"""The extender's filter at 5,000 nodes, names only, as wrk sees it; wrk comes as a package of most distributions.

Asked about a pod of no gang while some nodes are promised, about a member that waits, and about one with a seat.
"""

import argparse
import asyncio
import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adapters.apply.door import Term
from adapters.apply.metrics import Metrics
from adapters.apply.naming_node import Extended
from adapters.extender.server import Extender, ExtenderConfig
from benchmarks.output import print_table, say, write_csv

TESTS = Path(__file__).resolve().parent.parent / "tests"
GOAL_MS = 5.0
SCHEDULER = Extended(frozenset({"default-scheduler"}))
#: A scheduler has one call of filter on its way at a time.
CONNECTIONS = (1, 4)

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, write extender.csv, and give its rows."""
    parser = argparse.ArgumentParser(description="Calls of filter, by wrk.")
    parser.add_argument("--quick", action="store_true", help="64 nodes, a second each: does it still run")
    chosen = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("\nextender: left out, there is no program wrk")
        return []
    sys.path[:0] = [path for path in (str(TESTS),) if path not in sys.path]
    nodes, seconds = (64, 1) if chosen.quick else (5_000, 10)
    say(f"[extender, {nodes} nodes]")
    rows = _measured(nodes, seconds)
    write_csv("extender.csv", rows)
    cells = [_cells(row) for row in rows]
    header = ("filter of", "nodes", "at once", "p50", "p99", "a second", f"p99 ≤ {GOAL_MS:g} ms")
    print_table("extender: filter with names, by wrk on the same machine", header, cells)
    return rows


def _cells(row: Row) -> list[str]:
    verdict = "met" if row["p99"] <= GOAL_MS else "MISSED"
    times = (f"{row[key]:.2f} ms" for key in ("p50", "p99"))
    return [row["pod"], f"{row['nodes']:,}", str(row["connections"]), *times, f"{row['per_s']:,.0f}", verdict]


def _measured(nodes: int, seconds: int) -> list[Row]:
    """All figures."""
    from support.apply_world import NAMESPACE, Runner, Wish, World
    from support.controlplane.fleet import gpu_pod

    world = World()
    for at in range(nodes):
        world.add_node(f"node-{at:05}", 8, f"rack-{at // 16}")
    world.add_gang("planned", Wish({"worker": (8, 8)}, gpus=8, required="rack", extended=True))
    world.add_gang("waits", Wish({"worker": (32, 32)}, gpus=8, required="rack", extended=True))
    world.controllers()
    runner = Runner(world, extended=SCHEDULER)
    runner.turn()
    runner.mirror.catch_up()
    single = gpu_pod("single", 1)
    single["metadata"] |= {"namespace": NAMESPACE, "uid": "single"}
    pods = {"no gang": single}
    pods |= {f"a gang {name}": world.pods(gang)[0] for name, gang in (("let go", "planned"), ("that waits", "waits"))}
    names = [f"node-{at:05}" for at in range(nodes)]
    term = Term(runner.mirror, runner.reconciler, world)  # type: ignore[arg-type]
    try:
        return asyncio.run(_asked(term, pods, names, seconds))
    finally:
        runner.close()


async def _asked(term: Term, pods: dict[str, Any], names: Sequence[str], seconds: int) -> list[Row]:
    extender = Extender(ExtenderConfig(("127.0.0.1", 0)))
    rows = []
    async with extender.served(Metrics()) as port:
        opened = asyncio.create_task(extender.opened(term))
        for what, pod in pods.items():
            body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names})
            for connections in CONNECTIONS:
                found = await _wrk(port, body, connections, seconds)
                rows.append({"pod": what, "nodes": len(names), "connections": connections, **found})
        opened.cancel()
        await asyncio.gather(opened, return_exceptions=True)
    return rows


async def _wrk(port: int, body: str, connections: int, seconds: int) -> Row:
    """One run. Times in milliseconds."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        text = f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n"
        text += "done = function(summary, latency, requests)\n"
        text += "  io.write(string.format('found %d %d %d %d\\n', latency:percentile(50), latency:percentile(99),"
        text += " summary.requests, summary.errors.status))\nend\n"
        script.write_text(text, encoding="utf-8")
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            "wrk", f"-c{connections}", "-t1", f"-d{seconds}s", f"-s{script}", f"http://127.0.0.1:{port}/filter",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
    match = re.search(r"found (\d+) (\d+) (\d+) (\d+)", out.decode())
    if match is None or match[4] != "0":
        raise RuntimeError(f"wrk: {out.decode()}")
    p50, p99, requests = (int(part) for part in match.groups()[:3])
    return {"p50": p50 / 1000, "p99": p99 / 1000, "per_s": requests / (time.perf_counter() - began)}


if __name__ == "__main__":
    main()
