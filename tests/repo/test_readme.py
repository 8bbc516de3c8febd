"""What the README shows is what the commands print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```console\n\$ huddle ([^\n]*)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def shown(text: str) -> list[str]:
    """Lines without the one that tells times."""
    return [line.rstrip() for line in text.strip().splitlines() if not line.startswith("took ")]


def test_the_readme_has_console_blocks() -> None:
    """There is something to compare."""
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize(("arguments", "printed"), BLOCKS, ids=[arguments for arguments, _ in BLOCKS])
def test_console_blocks(arguments: str, printed: str) -> None:
    """Each block, run from the root, prints what stands there."""
    command = [sys.executable, "-m", "adapters.cli", *arguments.split()]
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "100", "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert shown(done.stdout) == shown(printed), done.stderr


def test_make_targets_exist() -> None:
    """Every make target the README names is in the Makefile."""
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= made


def test_rooms_exist() -> None:
    """Every folder of the rooms table is there."""
    table = (ROOT / "README.md").read_text().split("## Rooms")[1]
    rooms = re.findall(r"`((?:solver|adapters)/[a-z_.]+)`", table)
    assert rooms
    assert all((ROOT / room).exists() for room in rooms)
