"""The tests that need the control plane: what fails runs once more by itself, and both outcomes are printed as `flaky`.

A real control plane on a loaded machine is late now and then. A test that fails twice is broken, and the run fails; one
that passes the second time is named, so that its cause can be looked for (tests/controlplane/README.md keeps the list).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: More failures than this are no coincidence, and nothing runs again.
MOST_AGAIN = 10
#: Exit codes of pytest: all passed, some failed.
_PASSED, _FAILED = 0, 1
_SELECTION = "controlplane and not soak"


def main(options: Sequence[str]) -> int:
    """Run them with these options of pytest, and once more what failed; 0 when every test passed at least once."""
    with tempfile.TemporaryDirectory() as cache:
        first = _pytest(cache, "-m", _SELECTION, *options)
        failed = _failed(cache)
        if first != _FAILED or not failed:
            return first
        if len(failed) > MOST_AGAIN:
            print(f"\n{len(failed)} tests failed, more than {MOST_AGAIN}: none runs again")
            return first
        outcomes = {test: _pytest(cache, "--numprocesses", "0", test) == _PASSED for test in failed}
    print("\n" + report(outcomes))
    return _PASSED if all(outcomes.values()) else _FAILED


def report(outcomes: dict[str, bool]) -> str:
    """What is printed of tests that failed beside others. outcomes: whether each passed by itself."""
    lines = [f"{test}: failed beside others, {'passed' if ok else 'failed'} alone" for test, ok in outcomes.items()]
    return "\n".join(["=== flaky ===", *lines])


def _pytest(cache: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "--override-ini", f"cache_dir={cache}", *arguments]
    return subprocess.run(command, check=False).returncode


def _failed(cache: str) -> list[str]:
    """Tests that failed in the last run, by node id."""
    found = Path(cache) / "v" / "cache" / "lastfailed"
    return sorted(json.loads(found.read_text(encoding="utf-8"))) if found.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
