"""The benchmark of the service still runs, without a word about times."""

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmarks import output, service, service_plans, service_state


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results go to a folder of the test."""
    monkeypatch.setattr(output, "FOLDER", tmp_path)
    return tmp_path


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_snapshots_and_changes_are_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny cluster on a server of its own, as CSV and table."""
    service_state.main(["--quick"])
    assert "service state: loopback" in capsys.readouterr().out
    (row,) = _rows(folder / "service_state.csv")
    assert (row["nodes"], row["pods"]) == ("50", "45")
    assert float(row["delta_p50_ms"]) > 0


def test_plans_are_measured(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two gangs that arrive and stay; the stages are part of the whole."""
    monkeypatch.setattr(service_plans, "SMALL", ("4p8d",))
    service.main(["--quick", "--only", "plans"])
    assert "gangs arriving and leaving" in capsys.readouterr().out
    rows = _rows(folder / "service_plans.csv")
    assert [(row["status"], row["step"]) for row in rows] == [("optimal", "1"), ("optimal", "2")]
    assert all(float(row["total_ms"]) >= float(row["bound_ms"]) + float(row["search_ms"]) > 0 for row in rows)


def test_questions_of_a_controller_are_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways give one answer to each question."""
    service.main(["--quick", "--only", "remote"])
    assert "asked there" in capsys.readouterr().out
    rows = _rows(folder / "service_remote.csv")
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert all(float(row["remote_ms"]) > 0 for row in rows)


@pytest.mark.controlplane
def test_ghz_calls(ghz: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call it makes succeeds; threads and processes are compared with the same number of calls."""
    service.main(["--quick", "--only", "ghz", "processes"])
    assert "plans in a second" in capsys.readouterr().out
    methods = ["ClusterService.GetState", "PlacementService.Plan"]
    assert [(row["method"], row["at_once"]) for row in _rows(folder / "service_ghz.csv")] == [
        (method, str(at_once)) for method in methods for at_once in service_plans.AT_ONCE
    ]
    rates = {row["way"]: float(row["per_second"]) for row in _rows(folder / "service_processes.csv")}
    assert rates.keys() == service_plans.WAYS.keys()
    assert min(rates.values()) > 0


def test_without_ghz_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And how to get it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    service.main(["--quick", "--only", "ghz"])
    assert capsys.readouterr().out == "\nghz: skipped, ghz is not there: `make control-plane` builds it\n"
