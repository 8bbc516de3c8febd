"""Whether a call ends with its budget, how soon a stop signal ends it, and what a disposable process costs.

Budgets so short that hardly anything is proven: what counts is when the answer comes. More than a tenth and 50 ms over
the limit is marked; on a machine that does other work at the same time, a few will be.
"""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.cases import CASES, Site, batch_gangs, build_site, fresh
from benchmarks.measure import warm_up
from benchmarks.output import machine, print_table, say, time_text, write_csv
from solver.batch.plan import plan_batch
from solver.domain.budget import Budget, Stop
from solver.domain.plan import Plan
from solver.planner import Engine, Options, plan
from solver.search.children import COMMAND, Child

#: Used share of the GPUs: for one gang, and for a batch of fifty.
USED, USED_BY_OTHERS = 0.3, 0.8
#: Nodes, case, engine and limits in seconds; the case `batch` is fifty gangs together.
CALLS: tuple[tuple[int, str, Engine, tuple[float, ...]], ...] = (
    (1_024, "4p8d", Engine.CPSAT, (0.02, 0.1, 0.5, 2.0)),
    (1_024, "16p16d", Engine.CPSAT, (0.2, 1.0)),
    (1_000, "batch", Engine.AUTO, (0.2, 0.5, 1.8)),
    (10_000, "32p64d", Engine.AUTO, (0.05, 0.2, 0.4)),
    (10_000, "512-rack", Engine.AUTO, (0.05, 0.2)),
    (10_000, "128p384d-rack", Engine.AUTO, (0.3, 1.0, 3.0, 10.0)),
    (10_000, "4p8d", Engine.CPSAT, (1.0, 4.0)),
)
#: A call that is told to stop would have so much time, in seconds.
LONG_S = 120.0

Row = dict[str, Any]
Call = Callable[[float, Stop | None], Plan]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write budgets.csv."""
    parser = argparse.ArgumentParser(description="Wall clock against the limit of a call, and the delay of a stop.")
    parser.add_argument("--quick", action="store_true", help="one call with two limits")
    chosen = parser.parse_args(arguments)
    warm_up()
    rows: list[Row] = []
    for nodes, case, engine, limits in [(*CALLS[0][:3], CALLS[0][3][:2])] if chosen.quick else CALLS:
        say(f"[budgets, {nodes} nodes, {case}, engine {engine}]")
        call = _call(nodes, case, engine)
        where = {"nodes": nodes, "case": case, "engine": engine.value}
        rows += [{**where, **_limited(call, limit_s)} for limit_s in limits]
        rows += [{**where, **_stopped(call, after_s)} for after_s in (0.2 * limits[-1], 0.6 * limits[-1])]
    write_csv("budgets.csv", rows)
    headers = ("nodes", "case", "engine", "told", "ended", "answer", "")
    print_table("wall clock against limits and stop signals", headers, [_line(row) for row in rows], texts=4)
    print(f"a disposable process starts in {time_text(_start_ms())}; {machine()}")


def _call(nodes: int, case: str, engine: Engine) -> Call:
    snapshot = build_site(Site(nodes, used=USED_BY_OTHERS if case == "batch" else USED))

    def one(limit_s: float, stop: Stop | None) -> Plan:
        return plan(fresh(snapshot), [CASES[case].make()], Options(engine, limit_s), stop=stop)

    def batch(limit_s: float, stop: Stop | None) -> Plan:
        return plan_batch(fresh(snapshot), batch_gangs(50, 1), Options(engine, limit_s), stop=stop)

    return batch if case == "batch" else one


def _limited(call: Call, limit_s: float) -> Row:
    started = time.perf_counter()
    answer = call(limit_s, None)
    spent_s = time.perf_counter() - started
    late = spent_s > 1.1 * limit_s + 0.05
    told = f"limit {time_text(1000 * limit_s)}"
    return {"told": told, "ended_ms": 1000 * spent_s, "answer": answer.status.value, "late": late}


def _stopped(call: Call, after_s: float) -> Row:
    """How long after the signal the answer came; negative when it came before."""
    stop, told_at = threading.Event(), time.perf_counter() + after_s
    timer = threading.Timer(after_s, stop.set)
    timer.start()
    answer = call(LONG_S, stop)
    delay_ms = 1000 * (time.perf_counter() - told_at)
    timer.cancel()
    told = f"stop after {time_text(1000 * after_s)}"
    return {"told": told, "ended_ms": delay_ms, "answer": answer.status.value, "late": delay_ms > 150}


def _line(row: Row) -> list[str]:
    ended = time_text(row["ended_ms"]) if row["told"].startswith("limit") else f"{row['ended_ms']:+.0f} ms"
    return [str(row["nodes"]), row["case"], row["engine"], row["told"], ended, row["answer"], "late" * row["late"]]


def _start_ms() -> float:
    started = time.perf_counter()
    child = Child.start(COMMAND, Budget(time.monotonic() + 10))
    spent_s = time.perf_counter() - started
    child.kill()
    return 1000 * spent_s


if __name__ == "__main__":
    main()
