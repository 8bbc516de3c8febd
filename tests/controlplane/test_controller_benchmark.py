"""The benchmark of the controller still runs, on a tiny cluster, without a word about times."""

import csv
from pathlib import Path

import pytest

from benchmarks import controller, output

# The fixture is what makes the test wait for, or miss, the programs; the benchmark starts servers of its own.
pytestmark = [pytest.mark.controlplane, pytest.mark.usefixtures("shared_control_plane")]


def test_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both hands place every gang, and the table and the file say so."""
    monkeypatch.setattr(output, "FOLDER", tmp_path)
    rows = controller.main(["--quick"])
    assert [(row["hand"], row["gangs"], row["pods"]) for row in rows] == [("gate", 2, 14), ("bind", 2, 14)]
    assert all(row["pods_per_s"] > 0 and len(row["alone_s"]) == 1 for row in rows)
    with (tmp_path / "controller.csv").open(encoding="utf-8") as file:
        assert [row["hand"] for row in csv.DictReader(file)] == ["gate", "bind"]
    assert "crowd p50" in capsys.readouterr().out
