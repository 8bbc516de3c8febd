"""A realistic stream: a real tree, real nodes, real arrivals and real prompt lengths; every decision timed.

Lingjun's tree of 847 hosts carries GPU nodes of openb with openb's pods on them; gangs arrive as in Philly, split
into prefill and decode engines, with the KV bytes of a Mooncake prompt, stay for a drawn time and leave, until the
cluster is 90 % full and from there on at that level. Needs HUDDLE_DATASETS.
"""

import argparse
import csv
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from adapters.manifests.models import DEFAULT_MODEL, kv_bytes_per_token, named_model
from benchmarks import measure
from benchmarks.cases import BLOCK, GIB, RACK, ZONE, as_bound, fresh
from benchmarks.output import machine, percentile, print_table, say, time_text, write_csv
from solver.domain.constraints import NodeConstraints
from solver.domain.gang import Flow, Gang, Group, Kind, Role
from solver.domain.levels import Level, TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, MEMORY, MILLI_GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot
from solver.verify.checker import verify

PRODUCT = "nvidia.com/gpu.product"
TOPOLOGY = TopologySpec("lingjun", (Level("zone", ZONE), Level("block", BLOCK), Level("rack", RACK)))
#: Share of the GPUs that openb's pods hold all the time, and the share at which the cluster counts as full.
BACKGROUND, FULL = 0.55, 0.9
#: Mean time a gang stays, in seconds of the trace, chosen so that the cluster fills up within some 300 gangs.
MEAN_STAY_S = 1.5e6
#: Share of gangs that accept one GPU model only, as in openb's gpuspec33.
PINNED = 0.33
CPU_PER_GPU, MEMORY_PER_GPU = 4_000, 24 * GIB
MOST_ENGINES = 12
SEED = 847

Row = dict[str, Any]


@dataclass(frozen=True)
class Arrival:
    """One gang to place. stay_s: how long it stays once placed."""

    at_s: float
    stay_s: float
    gang: Gang


@dataclass
class Cluster:
    """The state the stream runs on: a snapshot, and who leaves when (a heap of end, order and pods)."""

    snapshot: Snapshot
    leaving: list[tuple[float, int, list[BoundPod]]] = field(default_factory=list)

    def used(self) -> float:
        """Share of all GPUs that are held."""
        column = self.snapshot.resources.index(GPU)
        return 1 - float(self.snapshot.free[:, column].sum() / self.snapshot.allocatable[:, column].sum())

    def leave_until(self, now_s: float) -> None:
        """Release every gang whose time is over."""
        while self.leaving and self.leaving[0][0] <= now_s:
            self.snapshot = self.snapshot.with_changes((), heapq.heappop(self.leaving)[2])

    def leave_while_full(self) -> None:
        """Release the gangs next to leave until the cluster is not full."""
        while self.leaving and self.used() >= FULL:
            self.snapshot = self.snapshot.with_changes((), heapq.heappop(self.leaving)[2])

    def take(self, pods: list[BoundPod], end_s: float, order: int) -> None:
        """Hold a placed gang's pods until `end_s`."""
        self.snapshot = self.snapshot.with_pods(pods)
        heapq.heappush(self.leaving, (end_s, order, pods))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stream and print what its decisions took, proved, and gained over the simple placers."""
    parser = argparse.ArgumentParser(description="A realistic stream of gangs.")
    parser.add_argument("--decisions", type=int, default=400)
    parser.add_argument("--every", type=int, default=10, help="the simple placers run on every so many decisions")
    parser.add_argument("--limit", type=float, default=5.0, help="time limit of one decision in seconds")
    chosen = parser.parse_args(arguments)
    folder = os.environ.get("HUDDLE_DATASETS")
    if not folder:
        print("\nstream: skipped, HUDDLE_DATASETS does not name the folder of the public data sets")
        return
    rows, simple = run(Path(folder), chosen.decisions, chosen.every, chosen.limit)
    write_csv("stream.csv", rows)
    write_csv("stream-yardsticks.csv", simple)
    _print(rows)
    _print_yardsticks(simple)


def run(folder: Path, decisions: int, every: int, limit_s: float) -> tuple[list[Row], list[Row]]:
    """One row for each decision, and one for each yardstick on the sampled ones."""
    measure.warm_up()
    chance = np.random.default_rng(SEED)
    cluster = Cluster(site(folder, chance))
    tables = {"cold": None, **({"warm": measure.warm_tables()} if measure.warm_tables() is not None else {})}
    rows: list[Row] = []
    simple: list[Row] = []
    for number, arrival in enumerate(arrivals(folder, cluster.snapshot, chance, decisions)):
        if number % 100 == 0:
            say(f"[stream, decision {number}, {cluster.used():.0%} full]")
        cluster.leave_until(arrival.at_s)
        cluster.leave_while_full()
        before = cluster.snapshot
        for kind, memory in tables.items():
            more = {"warm": memory} if kind == "warm" else {}
            answer, found = measure.timed_plan(before if more else fresh(before), arrival.gang, limit_s, **more)
            size = {"pods": len(answer.assignments), "used": cluster.used(), "tables": kind}
            rows.append({"decision": number, "gang": arrival.gang.name, **size, **found})
        if number % every == 0:
            simple += _simply(before, arrival.gang, number, rows[-1])
        if answer.status.placed:
            cluster.take(as_bound(arrival.gang, answer), arrival.at_s + arrival.stay_s, number)
    return rows, simple


def site(folder: Path, chance: np.random.Generator) -> Snapshot:
    """Lingjun's hosts as openb's GPU nodes, in the order of both files, with openb's pods on a part of the GPUs."""
    hosts = sorted(_read(folder / "lingjun-2023-topology" / "topo.csv"), key=lambda row: (row["PSW"], row["ASW"]))
    kinds = [row for row in _read(folder / "openb-gpu-v2023" / "openb_node_list_all_node.csv") if int(row["gpu"])]
    chosen = np.sort(chance.choice(len(kinds), len(hosts), replace=False))
    nodes = [
        _node(f"h{number:04d}", host, kinds[kind])
        for number, (host, kind) in enumerate(zip(hosts, chosen.tolist(), strict=True))
    ]
    empty = build_snapshot(nodes, topologies=[TOPOLOGY])
    return empty.with_pods(list(_background(folder, empty, chance)))


