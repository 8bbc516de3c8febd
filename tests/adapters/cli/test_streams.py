"""Standard streams that are closed, full or left, and files that never come: one honest line, the right exit code."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adapters.files import fifos
from adapters.files.documents import read_text
from solver.domain.errors import SourceUnavailable
from tests.adapters.cli.conftest import Write

ROOT = Path(__file__).resolve().parents[3]
FULL = "/dev/full"
TRANSFERS = "level,bytes,ms\nrack,1000000,1\nrack,2000000,1.5\nrack,4000000,2.5\n"

needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")


def shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A line of sh in which `$0` is the command and `$1` and so on are the arguments."""
    script = f'huddle() {{ "{sys.executable}" -m adapters.cli "$@"; }}; {line}'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def transfers(write: Write) -> str:
    """Measured transfers."""
    return write("transfers.csv", TRANSFERS)


COMMANDS = (
    'huddle plan "$1" --cluster "$2"',
    'huddle topology --cluster "$2" -o yaml',
    'huddle calibrate --transfers "$3"',
    "huddle serve --print-config",
)


@needs_full
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_and_a_closed_output(command: str, gang: str, cluster: str, transfers: str) -> None:
    """The answer cannot be written: that is said, and nobody blames Huddle."""
    for where, why in ((f">{FULL}", "No space left on device"), (">&-", "it is closed")):
        done = shell(f"{command} {where}", gang, cluster, transfers)
        assert done.returncode == 2
        assert done.stderr == f"huddle: the answer cannot be written to standard output: {why}\n"


@needs_full
def test_help_and_version_on_a_full_disk() -> None:
    """Click writes these itself."""
    for command in ("huddle --help", "huddle --version", "huddle plan --help"):
        done = shell(f"{command} >{FULL}")
        assert (done.returncode, done.stderr) == (2, "huddle: reading or writing failed: No space left on device\n")


@pytest.mark.parametrize("command", [*COMMANDS, "huddle --help", "huddle plan --help"])
def test_a_reader_that_goes_is_no_error(command: str, gang: str, cluster: str, transfers: str) -> None:
    """As with `head`: nothing is said, and the exit code is that of the answer."""
    done = shell(f"{{ {command}; echo $? >&2; }} | true", gang, cluster, transfers)
    assert done.stderr == "0\n"


@needs_full
@pytest.mark.parametrize("where", ["2>&-", f"2>{FULL}"])
def test_the_answer_comes_though_nobody_hears_the_warnings(where: str, gang: str, cluster: str, write: Write) -> None:
    """Stderr is closed or full; the answer and the exit code are the same, of bad input too."""
    done = shell(f'huddle plan "$1" --cluster "$2" -o json {where}', gang, cluster)
    assert done.returncode == 0
    assert '"status": "optimal"' in done.stdout
    queued = write("queued.yaml", Path(gang).read_text().replace("spec:\n", "spec:\n  queue: nobody\n", 1))
    done = shell(f'huddle plan "$1" --cluster "$2" {where}', queued, cluster)
    assert done.returncode == 0, done
    assert "OPTIMAL" in done.stdout
    assert shell(f"huddle nonsense {where}").returncode == 2


def test_a_closed_input(cluster: str, gang: str) -> None:
    """It is named where it is asked for, and not missed where it is not."""
    for command in ('huddle plan - --cluster "$2"', "huddle topology --cluster -", "huddle calibrate --transfers -"):
        done = shell(f"{command} <&-", gang, cluster)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "huddle: <stdin>: it is closed\n"
    assert shell('huddle topology --cluster "$2" <&-', gang, cluster).returncode == 0


def test_a_snapshot_and_a_controller_without_streams(tmp_path: Path) -> None:
    """Nothing of theirs depends on a terminal: they fail for what is really missing."""
    missing = str(tmp_path / "absent")
    for command in ('huddle snapshot --kubeconfig "$1" -o "$2"', 'huddle controller --kubeconfig "$1"'):
        done = shell(f"{command} <&- >&-", missing, str(tmp_path / "out"))
        assert done.returncode == 2
        assert "no such kubeconfig" in done.stderr
        assert shell(f"{command} <&- >&- 2>&-", missing, str(tmp_path / "out")).returncode == 2


def test_a_fifo_that_nobody_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends after a while with one sentence."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    monkeypatch.setattr(fifos, "WAIT_S", 0.05)
    with pytest.raises(SourceUnavailable, match="is a FIFO that nobody writes to"):
        read_text(path)


def test_a_fifo_whose_writer_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may take longer; all that is written is read."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    monkeypatch.setattr(fifos, "WAIT_S", 0.05)
    handle = os.open(path, os.O_RDWR)
    text: list[str] = []
    reader = threading.Thread(target=lambda: text.append(read_text(path)[0]))
    reader.start()
    reader.join(0.5)
    assert reader.is_alive()
    os.write(handle, b"hello" * 1000)
    os.close(handle)
    reader.join(60)
    assert text == ["hello" * 1000]
