"""Settings of the service: what they mean, their units, what None means, and why the defaults are what they are.

`solver.service.settings` reads them from a TOML file, the environment and flags.
"""

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from solver.domain.errors import InvalidRequest
from solver.service.roles import Role

MIB = 2**20
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})")


def _number(default: float | None, least: float, most: float) -> Any:
    """A field of a number within a range, ends included."""
    return field(default=default, metadata={"range": (least, most)})


class Section:
    """Settings that belong together. Raises InvalidRequest for a number out of its range."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for known in dataclasses.fields(self):  # type: ignore[arg-type]  # every section is a dataclass
            least, most = known.metadata.get("range", (None, None))
            value = getattr(self, known.name)
            if least is not None and value is not None and not least <= value <= most:
                raise InvalidRequest(f"{known.name}: {value:,} is out of range ({least:,} to {most:,})")


@dataclass(frozen=True, slots=True)
class Tls(Section):
    """Certificates, as PEM files; they are read again when they change, so a renewed one needs no restart.

    cert_file: chain of the server, its own certificate first; None = plaintext, which is the default because it is
    only accepted on loopback. key_file: its private key; None only together with cert_file. client_ca_file: who signs
    client certificates; with it every client must show one; None = none is asked for, tokens say who calls.
    reload_s: most seconds until a changed file is noticed; 1 costs nothing that could be measured.
    """

    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    reload_s: float = _number(1.0, 0, 3600)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidRequest("cert_file and key_file: one is given without the other")
        if self.client_ca_file is not None and self.cert_file is None:
            raise InvalidRequest("client_ca_file: client certificates need a cert_file of the server")


@dataclass(frozen=True, slots=True)
class Auth(Section):
    """Who may do what.

    token_file: bearer tokens with their roles, as TOML (`[[tokens]]` with name, role, token) or lines of
    `name role token`; None = no tokens. certificates: subject alternative name, or `CN=` and the common name, of a
    client certificate → role; certificates that are not named have no role. anonymous: role of callers without token
    and client certificate; None = write as long as nobody has credentials (no token_file, no client CA) and the
    service listens on loopback or is started insecure, otherwise nothing. open_health: whether health is answered to
    callers without credentials; true, because probes have none and health tells nothing. reload_s: most seconds until
    a changed token file is noticed.
    """

    token_file: Path | None = None
    certificates: Mapping[str, Role] = field(default_factory=dict)
    anonymous: Role | None = None
    open_health: bool = True
    reload_s: float = _number(1.0, 0, 3600)


@dataclass(frozen=True, slots=True)
class Limits(Section):
    """Most that is accepted; what is beyond is answered INVALID_ARGUMENT (a request) or RESOURCE_EXHAUSTED (a moment).

    max_message_bytes: one message; 4 MiB is what gRPC clients expect, and holds 10,000 nodes. max_nodes,
    max_bound_pods, max_snapshot_bytes: one snapshot; twice the largest measured cluster. max_clusters: held at a time.
    max_gangs, max_roles, max_pods: gangs of one call, roles of one gang, pods of one call.
    max_budget_s: longest search of one call in seconds; longer wishes are cut. default_budget_s: of a call without a
    deadline and a time limit; as long as the command's. max_solves: searches of small questions by threads at a time,
    and as many of others by processes; of either kind up to twice as many, as long as each of the further ones is the
    only one of its caller. Two, because building a model holds the interpreter's lock, so more only wait for each
    other. max_waiting: calls that may wait for a search, the next one is refused unless it is the only one of its
    caller; of those there may be as many again. max_solves_per_caller: calls of one caller, identified as for streams,
    that are solved or wait; None = half of all. search_memory_mib: most memory of one search, see
    `solver.search.options.Options`. warm_bytes: tables kept between calls, all together. max_streams: streaming calls
    of one kind (watches, plans told on the way, writes) at a time, each of which holds a thread; each kind has so many,
    so that no reader keeps a writer out.
    max_streams_per_caller: of them, of one caller, identified by the name of the token or certificate, else by
    the address; half, so that one caller alone shuts nobody out.
    max_watch_backlog: events a slow reader of a stream may fall behind. max_workers: threads that answer calls; None =
    one for each stream, search and waiting call that may be there, and some for short ones, so that none can keep
    the others out.
    """

    max_message_bytes: int = _number(4 * MIB, 64 * 1024, 1024 * MIB)
    max_nodes: int = _number(200_000, 1, 10_000_000)
    max_bound_pods: int = _number(2_000_000, 1, 100_000_000)
    max_snapshot_bytes: int = _number(512 * MIB, MIB, 64 * 1024 * MIB)
    max_clusters: int = _number(16, 1, 10_000)
    max_gangs: int = _number(256, 1, 100_000)
    max_roles: int = _number(64, 1, 10_000)
    max_pods: int = _number(10_000, 1, 10_000_000)
    max_budget_s: float = _number(60.0, 0.001, 86_400)
    default_budget_s: float = _number(5.0, 0.001, 86_400)
    max_solves: int = _number(2, 1, 1024)
    max_waiting: int = _number(16, 0, 100_000)
    max_solves_per_caller: int | None = _number(None, 1, 200_000)
    search_memory_mib: int = _number(1024, 64, 1024 * 1024)
    warm_bytes: int = _number(512 * MIB, 0, 1024 * 1024 * MIB)
    max_streams: int = _number(32, 1, 10_000)
    max_streams_per_caller: int = _number(16, 1, 10_000)
    max_watch_backlog: int = _number(1000, 1, 1_000_000)
    max_workers: int | None = _number(None, 4, 100_000)

    @property
    def max_inside(self) -> int:
        """Calls that are solved or wait for it; only ones of their callers may be as many again."""
        return self.max_solves + self.max_waiting

    @property
    def max_inside_of_caller(self) -> int:
        """Of them, of one caller."""
        return self.max_solves_per_caller or max(1, self.max_inside // 2)

    @property
    def workers(self) -> int:
        """Threads that answer calls."""
        return self.max_workers or 3 * self.max_streams + 2 * self.max_inside + 8


@dataclass(frozen=True, slots=True)
class Connections(Section):
    """Connections of clients, in seconds.

    max_age_s: a connection is asked to end after so long and clients make a new one, so that whoever lost a certificate
    loses the connection too; an hour is rare enough to cost nothing. max_age_grace_s: its calls may go on so long
    afterwards; watches beyond it begin anew. max_idle_s: a connection without calls ends after so long. ping_s: a
    silent connection is tested after so long, ping_timeout_s: and given up after so long. least_ping_s: clients that
    ping more often than that are disconnected. handshake_s: a new connection has so long to say hello, so that
    silent ones do not pile up. request_s: the message of a call that takes one has so long to come, as the call holds a
    thread until then. max_calls: calls at a time on one connection.
    """

    max_age_s: float = _number(3600.0, 1, 10**6)
    max_age_grace_s: float = _number(600.0, 1, 10**6)
    max_idle_s: float = _number(1800.0, 1, 10**6)
    ping_s: float = _number(60.0, 1, 10**6)
    ping_timeout_s: float = _number(20.0, 1, 10**6)
    least_ping_s: float = _number(10.0, 0.1, 10**6)
    handshake_s: float = _number(10.0, 0.1, 3600)
    request_s: float = _number(10.0, 0.1, 3600)
    max_calls: int = _number(128, 1, 100_000)


@dataclass(frozen=True, slots=True)
class LedgerStore(Section):
    """Where promises are kept.

    file: an SQLite database on a local disk; None = in memory, and a restart forgets every promise: good for trying
    out, and the log says so. default_lease_s: how long a reservation lasts that asks for nothing; a minute is ample
    for a controller to bind pods and short for one that died. max_lease_s: longest lease; who needs more than an hour
    can confirm instead. accept_at: start although confirmed changes are missing, if the file has exactly so many; None
    = never. An operator gives it once, with the number that the refused start has told.
    """

    file: Path | None = None
    default_lease_s: float = _number(60.0, 0.001, 86_400)
    max_lease_s: float = _number(3600.0, 0.001, 86_400)
    accept_at: int | None = _number(None, 0, 2**63 - 1)


class Level(StrEnum):
    """How much is logged; each level holds the ones after it."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Logs(Section):
    """JSON lines on stderr.

    level: info tells one line a call. calls: whether calls that went well are told; false leaves failures and what the
    service itself does.
    """

    level: Level = Level.INFO
    calls: bool = True