def _node(name: str, host: Row, kind: Row) -> NodeRecord:
    amounts = {
        GPU: int(kind["gpu"]) * MILLI_GPU,
        CPU: int(kind["cpu_milli"]),
        MEMORY: int(kind["memory_mib"]) * 2**20,
        PODS: 110,
    }
    rack = f"{host['PSW']}-{host['ASW']}"
    labels = {ZONE: host["DSW"], BLOCK: host["PSW"], RACK: rack, PRODUCT: kind["model"]}
    return NodeRecord(name, Resources.of(amounts), labels)


def _background(folder: Path, empty: Snapshot, chance: np.random.Generator) -> Iterator[BoundPod]:
    """Openb's GPU pods in random order on random nodes that take them; a part of a GPU takes a whole one."""
    rows = [row for row in _read(folder / "openb-gpu-v2023" / "openb_pod_list_default.csv") if int(row["num_gpu"])]
    free, columns = empty.free.copy(), [empty.resources.index(name) for name in (GPU, CPU, MEMORY, PODS)]
    left = BACKGROUND * free[:, columns[0]].sum()
    for at in chance.permutation(len(rows)).tolist():
        row = rows[at]
        asked = [int(row["num_gpu"]) * MILLI_GPU, int(row["cpu_milli"]), int(row["memory_mib"]) * 2**20, 1]
        room = np.flatnonzero((free[:, columns] >= asked).all(axis=1))
        if left <= 0 or not len(room):
            return
        node = int(chance.choice(room))
        free[node, columns] -= asked
        left -= asked[0]
        requests = Resources.of(dict(zip((GPU, CPU, MEMORY), asked, strict=False)))
        yield BoundPod(f"openb/{row['name']}", empty.nodes[node], requests)


def arrivals(folder: Path, snapshot: Snapshot, chance: np.random.Generator, most: int) -> Iterator[Arrival]:
    """Philly's jobs of at least two GPUs as gangs, each with the prompt length of one Mooncake request."""
    jobs = _read(folder / "philly-gang-arrivals" / "philly_gang_arrivals.csv")
    times = sorted((float(job["arrival_s"]), int(job["num_gpus"])) for job in jobs if int(job["num_gpus"]) > 1)
    lines = (folder / "mooncake-fast25" / "conversation_trace.jsonl").read_text(encoding="utf-8").splitlines()
    tokens = [json.loads(line)["input_length"] for line in lines[: 4 * most]]
    models = snapshot.labels[PRODUCT]
    for number, (at_s, gpus) in enumerate(times[:most]):
        pinned = chance.random() < PINNED
        model = models.values[int(chance.choice(models.codes))] if pinned else ""
        gang = _gang(f"stream/g{number:04d}", gpus, _tp(gpus, chance), int(chance.choice(tokens)), model)
        yield Arrival(at_s, float(chance.exponential(MEAN_STAY_S)), gang)


