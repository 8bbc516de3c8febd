"""Questions to `huddle serve` on loopback: gangs that arrive and leave, answers on the way, and calls by ghz.

The service holds a loaded site. What is asked, what the answer says about its stages and what the clock says at the
client stand beside each other: the certificate is CP-SAT's part, the rest is everything that is neither stage nor
certificate, which is encoding, travelling, waiting and decoding on both sides.
"""

import json
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.json_format import MessageToDict

from benchmarks.cases import CASES, Site, as_bound, build_site, renamed
from benchmarks.measure import STAYING
from benchmarks.output import percentile, print_table, say, time_text, write_csv
from benchmarks.service_process import served
from solver.api.v1 import cluster_service_pb2, placement_service_pb2
from solver.domain.changes import PodBound, PodGone
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan
from solver.domain.pods import BoundPod
from solver.service.access import Access
from solver.service.client import Client, DeltaStream
from solver.service.codec.gang import encode_gang
from solver.service.held import Applied
from solver.service.requests import Improved
from tests.support.controlplane.binaries import Missing, find

PROTOS = Path(__file__).resolve().parent.parent / "protos"
CLUSTER, BASE = "bench", "1"
#: Gangs that are asked for, all with at most 300 states.
SMALL = ("4p8d", "16p16d")
#: Calls that ghz has under way at once, and how many it makes in all.
AT_ONCE = (1, 2, 8)
CALLS = 200
#: Longest that they may take together, in seconds.
GHZ_S = 300.0
#: Calls to compare one process with two, and how often each way is measured, in turn.
COMPARED_CALLS, COMPARED_AT_ONCE, ROUNDS = 200, 8, 3
WAYS = {"one process, max_solves 1": (1, 1), "one process, max_solves 2": (1, 2), "two processes": (2, 1)}
STAGES = ("compile_ms", "bound_ms", "search_ms", "verify_ms")

Row = dict[str, Any]


def warm(nodes: int, count: int) -> list[Row]:
    """Plans of gangs that arrive and leave, every plan after a change of the state; and the same as streams."""
    rows: list[Row] = []
    for case in SMALL:
        with served() as address, Client(Access(address)) as client:
            client.put_snapshot(CLUSTER, BASE, build_site(Site(nodes, used=CASES[case].used)))
            with client.deltas(CLUSTER, BASE) as deltas:
                samples = list(_arrivals(client, deltas, case, count + 1))
            rows += [{"nodes": nodes, "case": case, **row} for row in samples[1:]]
    write_csv("service_plans.csv", rows)
    _print_warm(rows)
    return rows


def _arrivals(client: Client, deltas: DeltaStream, case: str, count: int) -> Iterator[Row]:
    """One row for each gang; it is planned twice, the second time as a stream, and its pods are bound."""
    staying: deque[list[BoundPod]] = deque()
    for at in range(count):
        gang = renamed(CASES[case].make(), f"bench/{case}-{at}")
        began = time.perf_counter()
        (found,) = client.plan(CLUSTER, [gang]).plan.gangs
        total_ms = (time.perf_counter() - began) * 1000
        yield {"step": at, **_where_time_went(found, total_ms), **_streamed(client, gang)}
        if found.status.placed:
            staying.append(as_bound(gang, found))
            _applied(deltas, [PodBound(pod) for pod in staying[-1]])
        if len(staying) > STAYING or (staying and not found.status.placed):
            _applied(deltas, [PodGone(pod.uid, pod.name) for pod in staying.popleft()])


def _streamed(client: Client, gang: Gang) -> Row:
    """When the first placement and the last word came."""
    began = time.perf_counter()
    times_ms, placements = [], 0
    for news in client.plan_stream(CLUSTER, [gang]):
        times_ms.append((time.perf_counter() - began) * 1000)
        placements += isinstance(news, Improved)
    return {"first_ms": times_ms[0], "stream_ms": times_ms[-1], "on_the_way": placements}


def _applied(deltas: DeltaStream, changes: Sequence[PodBound | PodGone]) -> None:
    outcome = deltas.send(changes)
    if not isinstance(outcome, Applied):
        raise RuntimeError(outcome.message)


def _where_time_went(found: GangPlan, total_ms: float) -> Row:
    stages = {name: getattr(found.stats, name) for name in STAGES}
    return {
        "status": found.status.value,
        "proof": found.stats.proof.value,
        "total_ms": total_ms,
        "without_certificate_ms": total_ms - found.stats.search_ms,
        **stages,
        "rest_ms": max(0.0, total_ms - sum(stages.values())),
    }


def _print_warm(rows: Sequence[Row]) -> None:
    keys = ("compile_ms", "bound_ms", "verify_ms", "rest_ms", "search_ms", "without_certificate_ms", "total_ms")
    lines = []
    for case in SMALL:
        mine = [row for row in rows if row["case"] == case]
        proven = sum(row["status"] == "optimal" for row in mine)
        cells = [time_text(percentile([row[key] for row in mine], 50)) for key in keys]
        tail = time_text(percentile([row["total_ms"] for row in mine], 99))
        stream = [time_text(percentile([row[key] for row in mine], 50)) for key in ("first_ms", "stream_ms")]
        lines.append([case, f"{mine[0]['nodes']:,}", str(len(mine)), *cells, tail, *stream, f"{proven} of {len(mine)}"])
    headers = ("case", "nodes", "n", "compile", "bound", "verify", "rest", "certificate", "without it", "total")
    headers += ("p99", "stream: first", "stream: last", "proven")
    print_table("service: Plan and PlanStream with warm tables, gangs arriving and leaving (medians)", headers, lines)


