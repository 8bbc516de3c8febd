"""`huddle controller`: what it refuses before it asks any API server."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.cli.controller import config
from tests.adapters.cli.conftest import Run


def test_no_kubeconfig(run: Run, tmp_path: Path) -> None:
    """One line names the file and the option."""
    path = tmp_path / "none"
    done = run("controller", "--kubeconfig", str(path))
    assert done.exit_code == 2
    assert done.stderr == f"huddle: {path}: no such kubeconfig; name one with --kubeconfig or $KUBECONFIG\n"


def test_nobody_answers(run: Run, tmp_path: Path) -> None:
    """One line names the address."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    path = tmp_path / "kubeconfig"
    body = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": [user]}
    path.write_text(json.dumps({**body, "current-context": "x"}), encoding="utf-8")
    done = run("controller", "--kubeconfig", str(path), "--no-leader-election")
    assert done.exit_code == 2
    assert "http://127.0.0.1:1 cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--listen", "8080"), "'8080' is not HOST:PORT"),
        (("--grace", "soon"), "'soon' is not a duration"),
        (("--log-level", "loud"), "'loud' is not one of"),
        (("--hand", "bind"), "No such option"),
        (("--accelerator", "card"), "accelerators: 'card' is no name like example.com/device"),
    ],
)
def test_options_that_make_no_sense(run: Run, options: tuple[str, ...], problem: str) -> None:
    """One line, exit 2."""
    done = run("controller", *options)
    assert done.exit_code == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_variable_for_every_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options stand in the environment, too."""
    monkeypatch.setenv("HUDDLE_CONTROLLER_LISTEN", "nowhere")
    assert "'nowhere' is not HOST:PORT" in run("controller").stderr


def test_settings() -> None:
    """Options come to settings; the holder of a Lease stops before others begin."""
    given: dict[str, Any] = {
        "kubeconfig": None,
        "context": None,
        "namespaces": ("a",),
        "grace": 60.0,
        "fair_after": 30.0,
        "refused_after": 5.0,
        "unheard_after": 6.0,
        "silent_after": 7.0,
        "listen": ("::1", 80),
        "lease_namespace": "ns",
        "lease_name": "l",
        "lease_duration": 15.0,
    }
    one, two = (config(**given, no_leader_election=alone, accelerators=["a.b/*"]) for alone in (False, True))
    assert one.accelerators.added == ("a.b/*",)
    assert one.instance != two.instance
    assert two.lease is None
    assert one.lease is not None
    assert (one.lease.namespace, one.lease.name, one.lease.times.renew_s) == ("ns", "l", 10.0)
    assert (one.settings.grace_s, one.settings.silent_node_s, one.namespaces) == (60.0, 7.0, ("a",))
