"""How the cost of one decision grows with the site, from 128 to 100,000 nodes: CSV and, with matplotlib, a plot.

What is compared is the work of each stage: compile reads every node, the bound's tables grow with the number of
different racks, the certificate sees the plan's own racks only.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case, Site, as_bound, build_site, fresh
from benchmarks.measure import timed_plan, warm_tables, warm_up
from benchmarks.output import FOLDER, machine, percentile, print_table, say, time_text, write_csv
from solver.domain.snapshot import Snapshot

NODES = (128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 100_000)
GANGS = ("4p8d", "16p16d")
#: Used share of the GPUs, low enough for both gangs on the smallest site.
USED = 0.3
STAGES = {
    "compile_ms": "compile (reads the site)",
    "bound_ms": "bound",
    "search_ms": "certificate",
    "verify_ms": "verify",
}

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write growth.csv and growth.png."""
    parser = argparse.ArgumentParser(description="Cost of one decision by size of the site.")
    parser.add_argument("--repeat", type=int, default=5, help="samples of a size and gang; medians are shown")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds of planning after which a size is done")
    parser.add_argument("--quick", action="store_true", help="two small sizes, one sample")
    chosen = parser.parse_args(arguments)
    warm_up()
    sizes, repeat = (NODES[:2], 1) if chosen.quick else (NODES, chosen.repeat)
    rows = [row for nodes in sizes for name in GANGS for row in _measured(nodes, CASES[name], repeat, chosen.budget)]
    write_csv("growth.csv", rows)
    middle = medians(rows)
    _print(middle)
    if importlib.util.find_spec("matplotlib") is None:
        print("no plot: matplotlib is not installed (dependency group `bench`)")
    else:
        say(f"[plot: {draw(middle, FOLDER / 'growth.png').name}]")


def _measured(nodes: int, case: Case, repeat: int, budget_s: float) -> list[Row]:
    """Samples on different sites of one size, cold and, where it is built, warm."""
    say(f"[growth, {nodes} nodes, {case.name}]")
    rows: list[Row] = []
    spent_ms = 0.0
    for seed in range(1, repeat + 1):
        if spent_ms > budget_s * 1000:
            break
        snapshot = build_site(Site(nodes, "loaded", 16, seed, USED))
        for tables, found in _cold_and_warm(snapshot, case):
            rows.append({"case": case.name, "nodes": nodes, "seed": seed, "tables": tables, **found})
            spent_ms += found["total_ms"]
    return rows


def _cold_and_warm(snapshot: Snapshot, case: Case) -> list[tuple[str, Row]]:
    """One cold call; then one with the tables of a call before the last placement."""
    gang = case.make()
    found = [("cold", timed_plan(fresh(snapshot), gang, 30)[1])]
    tables = warm_tables()
    if tables is not None:
        answer, _ = timed_plan(snapshot, gang, 30, warm=tables)
        after = snapshot.with_pods(as_bound(gang, answer)[: len(answer.assignments) // 2])
        found.append(("warm", timed_plan(after, gang, 30, warm=tables)[1]))
    return found


def medians(rows: Sequence[Row]) -> list[Row]:
    """One row for each gang, kind of tables and size, over the samples that were proven."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if row["status"] == "optimal":
            found.setdefault((row["case"], row["tables"], row["nodes"]), []).append(row)
    return [
        {"case": case, "tables": tables, "nodes": nodes, "samples": len(mine)}
        | {stage: percentile([row[stage] for row in mine], 50) for stage in (*STAGES, "total_ms")}
        for (case, tables, nodes), mine in sorted(found.items())
    ]


def _print(middle: Sequence[Row]) -> None:
    rows = [
        [row["case"], row["tables"], f"{row['nodes']:,}", str(row["samples"])]
        + [time_text(row[stage]) for stage in (*STAGES, "total_ms")]
        for row in middle
    ]
    headers = ("case", "tables", "nodes", "n", "compile", "bound", "certificate", "verify", "total")
    print_table("cost by size of the site (medians)", headers, rows, texts=2)


def draw(middle: Sequence[Row], path: Path) -> Path:
    """The plot: one panel for each gang, one line for each stage, both axes logarithmic."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(GANGS), figsize=(12, 5), sharey=True, squeeze=False)
    for panel, name in zip(panels[0], GANGS, strict=True):
        for color, (stage, label) in enumerate(STAGES.items()):
            for tables, line in (("cold", "-"), ("warm", "--")):
                mine = [row for row in middle if (row["case"], row["tables"]) == (name, tables)]
                words = label if tables == "cold" else f"{label}, warm"
                if mine:
                    points = [row["nodes"] for row in mine], [row[stage] for row in mine]
                    panel.plot(*points, line, color=f"C{color}", marker="o", markersize=3, label=words)
        panel.set(xscale="log", yscale="log", xlabel="nodes", title=name)
        panel.grid(visible=True, which="both", alpha=0.25)
    panels[0][0].set_ylabel("milliseconds (median)")
    panels[0][0].legend(fontsize=8)
    figure.suptitle(f"cost of one decision by size of the site — {machine()}", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return path


if __name__ == "__main__":
    main()
