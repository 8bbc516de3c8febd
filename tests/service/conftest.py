"""A real server in this process, on a free port, and channels to it."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from solver.api.v1 import cluster_service_pb2_grpc, ledger_service_pb2_grpc, placement_service_pb2_grpc
from solver.service import logs
from solver.service.config import Auth, Drain, Logs, ServiceConfig, Tls
from solver.service.server import Server

#: Quick to notice changed files, and quick to end.
CONFIG = ServiceConfig(
    listen="127.0.0.1:0",
    tls=Tls(reload_s=0),
    auth=Auth(reload_s=0),
    logs=Logs(),
    drain=Drain(grace_s=2.0, stop_s=5.0),
)


@dataclass
class Running:
    """A server, and a plaintext channel to it."""

    server: Server
    port: int
    channel: grpc.Channel
    log_text: io.StringIO = field(repr=False)

    @property
    def target(self) -> str:
        """Address for clients."""
        return f"localhost:{self.port}"

    @property
    def placement(self) -> placement_service_pb2_grpc.PlacementServiceStub:
        """Stub on the channel."""
        return placement_service_pb2_grpc.PlacementServiceStub(self.channel)

    @property
    def cluster(self) -> cluster_service_pb2_grpc.ClusterServiceStub:
        """Stub on the channel."""
        return cluster_service_pb2_grpc.ClusterServiceStub(self.channel)

    @property
    def ledger(self) -> ledger_service_pb2_grpc.LedgerServiceStub:
        """Stub on the channel."""
        return ledger_service_pb2_grpc.LedgerServiceStub(self.channel)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Lines of the log so far."""
        return [json.loads(line) for line in self.log_text.getvalue().splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines about one kind of event."""
        return [line for line in self.log if line["event"] == event]


Serve = Callable[..., Running]


@pytest.fixture
def log_text() -> Iterator[io.StringIO]:
    """Everything that is logged during a test."""
    text = io.StringIO()
    logs.configure(CONFIG.logs, text)
    yield text
    logs.reset()


@pytest.fixture
def serve(log_text: io.StringIO) -> Iterator[Serve]:
    """Start a server: `serve()` with the configuration above, `serve(config)` or `serve(limits=Limits(…))`."""
    with ExitStack() as running:

        def started(config: ServiceConfig = CONFIG, **sections: Any) -> Running:
            server = Server(replace(config, **sections))
            port = server.start()
            running.callback(server.stop, 0)
            channel = running.enter_context(grpc.insecure_channel(f"localhost:{port}"))
            return Running(server, port, channel, log_text)

        yield started


@pytest.fixture
def server(serve: Serve) -> Running:
    """A server with every service, in plaintext, open to everybody on this machine."""
    return serve()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with one token for each role: `TOKENS`."""
    path = tmp_path / "tokens"
    path.write_text("".join(f"{name} {name} {token}\n" for name, token in TOKENS.items()))
    path.chmod(0o600)
    return path


#: Role → a token that has it.
TOKENS = {role: f"{role}-0123456789abcdef-secret" for role in ("read", "plan", "write")}


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call that shows a token."""
    return (("authorization", f"Bearer {token}"),)


def until(true: Callable[[], object]) -> None:
    """Wait for what comes soon; what has not come after two minutes never comes, on a loaded machine too."""
    last = time.monotonic() + 120
    while not true():
        assert time.monotonic() < last, "it never came"
        time.sleep(0.01)
