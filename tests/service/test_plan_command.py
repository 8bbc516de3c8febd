"""`huddle plan --server`: what a service answers is printed as what this process would answer."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.cli.main import huddle
from support.terminals import watched
from tests.adapters.cli.test_interrupts import jobs
from tests.service.conftest import CONFIG, TOKENS, Running, Serve

DATASETS = Path(__file__).parents[2] / "datasets"
MIXED, H100 = DATASETS / "clusters/mixed-16.yaml", DATASETS / "clusters/h100-64.yaml"
GANGS = {
    MIXED: ("1p1d", "1p1d-rack", "4p8d", "wide-ep"),
    H100: ("1p1d-rack", "4p8d-block", "16p16d", "16p16d-zone", "dynamo-4p8d"),
}

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run `huddle plan` with arguments."""
    return lambda *arguments: CliRunner().invoke(huddle, ["plan", *map(str, arguments)], prog_name="huddle")


def without_times(text: str) -> Any:
    """The document without what differs from run to run."""
    document = json.loads(text)
    for stats in [document["stats"], *(one.get("stats", {}) for one in document["gangs"])]:
        for key in [key for key in stats if key.endswith("_ms")]:
            del stats[key]
    return document


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("cluster", [MIXED, H100])
def test_the_same_document(run: Run, serve: Serve, cluster: Path, batch: bool) -> None:
    """Several gangs, one after another or some of them jointly, planned here and there, with time for the proof."""
    server = serve(limits=replace(CONFIG.limits, max_budget_s=600))
    gangs = [DATASETS / f"gangs/{name}.yaml" for name in (GANGS[cluster][:2] if batch else GANGS[cluster])]
    asked = [*gangs, "--cluster", cluster, "-o", "json", "--time-limit", "10m", *(["--batch"] if batch else [])]
    here, there = run(*asked), run(*asked, "--server", server.target)
    assert here.exit_code in (0, 3), here.output
    assert there.exit_code == here.exit_code, there.output
    assert without_times(there.stdout) == without_times(here.stdout)


def test_the_same_table(run: Run, server: Running) -> None:
    """What people read."""
    asked = [DATASETS / "gangs/16p16d.yaml", "--cluster", H100]
    here, there = run(*asked), run(*asked, "--server", server.target)
    assert there.exit_code == 0, there.output
    assert there.stdout.splitlines()[:30] == here.stdout.splitlines()[:30]


def test_a_refusal_names_the_file(run: Run, server: Running, tmp_path: Path) -> None:
    """What only the planner sees is wrong is told with the file, as here."""
    path = tmp_path / "gang.yaml"
    text = (DATASETS / "gangs/1p1d-rack.yaml").read_text()
    path.write_text(text.replace("required: rack", "required: shelf"))
    here = run(path, "--cluster", MIXED)
    there = run(path, "--cluster", MIXED, "--server", server.target)
    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr)
    assert here.exit_code == 2
    assert "shelf" in here.stderr


def test_credentials(run: Run, serve: Serve, token_file: Path, tmp_path: Path) -> None:
    """A token from a file; without it one sentence."""
    target = serve(auth=replace(CONFIG.auth, token_file=token_file)).target
    own = tmp_path / "token"
    own.write_text(TOKENS["plan"] + "\n")
    asked = [DATASETS / "gangs/1p1d-rack.yaml", "--cluster", MIXED, "-o", "json", "--server", target]
    assert run(*asked, "--server-token", own).exit_code == 0
    refused = run(*asked)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert target in refused.stderr
    missing = run(*asked, "--server-token", tmp_path / "none")
    assert (missing.exit_code, missing.stderr) == (
        2,
        f"huddle: {tmp_path / 'none'}: the token cannot be read: No such file or directory\n",
    )
    for text in ("", "name plan token\n"):
        own.write_text(text)
        odd = run(*asked, "--server-token", own)
        assert (odd.exit_code, odd.stderr) == (2, f"huddle: {own}: expected one bearer token and nothing else\n")


def test_what_the_service_limits_is_told_with_the_file(run: Run, serve: Serve) -> None:
    """The service counts the gangs of a question; whoever asks knows their files."""
    target = serve(limits=replace(CONFIG.limits, max_pods=3)).target
    found = run(DATASETS / "gangs/4p8d.yaml", "--cluster", MIXED, "--server", target)
    assert found.exit_code == 2
    assert "4p8d.yaml" in found.stderr
    assert found.stderr.endswith("more than 3 pods in one call, which is the limit\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--server", "127.0.0.1:1"], "127.0.0.1:1"),
        (["--server", "nowhere"], "HOST:PORT"),
        (["--server-ca", "ca.pem"], "--server"),
        (["--server", "127.0.0.1:1", "--server-cert", "cert.pem"], "together"),
        (["--server", "127.0.0.1:1", "--server-ca", "missing.pem"], "missing.pem"),
    ],
)
def test_servers_that_cannot_be_asked(run: Run, options: list[str], told: str) -> None:
    """One sentence, exit 2."""
    found = run(DATASETS / "gangs/1p1d-rack.yaml", "--cluster", MIXED, *options)
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""


def test_ctrl_c_gives_what_the_service_has_told(serve: Serve, tmp_path: Path) -> None:
    """While a batch is improved there, all of its gangs are planned already; the service is free afterwards."""
    server = serve(limits=replace(CONFIG.limits, max_budget_s=600))
    path = tmp_path / "jobs.yaml"
    path.write_text(jobs(12))
    arguments = ["plan", str(path), "--cluster", str(H100), "-o", "json", "--batch", "--time-limit", "10m"]
    with watched(["-m", "adapters.cli", *arguments, "--server", server.target]) as process:
        process.until("12 of 12 gangs planned | best ")
        process.signalled(signal.SIGINT)
        ended, out = process.ended()
    assert ended == 130
    document = json.loads(out)
    assert all(found["assignments"] for found in document["gangs"])
    assert [warning["code"] for warning in document["warnings"]] == ["interrupted"]
    assert sum(each["value"] for each in document["batch"]["admitted"]) == 12
