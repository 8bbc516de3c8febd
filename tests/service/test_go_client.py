"""A client that is not ours in any line of Python: in Go, with code generated from protos/, against a real process."""

import subprocess
from pathlib import Path

import pytest

from support.serving import served

pytestmark = pytest.mark.controlplane


def test_a_client_in_go_plans_a_gang(goclient: Path, tmp_path: Path) -> None:
    """It puts two racks of two nodes, and its gang of 12 GPUs comes to lie in one of them, proven best."""
    with served(tmp_path) as service:
        call = subprocess.run([goclient, service.address], capture_output=True, text=True, timeout=60)
    assert call.returncode == 0, call.stderr + service.daemon.tail()
    lines = [line.split() for line in call.stdout.splitlines()]
    assert lines[0] == ["gang", "prod/llama", "STATUS_OPTIMAL"]
    pods = {pod: (role, node) for word, pod, role, node in (line for line in lines if line[0] == "pod")}
    roles = [("prefill", 2), ("decode", 4)]
    assert {pod: role for pod, (role, _) in pods.items()} == {
        f"prod/{role}-{at}": role for role, count in roles for at in range(count)
    }
    nodes = [node for _, node in pods.values()]
    assert len({node[0] for node in nodes}) == 1
    assert all(nodes.count(node) <= 4 for node in nodes)
    terms = {term: (value, bound) for word, term, value, bound in (line for line in lines if line[0] == "term")}
    assert set(terms) >= {"replicas", "transfer_us", "fragmentation"}
    assert all(value == bound for value, bound in terms.values())


def test_a_client_in_go_hears_that_nobody_is_there(goclient: Path) -> None:
    """One line, and a failure."""
    call = subprocess.run([goclient, "127.0.0.1:1"], capture_output=True, text=True, timeout=60)
    assert call.returncode == 1
    assert call.stdout == ""
    assert "Unavailable" in call.stderr
