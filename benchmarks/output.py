"""What all benchmarks share on the way out: percentiles, the machine, tables, and files under build/bench."""

import csv
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from adapters.report.tables import plain_table

#: Where results go, whatever the working directory; ignored by git.
FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"


def percentile(values: Sequence[float], percent: float) -> float:
    """The median for 50, else by nearest rank: with fewer than a hundred values the 99th is the largest."""
    if percent == 50:
        return median(values)
    return sorted(values)[max(1, ceil(percent / 100 * len(values))) - 1]


def machine() -> str:
    """One line: cores, Python and the versions that matter."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"OR-Tools {metadata.version('ortools')}, numpy {metadata.version('numpy')}"
    return f"{cores} cores ({platform.machine()}, {platform.system()}), Python {platform.python_version()}, {versions}"


def resident_mb() -> tuple[float, float]:
    """Resident memory of this process, now and at its peak, in MB; (0, 0) where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0, 0.0
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1000, int(lines["VmHWM"].split()[0]) / 1000


def time_text(spent_ms: float) -> str:
    """Milliseconds with three digits, seconds from one second on."""
    if spent_ms >= 1000:
        return f"{spent_ms / 1000:.3g} s"
    return f"{spent_ms:.0f} ms" if spent_ms >= 100 else f"{spent_ms:.3g} ms"


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> None:
    """A table on stdout and the same, as Markdown, at the end of build/bench/tables.md; `texts` columns are left."""
    table = plain_table(*headers[:texts], numbers=tuple(headers[texts:]))
    for row in rows:
        table.add_row(*row)
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    console.print(f"\n{title}", markup=False, soft_wrap=True)
    console.print(table)
    lines = [title, "", _line(headers), _line(["---"] * texts + ["---:"] * (len(headers) - texts))]
    lines += [_line(row) for row in rows]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "tables.md").open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n\n")


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def write_csv(name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows with equal keys as build/bench/`name`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path, found = FOLDER / name, list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]) if found else [])
        writer.writeheader()
        writer.writerows(found)
    return path


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