def _tp(gpus: int, chance: np.random.Generator) -> int:
    """GPUs of one engine: a power of two that leaves two to twelve engines."""
    return int(chance.choice([tp for tp in (1, 2, 4, 8) if 2 <= gpus // tp <= MOST_ENGINES]))


def _gang(name: str, gpus: int, tp: int, tokens: int, model: str) -> Gang:
    """A P/D deployment: a third of the engines prefill."""
    engines = gpus // tp
    prefill = max(1, round(Fraction(engines, 3)))
    asked = Resources.of({GPU: tp * MILLI_GPU, CPU: tp * CPU_PER_GPU, MEMORY: tp * MEMORY_PER_GPU})
    where = NodeConstraints(selector=((PRODUCT, model),) if model else ())
    counts = {"prefill": (Kind.PREFILL, prefill), "decode": (Kind.DECODE, engines - prefill)}
    roles = tuple(
        Role(f"{role}", count, count, kind, asked, where, pods=tuple(f"{name}-{role}-{i}" for i in range(count)))
        for role, (kind, count) in counts.items()
    )
    kv_bytes = kv_bytes_per_token(named_model(DEFAULT_MODEL), tp) * tokens
    return Gang(name, Group("gang", roles), flows=(Flow(("prefill",), ("decode",), kv_bytes),))


def _simply(snapshot: Snapshot, gang: Gang, number: int, best: Row) -> list[Row]:
    """The simple placers on the same snapshot, checked; only where Huddle's answer is proven."""
    rows: list[Row] = []
    for name, placer in measure.YARDSTICKS.items() if best["status"] == "optimal" else ():
        answer = placer(snapshot, gang, TOPOLOGY)
        row: Row = {"decision": number, "yardstick": name, "admitted": answer is not None, "excess": None}
        if answer is not None:
            checked = verify(snapshot, gang, TOPOLOGY, answer)
            assert not checked.violations, f"{name}: {checked.violations[0]}"
            row["excess"] = float(checked.objective["transfer_us"]) / best["transfer_us"] - 1
        rows.append(row)
    return rows


def _print(rows: Sequence[Row]) -> None:
    lines = []
    for kind in dict.fromkeys(row["tables"] for row in rows):
        mine = [row for row in rows if row["tables"] == kind]
        count = len(mine)
        placed = sum(row["pods"] > 0 for row in mine)
        refused = sum(row["status"] == "infeasible" for row in mine)
        proven = sum(row["status"] in ("optimal", "infeasible") for row in mine)
        first = sum(measure.by_first_model(row) for row in mine)
        totals, inner = ([row[key] for row in mine] for key in ("total_ms", "without_certificate_ms"))
        times = [time_text(percentile(values, percent)) for values in (inner, totals) for percent in (50, 99)]
        shares = [f"{placed}", f"{refused}", f"{proven / count:.1%}", f"{first} of {placed}"]
        lines.append([kind, str(count), *times, *shares])
    times_of = ("p50", "p99", "p50 with certificate", "p99 with certificate")
    headers = ("tables", "decisions", *times_of, "placed", "proven impossible", "proven")
    headers += ("CP-SAT closes the gap on the plan's own domains",)
    fullest = max(row["used"] for row in rows)
    title = f"stream on the Lingjun tree, 847 hosts, up to {fullest:.0%} of the GPUs held ({machine()})"
    print_table(title, headers, lines)


def _print_yardsticks(simple: Sequence[Row]) -> None:
    lines = []
    for name in dict.fromkeys(row["yardstick"] for row in simple):
        mine = [row for row in simple if row["yardstick"] == name]
        above = [row["excess"] for row in mine if row["excess"] is not None]
        failed = len(mine) - len(above)
        mean = f"{sum(above) / len(above):.1%}" if above else "-"
        largest = f"{max(above):.1%}" if above else "-"
        lines.append([name, str(len(mine)), mean, largest, f"{failed} of {len(mine)}"])
    headers = ("placer", "decisions", "mean excess", "largest", "not admitted")
    print_table("stream: transfer time above the proven optimum, on the same snapshots", headers, lines)


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
