"""The run of the control-plane tests gives what failed one more try, and says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import support

TESTS = """
from pathlib import Path
import pytest

pytestmark = pytest.mark.controlplane


def test_steady():
    assert True


def test_late_once():
    mark = Path("was-here")
    was_here = mark.exists()
    mark.touch()
    assert was_here


@pytest.mark.parametrize("number", range(BROKEN))
def test_broken(number):
    assert False


@pytest.mark.soak
def test_long():
    assert False
"""
INI = "[pytest]\nmarkers =\n  controlplane: a\n  soak: b\n"


def _run(folder: Path, broken: int) -> tuple[int, str]:
    """Exit code and output of a run over tests of which `broken` always fail, and one the first time."""
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_made_up.py").write_text(TESTS.replace("BROKEN", str(broken)))
    command = [sys.executable, "-m", "support.controlplane.rerun"]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(support.__path__[0]).parent)}


def test_a_test_that_passes_alone_is_flaky_and_passes(tmp_path: Path) -> None:
    """It is printed under the heading `flaky` with both outcomes, and the run is good."""
    code, text = _run(tmp_path, broken=0)
    assert code == 0
    assert text.endswith("=== flaky ===\ntest_made_up.py::test_late_once: failed beside others, passed alone\n")


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    """The one that passed alone is printed beside it."""
    code, text = _run(tmp_path, broken=1)
    assert code == 1
    assert text.endswith(
        "=== flaky ===\n"
        "test_made_up.py::test_broken[0]: failed beside others, failed alone\n"
        "test_made_up.py::test_late_once: failed beside others, passed alone\n"
    )


def test_many_failures_are_no_coincidence(tmp_path: Path) -> None:
    """Nothing runs again, and the run fails."""
    code, text = _run(tmp_path, broken=10)
    assert code == 1
    assert text.endswith("11 tests failed, more than 10: none runs again\n")


@pytest.mark.parametrize("fixture", ["control_plane", "grpcurl"])
def test_tests_with_its_fixtures_are_marked(tmp_path: Path, fixture: str) -> None:
    """So `make test` leaves out what needs programs that a user has not built."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_made_up.py").write_text(f"def test_one({fixture}): pass\n\n\ndef test_other(): pass\n")
    options = ["-p", "support.controlplane.fixtures", "--collect-only", "-q", "-m", "not controlplane"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("test_made_up.py::test_other\n\n1/2 tests collected (1 deselected)")
