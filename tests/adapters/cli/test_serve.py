"""`huddle serve`: as a process that is started, asked, told to end; and what it refuses to start with."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from adapters.cli.serve import LEVELS
from solver.service.config import Level
from tests.adapters.cli.conftest import Run, Write

ROOT = Path(__file__).resolve().parents[3]
PUT = "/huddle.v1.ClusterService/PutSnapshot"


@dataclass
class Service:
    """A process and what it said when it was ready."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def target(self) -> str:
        """Address for clients."""
        return f"localhost:{self.ready['port']}"

    def told(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def line(self, event: str) -> dict[str, Any]:
        """The next line about an event; others before it are skipped."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"the log ended without {event}")

    def ended(self) -> int:
        """Exit code of a process that ends by itself; nothing but JSON is left in its log."""
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        assert [line for line in rest.splitlines() if not line.startswith("{")] == []
        return self.process.wait(60)


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `huddle serve` on a free port and wait until it is ready."""
    with ExitStack() as running:

        def started(*arguments: str) -> Service:
            command = [sys.executable, "-m", "adapters.cli", "serve", "--listen", "127.0.0.1:0", *arguments]
            process = running.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            running.callback(process.kill)
            service = Service(process, {})
            service.ready = service.line("ready")
            return service

        yield started


def healthy(channel: grpc.Channel) -> bool:
    """Whether the service says that it serves."""
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(start: Start, tmp_path: Path, number: int) -> None:
    """Ready on a free port, healthy, exit 0; promises are in the file that was named; stdout stays empty."""
    service = start("--ledger", str(tmp_path / "promises.db"), "--metrics", "127.0.0.1:0", "--log-level", "warning")
    assert service.ready["port"] > 0
    assert service.ready["metrics_port"] > 0
    with grpc.insecure_channel(service.target) as channel:
        assert healthy(channel)
    service.told(number)
    assert service.ended() == 0
    assert (tmp_path / "promises.db").exists()
    assert service.process.stdout is not None
    assert service.process.stdout.read() == ""


def test_a_running_call_ends_before_the_process_does(start: Start) -> None:
    """SIGTERM lets it; then exit 0."""
    service = start("--grace", "1h")
    with grpc.insecure_channel(service.target) as channel:
        call, end = _held(channel)
        service.told(signal.SIGTERM)
        service.line("draining")
        end()
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert service.ended() == 0


def test_a_second_signal_ends_at_once(start: Start) -> None:
    """The call is cancelled, and it is exit 0 all the same."""
    service = start("--grace", "1h")
    with grpc.insecure_channel(service.target) as channel:
        call, end = _held(channel)
        service.told(signal.SIGTERM)
        service.line("draining")
        service.told(signal.SIGTERM)
        assert service.ended() == 0
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        end()


def test_a_grace_that_is_over_ends_too(start: Start) -> None:
    """The same without a second signal."""
    service = start("--grace", "100ms")
    with grpc.insecure_channel(service.target) as channel:
        _, end = _held(channel)
        service.told(signal.SIGTERM)
        assert service.ended() == 0
        end()


def test_settings_in_force_are_printed(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options over the environment over the file, as TOML that can be used again; the token is not there."""
    tokens = write("tokens", "a read 0123456789abcdef-secret\n")
    Path(tokens).chmod(0o600)
    config = write("serve.toml", f"[drain]\ngrace_s = 1\n[limits]\nmax_nodes = 5\n[auth]\ntoken_file = '{tokens}'\n")
    monkeypatch.setenv("HUDDLE_SERVE_DRAIN_GRACE_S", "2")
    monkeypatch.setenv("HUDDLE_SERVE_LIMITS_MAX_GANGS", "6")
    first = run("serve", "--config", config, "--grace", "3s", "--insecure", "--print-config")
    assert first.exit_code == 0
    for line in ("grace_s = 3.0", "max_nodes = 5", "max_gangs = 6", "insecure = true", "# cert_file = none"):
        assert line in first.stdout.splitlines()
    assert "secret" not in first.output
    again = run("serve", "--config", write("again.toml", first.stdout), "--grace", "3s", "--print-config")
    assert again.stdout == first.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--listen", "0.0.0.0:0"],
            "huddle: command line: listen: 0.0.0.0:0 is not loopback, and without tls.cert_file",
        ),
        (["--listen", "nowhere"], "huddle: command line: listen: 'nowhere' is not HOST:PORT"),
        (["--config", "absent.toml"], "huddle: config absent.toml: No such file or directory"),
        (["--tls-cert", "absent.crt"], "huddle: tls.cert_file and key_file: one is given without the other"),
        (
            ["--tls-cert", "absent.crt", "--tls-key", "absent.key"],
            "huddle: certificate absent.crt with key absent.key: No",
        ),
        (["--tokens", "absent"], "huddle: tokens absent: No such file or directory"),
        (["--grace", "5"], "huddle: Invalid value for '--grace': '5' is not a duration"),
        (["--log-level", "loud"], "huddle: Invalid value for '--log-level'"),
        (["--nonsense"], "huddle: No such option"),
        (["extra"], "huddle: Got unexpected extra argument"),
    ],
)
def test_what_cannot_be_started_is_one_line(run: Run, arguments: list[str], told: str) -> None:
    """Exit 2, and what is wrong."""
    result = run("serve", "--listen", "127.0.0.1:0", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(told)
    assert len(result.stderr.splitlines()) == 1


def test_an_address_in_use(run: Run) -> None:
    """Exit 2 and the address, whoever has it, another Huddle too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("serve", "--listen", address)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"huddle: listen: {address}: Address already in use"


def test_two_services_do_not_share_a_port(start: Start, run: Run) -> None:
    """The second is refused instead of taking every other connection."""
    service = start()
    result = run("serve", "--listen", f"127.0.0.1:{service.ready['port']}")
    assert result.exit_code == 2
    service.told(signal.SIGTERM)
    assert service.ended() == 0


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without grpc there is one line that says what to install, and the settings can still be read."""
    for name in [name for name in sys.modules if name.startswith("solver.service.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    result = run("serve")
    assert result.exit_code == 2
    assert result.stderr == "huddle: huddle serve needs the extra `service`: pip install 'huddle-scheduler[service]'\n"
    assert run("serve", "--print-config").exit_code == 0


def test_help_loads_no_grpc(run: Run) -> None:
    """Help stays fast, has an example, and names every level there is."""
    code = (
        "import sys; from adapters.cli.main import huddle\n"
        "try: huddle.main(['serve', '--help'], prog_name='huddle')\n"
        "finally: print({'grpc', 'ortools', 'structlog'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "Examples:" in done.stdout
    assert list(LEVELS) == list(Level)
    assert "|".join(LEVELS) in done.stdout


def _held(channel: grpc.Channel) -> tuple[Any, Callable[[], None]]:
    """A call that is inside the service, and what ends it. Calls enter in order: the one after it has its answer."""
    read, write = os.pipe()

    def requests() -> Iterator[bytes]:
        os.read(read, 1)
        yield b""

    call = channel.stream_unary(PUT).future(requests(), wait_for_ready=True)
    channel.unary_unary("/huddle.v1.ClusterService/GetState")(b"", timeout=20)
    return call, lambda: os.close(write)
