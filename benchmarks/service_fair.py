"""What a caller waits for small plans while two others ask hostile questions all the time, and when it is alone."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from benchmarks.cases import CASES, Site, build_site, renamed
from benchmarks.output import percentile, print_table, time_text, write_csv
from benchmarks.service_process import served
from solver.api.v1 import placement_service_pb2 as placement_pb
from solver.api.v1.placement_service_pb2_grpc import PlacementServiceStub
from solver.domain.errors import HuddleError
from solver.domain.gang import Gang
from solver.service.access import Access
from solver.service.client import Client
from solver.service.codec.gang import encode_gang
from solver.service.codec.snapshot import encode_whole
from solver.service.requests import Ask

TESTS = Path(__file__).resolve().parent.parent / "tests"
CLUSTER = "bench"
#: Seconds that each hostile question asks for; two callers ask two at a time each.
HOSTILE_S, CALLERS, AT_ONCE = 5.0, 2, 2
#: Before the small plans are measured beside the hostile questions, those have gone on for so long, in seconds.
WARM_UP_S = 10.0
#: The p99 beside hostile questions is to stay within so many times its quiet value.
WANTED = 3.0

Row = dict[str, Any]


def main(nodes: int, count: int) -> float:
    """Measure, print, and tell how many times longer the p99 is beside hostile callers."""
    sys.path[:0] = [path for path in (str(TESTS),) if path not in sys.path]
    with (
        TemporaryDirectory() as folder,
        served(_tokens(Path(folder))) as address,
        Client(Access(address, token=_token("good"))) as client,
    ):
        client.put_snapshot(CLUSTER, "1", build_site(Site(nodes)))
        rows = [_measured(client, "alone", nodes, count)]
        with _hostile_callers(address) as asked:
            time.sleep(min(WARM_UP_S, count / 20))
            rows.append(_measured(client, "beside hostile callers", nodes, count))
    rows = [{**row, "hostile_questions": many} for row, many in zip(rows, (0, sum(asked)), strict=True)]
    write_csv("service_fair.csv", rows)
    lines = [
        (row["when"], str(row["count"]), time_text(row["p50_ms"]), time_text(row["p99_ms"]), time_text(row["most_ms"]))
        for row in rows
    ]
    title = f"service: small plans at {nodes:,} nodes, {sum(asked)} hostile questions meanwhile"
    print_table(title, ("when", "plans", "p50", "p99", "longest"), lines)
    return float(rows[1]["p99_ms"] / rows[0]["p99_ms"])


def _measured(client: Client, when: str, nodes: int, count: int) -> Row:
    """Plans of a small gang, one after the other; the first one makes the tables."""
    times_ms = []
    for at in range(count + 1):
        gang = renamed(CASES["4p8d"].make(), f"bench/{when.split()[0]}-{at}")
        began = time.perf_counter()
        client.plan(CLUSTER, [gang], Ask(time_limit_s=60))
        times_ms.append((time.perf_counter() - began) * 1000)
    times_ms = times_ms[1:]
    return {
        "nodes": nodes,
        "when": when,
        "count": count,
        "p50_ms": percentile(times_ms, 50),
        "p99_ms": percentile(times_ms, 99),
        "most_ms": max(times_ms),
    }


@contextmanager
def _hostile_callers(address: str) -> Iterator[list[int]]:
    """Callers who ask all the time, in processes of their own; how often each of them has asked, in the end."""
    processes = get_context("spawn")
    over, asked = processes.Event(), [processes.Value("q", 0) for _ in range(CALLERS)]
    callers = [processes.Process(target=_ask, args=(address, at, over, asked[at])) for at in range(CALLERS)]
    for caller in callers:
        caller.start()
    found: list[int] = []
    try:
        yield found
    finally:
        over.set()
        for caller in callers:
            caller.join()
        found += [each.value for each in asked]


def _ask(address: str, caller: int, over: Any, asked: Any) -> None:
    """One hostile caller, AT_ONCE questions at a time, until `over` is set."""
    sys.path[:0] = [path for path in (str(TESTS),) if path not in sys.path]
    from support.hostile import world

    state = placement_pb.ClusterRef(inline=encode_whole(world()))
    options = placement_pb.PlanOptions(time_limit_ms=int(1000 * HOSTILE_S))
    requests = [
        placement_pb.PlanRequest(cluster=state, gangs=[encode_gang(gang)], options=options) for gang in _hostile_gangs()
    ]
    metadata = (("authorization", f"Bearer {_token(f'bad{caller}')}"),)
    lock = threading.Lock()

    def ask(turn: int) -> None:
        for at in range(turn, 10**6, AT_ONCE):
            if over.is_set():
                return
            call = plan.future(requests[(at * CALLERS + caller) % len(requests)], metadata=metadata, timeout=30)
            with lock:
                asked.value += 1
            while not call.done() and not over.wait(0.05):
                pass
            call.cancel()

    with grpc.insecure_channel(address) as channel:
        plan = PlacementServiceStub(channel).Plan
        threads = [threading.Thread(target=ask, args=(turn,)) for turn in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _hostile_gangs(seeds: int = 60) -> Iterator[Gang]:
    from support.hostile import hostile

    for seed in range(seeds):
        try:
            yield hostile(seed)
        except HuddleError:
            continue


def _token(name: str) -> str:
    return f"{name}-0123456789abcdef-secret"


def _tokens(folder: Path) -> Sequence[str]:
    """Options of a service that knows the callers."""
    path = folder / "tokens"
    names = {"good": "write", **{f"bad{at}": "plan" for at in range(CALLERS)}}
    path.write_text("".join(f"{name} {role} {_token(name)}\n" for name, role in names.items()), encoding="utf-8")
    path.chmod(0o600)
    return ("--tokens", str(path))