@dataclass(frozen=True, slots=True)
class Metrics(Section):
    """Prometheus metrics over HTTP.

    listen: `HOST:PORT`; None = off, because a port nobody asked for is a surprise, and the pages name clusters to
    every client that reaches them. Port 0 takes a free one, which the log names. Off loopback the page is served over
    HTTPS with the certificates of `tls`; without them it needs `insecure`.
    """

    listen: str | None = None

    def __post_init__(self) -> None:
        if self.listen is not None:
            _checked_address("listen", self.listen)


@dataclass(frozen=True, slots=True)
class Tracing(Section):
    """OpenTelemetry traces over OTLP.

    endpoint: `http://HOST:PORT` (plaintext) or `https://…` of a collector that speaks gRPC; None = off. sample: share
    of the calls that are traced when the caller did not decide, 0 to 1; every one, as calls are few and slow.
    """

    endpoint: str | None = None
    sample: float = _number(1.0, 0, 1)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.endpoint is None:
            return
        parts = urlsplit(self.endpoint)
        if parts.username or parts.password:
            raise InvalidRequest("endpoint: it must not hold credentials; use OTEL_EXPORTER_OTLP_HEADERS")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest("endpoint: expected http://HOST:PORT or https://HOST:PORT")


@dataclass(frozen=True, slots=True)
class Drain(Section):
    """How the service ends after SIGTERM.

    grace_s: seconds running calls may go on; 20 leaves some of the 30 that Kubernetes grants. stop_s: seconds a
    cancelled call gets to notice, after which the process ends all the same.
    """

    grace_s: float = _number(20.0, 0, 86_400)
    stop_s: float = _number(5.0, 0, 3600)


