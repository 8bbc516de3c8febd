"""Every benchmark still runs: its smallest case once, without a word about times."""

import csv
import json
import os
from pathlib import Path

import pytest

from benchmarks import (
    bench,
    budgets,
    cases,
    engines,
    extender,
    growth,
    hotspots,
    measure,
    output,
    small_batches,
    stream,
)
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.plan import Status
from solver.planner import plan
from solver.topology.tree import build_tree


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results go to a folder of the test."""
    monkeypatch.setattr(output, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def datasets() -> Path:
    """The folder of the public data sets; skips without it."""
    named = os.environ.get("HUDDLE_DATASETS")
    if not named:
        pytest.skip("HUDDLE_DATASETS does not name the folder of the public data sets")
    return Path(named)


def test_sites_are_what_their_name_says() -> None:
    """Size, levels, load, and the same site for the same seed."""
    site = cases.Site(300, "loaded", 4, seed=2, used=0.5)
    snapshot = cases.build_site(site)
    tree = build_tree(snapshot, cases.TOPOLOGY)
    assert len(snapshot.nodes) == 300
    assert [len(names) for names in tree.names[1:]] == [1, 10, 75, 300]
    assert (snapshot.free >= 0).all()
    assert 0.3 < 1 - snapshot.whole_free_gpus.sum() / 2400 < 0.7
    assert (cases.build_site(site).free == snapshot.free).all()
    held = sum(KNOWN_ACCELERATORS.devices(pod.requests) for pod in snapshot.pods)
    assert held == 2400 - snapshot.whole_free_gpus.sum()


def test_release_undoes_placement() -> None:
    """After the gang has left, the columns are as before."""
    snapshot, gang = cases.build_site(cases.Site(64, used=0.3)), cases.CASES["4p8d"].make()
    (answer,) = plan(snapshot, [gang]).gangs
    pods = cases.as_bound(gang, answer)
    assert len(pods) == 13
    after = snapshot.with_pods(pods).with_changes((), pods)
    assert (after.free == snapshot.free).all()
    assert len(after.pods) == len(snapshot.pods)


@pytest.mark.parametrize("part", sorted(measure.PARTS))
def test_every_part_measures(part: str) -> None:
    """One sample of the smallest case; rows can be written as JSON."""
    rows = measure.PARTS[part](measure.Job(part, 64, ("4p8d",), 1, 5.0, 5.0))
    assert json.loads(json.dumps(rows)) == rows


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Cold samples of every case on a tiny site, in processes of their own."""
    bench.table([32], 1, 0.1, 1.0)
    printed = capsys.readouterr().out
    assert all(name in printed for name in cases.CASES)
    with (folder / "cold.csv").open(encoding="utf-8") as file:
        assert {row["case"] for row in csv.DictReader(file)} == set(cases.CASES)


def test_targets_know_every_size() -> None:
    """Each target has a figure or says that it is not built, at each of the three sizes."""
    empty = bench.Measured([], [], [], [], (0.0, 0.0), False)
    for target in bench.TARGETS.values():
        assert all(target(empty, at).target for at in range(3))


def test_growth_writes_rows(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Two small sizes, as CSV and table."""
    growth.main(["--quick"])
    assert "cost by size of the site" in capsys.readouterr().out
    assert (folder / "growth.csv").stat().st_size > 0


def test_budgets_writes_rows(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """One call with two limits and two stop signals, as CSV and table."""
    budgets.main(["--quick"])
    assert "wall clock against limits and stop signals" in capsys.readouterr().out
    with (folder / "budgets.csv").open(encoding="utf-8") as file:
        told = [row["told"].split()[0] for row in csv.DictReader(file)]
    assert told == ["limit", "limit", "stop", "stop"]


def test_hotspots_name_functions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stages without the profiler, and functions of the project under it."""
    hotspots.main(["--quick"])
    told = capsys.readouterr().out
    assert "warm 4p8d on 128 nodes" in told
    assert "solver/" in told.split("under the profiler")[1]


def test_engines_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a site of two racks all engines that prove something find the same transfer."""
    engines.main(["--quick"])
    with (folder / "engines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["engine"] for row in rows} == set(engines.ENGINES)
    assert {row["transfer"] for row in rows if row["proven"] == "yes"} <= {"optimum", "none exists"}


def test_the_extender_needs_wrk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is missing."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert extender.main(["--quick"]) == []
    assert capsys.readouterr().out == "\nextender: left out, there is no program wrk\n"


def test_stream_skips_without_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One clear line."""
    monkeypatch.delenv("HUDDLE_DATASETS", raising=False)
    stream.main([])
    assert capsys.readouterr().out.strip().splitlines() == [
        "stream: skipped, HUDDLE_DATASETS does not name the folder of the public data sets"
    ]


def test_stream_decides(datasets: Path) -> None:
    """A few decisions on the real tree, all proven; yardsticks on the first."""
    rows, simple = stream.run(datasets, decisions=3, every=3, limit_s=5.0)
    assert {row["status"] for row in rows} <= {Status.OPTIMAL.value, Status.INFEASIBLE.value}
    assert {row["decision"] for row in rows} == {0, 1, 2}
    assert {row["yardstick"] for row in simple} == set(measure.YARDSTICKS)


def test_small_batches_are_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One batch, and the same one for the same seed."""
    small_batches.main(["--quick"])
    with (folder / "small_batches.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["admitted"] == row["gangs"]
    assert "of 1 proven in every term" in capsys.readouterr().out
    assert small_batches.draw(3).gangs == small_batches.draw(3).gangs
