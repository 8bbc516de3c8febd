"""`kill -9` at every named moment and at any other: nothing confirmed is lost, nothing ended comes back."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from solver.service.failpoints import POINTS, VARIABLE
from support.ledger_campaign import Campaign

#: Those that the ledger and what is around it pass.
OWN = [point for point in POINTS if point.startswith(("ledger.", "promises."))]
#: Passed more than once, on a file that has a history.
OFTEN = [f"{point}:4" for point in OWN if point.split(".")[1] in ("reserve", "confirm", "release", "note")]


@pytest.mark.parametrize("fuse", [*OWN, *OFTEN])
def test_a_death_at_a_fail_point_loses_and_revives_nothing(tmp_path: Path, fuse: str) -> None:
    """What was confirmed is there after a restart, what was not is whole or absent, and every retry agrees."""
    campaign = Campaign(tmp_path / "ledger.db", random.Random(fuse))
    campaign.live_and_die(fuse)


def test_deaths_at_any_moment_lose_and_revive_nothing(tmp_path: Path) -> None:
    """One ledger through several lives, each ended from outside in the middle of whatever it does."""
    campaign = Campaign(tmp_path / "ledger.db", random.Random(11))
    for _ in range(4):
        campaign.live_and_die()
    assert len(campaign.answered) > 10


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(24))
def test_many_deaths_in_a_row_lose_and_revive_nothing(tmp_path: Path, seed: int) -> None:
    """Ten lives of one ledger, ended at a fail point or at any moment: 240 deaths in all."""
    rng = random.Random(seed)
    campaign = Campaign(tmp_path / "ledger.db", rng)
    points = [point for point in OWN if not point.startswith("ledger.open")]
    for _ in range(10):
        campaign.live_and_die(f"{rng.choice(points)}:{rng.randint(1, 6)}" if rng.random() < 0.6 else "")


@pytest.mark.parametrize("setting", ["ledger.nowhere", "ledger.tidy.after_commit:x", "ledger.tidy.after_commit:-1"])
def test_a_fail_point_that_does_not_exist_is_refused(setting: str) -> None:
    """Rather than waited for in vain."""
    run = subprocess.run(
        [sys.executable, "-c", "import solver.service.failpoints"],
        capture_output=True,
        text=True,
        env={**os.environ, VARIABLE: setting},
    )
    assert run.returncode == 1
    assert run.stderr.strip() == f"{VARIABLE}={setting} names no point"
