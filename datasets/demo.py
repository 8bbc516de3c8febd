"""The main job at a glance: a disaggregated deployment on a worn site of 1,024 nodes, planned and compared.

The site is written to a file as kubectl prints it and read back, so that the demo takes the way of the real command.
"""

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adapters.cli.plan import read_inputs
from adapters.cli.solving import Inputs, Wish, solve
from adapters.manifests.gangs import GangOptions
from adapters.report.consoles import rendered
from adapters.report.numbers import percent, short
from adapters.report.plan_text import print_plan
from adapters.report.scene import Scene
from adapters.report.tables import milliseconds, plain_table
from benchmarks import yardsticks
from datasets.generate import h100_fragmented, write_list
from solver.domain.gang import Gang
from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.topology.choice import choose_topology
from solver.verify.checker import Verification, verify

ROOT = Path(__file__).resolve().parent.parent
NODES, USED, SEED = 1024, 0.75, 20
DEPLOYMENT = ROOT / "datasets" / "gangs" / "dynamo-4p8d.yaml"
OTHERS: dict[str, Callable[..., yardsticks.Answer | None]] = {
    "first fit": yardsticks.first_fit,
    "lowest domain, fullest first": yardsticks.lowest_domain,
    "greedy by transfer": yardsticks.greedy,
}


@dataclass(frozen=True)
class Row:
    """One placer's answer. found: None when it placed nothing. spent_ms: how long it took."""

    placer: str
    found: Verification | None
    spent_ms: float


def main() -> None:
    """Make the site, plan, print the answer, the comparison and the command to repeat it."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Path(folder) / "site.json"
        write_list(h100_fragmented(NODES, USED, SEED), cluster)
        started = time.perf_counter()
        inputs = read_inputs([str(DEPLOYMENT)], [str(cluster)], GangOptions())
        read_ms = (time.perf_counter() - started) * 1000
    started = time.perf_counter()
    importlib.import_module("solver.planner")
    load_ms = (time.perf_counter() - started) * 1000
    started = time.perf_counter()
    plan = solve(inputs, Wish(time_limit_s=10.0))
    plan_ms = (time.perf_counter() - started) * 1000
    scene = Scene(inputs.snapshot, inputs.gangs, plan)
    rows = compare(inputs.snapshot, inputs.gangs[0], plan, plan_ms)
    sys.stdout.write(rendered(sys.stdout, lambda console: _print_all(console, inputs, scene, rows, (read_ms, load_ms))))


def compare(snapshot: Snapshot, gang: Gang, plan: Plan, plan_ms: float) -> list[Row]:
    """Huddle's answer and those of simpler placers, all measured by the same checker."""
    spec, _ = choose_topology(snapshot, gang)
    answer = plan.gangs[0].assignments
    rows = [Row("Huddle", verify(snapshot, gang, spec, answer) if answer else None, plan_ms)]
    for name, placer in OTHERS.items():
        started = time.perf_counter()
        other = placer(snapshot, gang, spec)
        spent_ms = (time.perf_counter() - started) * 1000
        rows.append(Row(name, None if other is None else verify(snapshot, gang, spec, other), spent_ms))
    return rows


def _print_all(console: Console, inputs: Inputs, scene: Scene, rows: list[Row], spent_ms: tuple[float, float]) -> None:
    nodes, pods = len(inputs.snapshot.nodes), len(inputs.snapshot.pods)
    free = int(inputs.snapshot.whole_free_gpus.sum())
    deployment = DEPLOYMENT.relative_to(ROOT)
    console.print(f"{deployment} on {nodes} H100 nodes: {pods} pods run there, {free} GPUs are free", soft_wrap=True)
    read, load = map(milliseconds, spent_ms)
    console.print(f"reading both files took {read}, loading the engine {load}", soft_wrap=True)
    console.print()
    print_plan(console, scene)
    console.print()
    console.print("the same deployment placed in simpler ways, measured by the same checker:", soft_wrap=True)
    print_comparison(console, rows)
    console.print(
        "later: how much longer the transfers of one request take, so how much later its first token comes where "
        "nothing queues; steps: levels wider than asked",
        soft_wrap=True,
    )
    console.print()
    console.print("to repeat it:", soft_wrap=True)
    for command in (
        f"  .venv/bin/python datasets/generate.py h100 --nodes {NODES} --used {USED} --seed {SEED} -o site.json",
        f"  .venv/bin/huddle plan {deployment} --cluster site.json",
    ):
        console.print(command, soft_wrap=True)


def print_comparison(console: Console, rows: list[Row]) -> None:
    """A row for each placer; later and excess: its transfer time over that of the first row."""
    headers = ("RACKS", "STEPS", "TRANSFER", "LATER", "EXCESS", "TOOK")
    table = plain_table("PLACER", numbers=headers)
    best = rows[0].found.objective["transfer_us"] if rows[0].found else None
    for row in rows:
        took = f"{row.spent_ms:.1f} ms"
        if row.found is None:
            table.add_row(row.placer, "-", "-", "nothing placed", "-", "-", took)
            continue
        terms = row.found.objective
        later, excess = "-", "-"
        if best and row is not rows[0]:
            later = f"{float(terms['transfer_us'] - best) / 1000:.2f} ms"
            excess = percent(terms["transfer_us"] / best - 1)
        table.add_row(
            row.placer,
            str(row.found.domains.get("rack", 0)),
            short(terms["containment_steps"]),
            f"{float(terms['transfer_us']) / 1000:.2f} ms",
            later,
            excess,
            took,
        )
    console.print(table)


if __name__ == "__main__":
    main()
