"""The benchmark of held states still runs, without a word about times."""

import csv
from pathlib import Path

import pytest

from benchmarks import output, service_state


def test_snapshots_and_changes_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny cluster on a server of its own, as CSV and table."""
    monkeypatch.setattr(output, "FOLDER", tmp_path)
    service_state.main(["--quick"])
    assert "service state: loopback" in capsys.readouterr().out
    with (tmp_path / "service_state.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["nodes"], row["pods"]) == ("50", "45")
    assert float(row["delta_p50_ms"]) > 0