def by_ghz(nodes: int, calls: int = CALLS) -> list[Row]:
    """Throughput and latency of repeated calls as ghz sees them."""
    ghz = _ghz()
    if ghz is None:
        return []
    rows: list[Row] = []
    with served() as address, Client(Access(address)) as client:
        client.put_snapshot(CLUSTER, BASE, build_site(Site(nodes)))
        for method in ("ClusterService.GetState", "PlacementService.Plan"):
            _calls(ghz, address, method, 8, 2)
            for at_once in AT_ONCE:
                say(f"[ghz, {method}, {at_once} at once]")
                rows.append({"nodes": nodes, "method": method, **_calls(ghz, address, method, calls, at_once)})
    write_csv("service_ghz.csv", rows)
    _print_ghz(rows)
    return rows


def processes(nodes: int, calls: int = COMPARED_CALLS, rounds: int = ROUNDS) -> list[Row]:
    """Plans in a second: one process with one or two solving threads, and two processes with half the calls each."""
    ghz = _ghz()
    if ghz is None:
        return []
    site, rows = build_site(Site(nodes)), []
    with ExitStack() as running:
        services = {}
        for way, (count, solves) in WAYS.items():
            services[way] = [running.enter_context(served(max_solves=solves, max_waiting=64)) for _ in range(count)]
            for address in services[way]:
                with Client(Access(address)) as client:
                    client.put_snapshot(CLUSTER, BASE, site)
                _calls(ghz, address, "PlacementService.Plan", 16, 4)
        for at in range(rounds):
            for way, addresses in services.items():
                say(f"[{way}, round {at + 1}]")
                rows.append({"nodes": nodes, "way": way, "round": at, **_together(ghz, addresses, calls)})
    write_csv("service_processes.csv", rows)
    _print_processes(rows)
    return rows


def _together(ghz: Path, addresses: Sequence[str], calls: int) -> Row:
    """All calls, shared out among the services; from the first call to the last answer."""
    share, at_once = calls // len(addresses), COMPARED_AT_ONCE // len(addresses)
    with ThreadPoolExecutor(len(addresses)) as threads:
        found = list(
            threads.map(lambda address: _calls(ghz, address, "PlacementService.Plan", share, at_once), addresses)
        )
    spent_s = max(each["spent_s"] for each in found)
    return {"per_second": sum(each["calls"] for each in found) / spent_s, "p50_ms": median(e["p50_ms"] for e in found)}


def _ghz() -> Path | None:
    try:
        return find("ghz")
    except Missing as missing:
        print(f"\nghz: skipped, {missing}")
        return None


def _calls(ghz: Path, address: str, method: str, calls: int, at_once: int) -> Row:
    """What ghz reports of so many calls, all of which succeed."""
    service, _, name = method.partition(".")
    file = {"ClusterService": "cluster_service", "PlacementService": "placement_service"}[service]
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data.json"
        data.write_text(json.dumps([MessageToDict(message) for message in _messages(name)]), encoding="utf-8")
        command = [ghz, "--insecure", "--proto", f"solver/api/v1/{file}.proto", "--import-paths", PROTOS]
        command += ["--call", f"huddle.v1.{method}", "--data-file", data, "--total", calls, "--concurrency", at_once]
        command += ["--connections", min(at_once, 4), "--timeout", "30s", "--format", "json", address]
        words = [str(word) for word in command]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=GHZ_S)
    report = json.loads(done.stdout)
    if report["statusCodeDistribution"] != {"OK": calls}:
        raise RuntimeError(f"{method}: {report['statusCodeDistribution']} {report.get('errorDistribution')}")
    latency_ms = {each["percentage"]: each["latency"] / 1e6 for each in report["latencyDistribution"]}
    return {
        "at_once": at_once,
        "calls": calls,
        "spent_s": report["total"] / 1e9,
        "per_second": report["rps"],
        "p50_ms": latency_ms[50],
        "p99_ms": latency_ms[99],
    }


def _messages(method: str) -> list[Any]:
    """What is asked in turn: the state, or plans of the small gang under several names."""
    if method == "GetState":
        return [cluster_service_pb2.GetStateRequest(cluster=CLUSTER)]
    cluster = placement_service_pb2.ClusterRef(name=CLUSTER)
    gangs = [encode_gang(renamed(CASES["4p8d"].make(), f"bench/ghz-{at}")) for at in range(8)]
    return [placement_service_pb2.PlanRequest(cluster=cluster, gangs=[gang]) for gang in gangs]


def _print_ghz(rows: Sequence[Row]) -> None:
    lines = [
        (
            row["method"],
            f"{row['nodes']:,}",
            str(row["at_once"]),
            str(row["calls"]),
            f"{row['per_second']:,.0f}",
            time_text(row["p50_ms"]),
            time_text(row["p99_ms"]),
        )
        for row in rows
    ]
    print_table("service: ghz", ("method", "nodes", "at once", "calls", "per second", "p50", "p99"), lines)


def rates(rows: Sequence[Row]) -> Mapping[str, float]:
    """Way → plans in a second, median of its rounds."""
    return {way: median(row["per_second"] for row in rows if row["way"] == way) for way in WAYS}


def _print_processes(rows: Sequence[Row]) -> None:
    found = rates(rows)
    base = found["one process, max_solves 2"]
    lines = [(way, f"{rate:,.1f}", f"{rate / base:.2f}") for way, rate in found.items()]
    title = f"service: plans in a second, {COMPARED_AT_ONCE} calls at once (a second process is worth it above 1.50)"
    print_table(title, ("solving in", "per second", "to the threads of one"), lines)
