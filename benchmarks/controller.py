"""The controller on a real API server and scheduler with simulated nodes: throughput, and time to placement.

Gangs of 1P1D and 4P8D arrive at once, or one after another; measured from the last pod of a gang made until all its
pods are bound, as a watch shows it. It needs the programs of `make control-plane`; without them the part is left out.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from benchmarks.output import percentile, print_table, say, write_csv

TESTS = Path(__file__).resolve().parent.parent / "tests"

Row = dict[str, Any]

#: Nodes, gangs at once, gangs one after another.
SIZES = ((100, 20, 10), (500, 100, 10))
SHAPES = ((1, 1), (4, 8))
LIMIT_S = 300.0
HEADER = ("nodes", "hand", "gangs", "pods", "gangs/s", "pods/s", "alone p50", "alone worst", "crowd p50", "crowd worst")


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, write controller.csv, and give its rows."""
    parser = argparse.ArgumentParser(description="Gangs placed by huddle controller on a control plane of its own.")
    parser.add_argument("--quick", action="store_true", help="a tiny cluster, once: does it still run")
    chosen = parser.parse_args(arguments)
    sys.path[:0] = [path for path in (str(TESTS),) if path not in sys.path]
    from support.controlplane.binaries import Missing

    rows = []
    try:
        for nodes, crowd, alone in ((8, 2, 1),) if chosen.quick else SIZES:
            for hand in ("gate", "bind"):
                say(f"[controller, {nodes} nodes, hand {hand}]")
                rows.append(measured(nodes, hand, crowd, alone))
    except Missing as missing:
        print(f"\ncontroller: left out, {missing}")
        return []
    write_csv("controller.csv", rows)
    _print(rows)
    return rows


def measured(nodes: int, hand: str, crowd: int, alone: int) -> Row:
    """All figures of one size and hand."""
    with TemporaryDirectory() as name, _cluster(Path(name), nodes) as api:
        single_s = [_placed(api, hand, f"a{at}", 1)[1][0] for at in range(alone)]
        took_s, each_s, pods = _placed(api, hand, "c", crowd)
    return {
        "nodes": nodes,
        "hand": hand,
        "gangs": crowd,
        "pods": pods,
        "gangs_per_s": crowd / took_s,
        "pods_per_s": pods / took_s,
        "alone_s": single_s,
        "crowd_s": each_s,
    }


@contextmanager
def _cluster(folder: Path, nodes: int) -> Iterator[Any]:
    """Calls as admin to a new control plane on which a controller is at work."""
    from support.controlling import controlled
    from support.controlplane.definitions import install_definitions
    from support.controlplane.fleet import create_gpu_nodes
    from support.controlplane.plane import ControlPlane

    plane = ControlPlane(folder)
    try:
        api = plane.api()
        install_definitions(api)
        plane.start_kwok()
        plane.start_scheduler({"percentageOfNodesToScore": 100})
        create_gpu_nodes(api, nodes)
        api.create("/api/v1/namespaces", {"metadata": {"name": "bench"}})
        with controlled(plane.kubeconfig(), folder):
            yield api
    finally:
        plane.stop()


def _placed(api: Any, hand: str, prefix: str, count: int) -> tuple[float, list[float], int]:
    """Make gangs and wait until all are bound: seconds for all, seconds of each, and their pods."""
    from support.workloads import GANG_LABEL, Role, Workload

    made: dict[str, tuple[int, float]] = {}
    bound: dict[str, set[str]] = {}
    done: dict[str, float] = {}
    since = api.get("/api/v1/pods", limit="1")["metadata"]["resourceVersion"]
    over: list[bool] = []

    def watch(since: str) -> None:
        while not over:
            for event in api.watch("/api/v1/namespaces/bench/pods", since, 2):
                body = event["object"]
                since = body["metadata"]["resourceVersion"]
                gang = (body["metadata"].get("labels") or {}).get(GANG_LABEL)
                if event["type"] != "BOOKMARK" and gang and body["spec"].get("nodeName"):
                    bound.setdefault(gang, set()).add(body["metadata"]["name"])
                    if gang in made and len(bound[gang]) == made[gang][0]:
                        done.setdefault(gang, time.perf_counter())

    watcher = Thread(target=watch, args=(since,), daemon=True)
    watcher.start()
    began_s = time.perf_counter()
    for at in range(count):
        prefill, decode = SHAPES[at % len(SHAPES)]
        roles = Role("prefill", prefill, 2), Role("decode", decode, 1)
        workload = Workload("bench", f"{prefix}-{at}", roles, {"preferred": "rack"}, hand=hand)
        made[workload.name] = (prefill + decode, float("inf"))
        workload.create(api)
        made[workload.name] = (prefill + decode, time.perf_counter())
    while len(done) < count:
        if time.perf_counter() > began_s + LIMIT_S:
            raise TimeoutError(f"{count - len(done)} of {count} gangs were not bound within {LIMIT_S:g} s")
        time.sleep(0.005)
    over.append(True)
    watcher.join()
    each_s = [max(0.0, done[name] - made_s) for name, (_, made_s) in made.items()]
    return max(done.values()) - began_s, each_s, sum(pods for pods, _ in made.values())


def _print(rows: Sequence[Row]) -> None:
    def seconds(values: Sequence[float], share: float) -> str:
        return f"{percentile(values, share):.2f} s"

    print_table(
        "controller: gangs a second from the first made to the last bound, making them included; "
        "and from the last pod of a gang made until all are bound, alone and in the crowd",
        HEADER,
        [
            (
                str(row["nodes"]),
                row["hand"],
                str(row["gangs"]),
                str(row["pods"]),
                f"{row['gangs_per_s']:.1f}",
                f"{row['pods_per_s']:.0f}",
                seconds(row["alone_s"], 50),
                seconds(row["alone_s"], 100),
                seconds(row["crowd_s"], 50),
                seconds(row["crowd_s"], 100),
            )
            for row in rows
        ],
        texts=2,
    )
