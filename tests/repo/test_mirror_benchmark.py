"""The benchmark of the mirror still runs, without a word about times."""

import csv
from pathlib import Path

import pytest

from benchmarks import mirror, output


def test_lists_and_changes_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny cluster, as CSV and table."""
    monkeypatch.setattr(output, "FOLDER", tmp_path)
    mirror.main(["--quick"])
    assert "lists as bytes until held" in capsys.readouterr().out
    with (tmp_path / "mirror.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["nodes"], row["pods"]) == ("20", "100")
    assert float(row["synced_s"]) > 0