@dataclass(frozen=True, slots=True)
class ServiceConfig(Section):
    """Everything.

    listen: `HOST:PORT`, port 0 takes a free one; loopback, because nothing else is safe without certificates.
    insecure: accept plaintext, and callers without credentials, on every address. reflection: whether clients may ask
    for the contract; true, because it is public.
    """

    listen: str = "127.0.0.1:50551"
    insecure: bool = False
    reflection: bool = True
    tls: Tls = field(default_factory=Tls)
    auth: Auth = field(default_factory=Auth)
    limits: Limits = field(default_factory=Limits)
    connections: Connections = field(default_factory=Connections)
    ledger: LedgerStore = field(default_factory=LedgerStore)
    logs: Logs = field(default_factory=Logs)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Tracing)
    drain: Drain = field(default_factory=Drain)

    def __post_init__(self) -> None:
        host, _ = _checked_address("listen", self.listen)
        if self.auth.certificates and self.tls.client_ca_file is None:
            raise InvalidRequest("auth.certificates: no client shows a certificate without tls.client_ca_file")
        if self.insecure:
            return
        self._check_metrics()
        if is_loopback(host):
            return
        if self.tls.cert_file is None:
            raise InvalidRequest(
                f"listen: {self.listen} is not loopback, and without tls.cert_file everything would travel in "
                "plaintext; give certificates or say --insecure"
            )
        if not self.has_credentials and self.auth.anonymous is None:
            raise InvalidRequest(
                f"listen: {self.listen} is not loopback, and nobody could be told apart; "
                "give auth.token_file, tls.client_ca_file, or a role as auth.anonymous"
            )

    def _check_metrics(self) -> None:
        listen = self.metrics.listen
        if listen is None or is_loopback(split_address(listen)[0]) or self.tls.cert_file is not None:
            return
        raise InvalidRequest(
            f"metrics.listen: {listen} is not loopback, and without tls.cert_file everybody could read the "
            "metrics in plaintext; give certificates or say --insecure"
        )

    @property
    def has_credentials(self) -> bool:
        """Whether callers can show who they are."""
        return self.auth.token_file is not None or self.tls.client_ca_file is not None

    @property
    def anonymous_role(self) -> Role | None:
        """Role of callers without credentials; None = they are refused."""
        if self.auth.anonymous is not None or self.has_credentials:
            return self.auth.anonymous
        return Role.WRITE


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError with one sentence."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if int(match["port"]) > 65_535:
        raise ValueError(f"port {match['port']} is out of range (0 to 65,535)")
    return match["ipv6"] or match["host"], int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_address(key: str, text: str) -> tuple[str, int]:
    try:
        return split_address(text)
    except ValueError as error:
        raise InvalidRequest(f"{key}: {error}") from error
