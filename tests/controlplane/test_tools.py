"""The programs that speak to a gRPC server from outside can be run."""

import subprocess
from pathlib import Path


def test_grpcurl(grpcurl: Path) -> None:
    """It runs, and says so when nobody listens."""
    call = subprocess.run(
        [grpcurl, "-plaintext", "-connect-timeout", "1", "127.0.0.1:1", "list"], capture_output=True, text=True
    )
    assert call.returncode != 0
    assert "Failed to dial" in call.stderr


def test_ghz(ghz: Path) -> None:
    """It runs and tells its version."""
    call = subprocess.run([ghz, "--version"], capture_output=True, text=True, check=True)
    assert (call.stdout + call.stderr).strip().startswith("v0.")
