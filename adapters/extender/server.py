"""The extender webhook: HTTP or HTTPS for kube-scheduler, open while its controller leads, otherwise 503."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web

from adapters.apply.door import Term
from adapters.apply.metrics import Metrics
from adapters.apply.naming_node import MANAGED, Extended
from adapters.extender.certificates import RELOAD_S, Certificates
from adapters.extender.desk import Answer, Desk
from adapters.extender.leader import Leader, PodName
from adapters.extender.wire import Malformed
from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.service.config import is_loopback

VERBS = ("filter", "prioritize", "bind", "preempt")
#: Largest body in bytes: whole objects of some 3,000 nodes; the names of 20,000; and one binding.
MOST_BYTES, MOST_BYTES_NAMES, MOST_BYTES_BIND = 64 * 2**20, 2 * 2**20, 64 * 2**10
#: Longest that a body may take to come, in seconds: the httpTimeout of the schedulers.
BODY_S = 5.0
#: Bodies that are being read or answered at a time: of bindings, which come in crowds, and of other questions.
MOST_BINDINGS, MOST_QUESTIONS = 256, 8

_log = structlog.get_logger("huddle.extender")


@dataclass(frozen=True, slots=True)
class ExtenderConfig:
    """How the extender is served. Raises InvalidRequest for what would not be safe.

    listen: host and port. schedulers: names of the schedulers that ask it. resources: of the pods about which they do.
    cert, key: PEM files, for HTTPS. client_ca: who signs the certificates that clients have to show; needed off
    loopback, where anybody could have pods bound. reload_s: until changed files are noticed. insecure: neither is
    needed on any address. names_only: the schedulers send names of nodes (nodeCacheCapable), so bodies are small.
    wait_s: longest that a bind waits for the others of its gang, less than the httpTimeout of the schedulers. pod: of
    this replica, labelled while it leads.
    """

    listen: tuple[str, int]
    schedulers: tuple[str, ...] = ("default-scheduler",)
    resources: tuple[str, ...] = MANAGED
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    insecure: bool = False
    names_only: bool = False
    wait_s: float = 3.0
    reload_s: float = RELOAD_S
    pod: PodName | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None) or (self.client_ca and not self.cert):
            raise InvalidRequest("--extender-cert and --extender-key go together, and --extender-client-ca with them")
        if self.client_ca is None and not self.insecure and not is_loopback(self.listen[0]):
            raise InvalidRequest(
                f"--extender-listen {self.listen[0]} is not loopback, and every client that reaches it can have pods "
                "bound: give --extender-cert, --extender-key and --extender-client-ca, or say --extender-insecure"
            )

    def most_bytes(self, verb: str) -> int:
        """Size of the largest body of a verb."""
        if verb == "bind":
            return MOST_BYTES_BIND
        return MOST_BYTES_NAMES if self.names_only else MOST_BYTES


class Extender:
    """The door for kube-scheduler (`adapters.apply.door.Door`)."""

    def __init__(self, config: ExtenderConfig) -> None:
        self._config = config
        self._desk: Desk | None = None
        self._inside = dict.fromkeys(VERBS, 0)
        self.extended = Extended(frozenset(config.schedulers), frozenset(config.resources))

    @asynccontextmanager
    async def served(self, metrics: Metrics) -> AsyncIterator[int]:
        """Listen while the block runs; gives the port.

        Raises SourceUnavailable for the address, InvalidRequest for the certificates.
        """
        app = web.Application()
        app.add_routes([web.post(f"/{verb}", partial(self._answered, metrics, verb)) for verb in VERBS])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, port = self._config.listen
        try:
            try:
                await web.TCPSite(runner, host, port, ssl_context=_tls(self._config)).start()
            except OSError as error:
                raise SourceUnavailable(f"--extender-listen {host}:{port}: {error.strerror or error}") from error
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def opened(self, term: Term) -> None:
        """Answer from this term until cancelled."""
        self._desk = Desk(term, self.extended, self._config.wait_s)
        try:
            if self._config.pod is not None:
                await Leader(term.calls, self._config.pod).run()
            await asyncio.Event().wait()
        finally:
            self._desk = None

    async def _answered(self, metrics: Metrics, verb: str, request: web.Request) -> web.Response:
        began = time.perf_counter()
        response, outcome = await self._answer(verb, request)
        metrics.extender(verb, outcome, time.perf_counter() - began)
        return response

    async def _answer(self, verb: str, request: web.Request) -> tuple[web.Response, str]:
        """Whether anything is answered is seen before a byte of the body is read."""
        if self._desk is None:
            return _said(503, "this replica does not lead"), "not_leading"
        if self._is_full(verb):
            return _said(503, "too many questions at a time"), "busy"
        self._inside[verb] += 1
        try:
            data = await _body(request, self._config.most_bytes(verb))
            return await self._answer_to(verb, data)
        except _BodyTooLarge:
            return _said(413, f"the body of {verb} is larger than {self._config.most_bytes(verb)} bytes"), "too_large"
        except TimeoutError:
            return _said(408, f"the body did not come within {BODY_S:g} s"), "too_slow"
        finally:
            self._inside[verb] -= 1

    def _is_full(self, verb: str) -> bool:
        bindings = self._inside["bind"]
        return bindings >= MOST_BINDINGS if verb == "bind" else sum(self._inside.values()) - bindings >= MOST_QUESTIONS

    async def _answer_to(self, verb: str, data: bytes) -> tuple[web.Response, str]:
        desk = self._desk
        if desk is None:
            return _said(503, "this replica does not lead"), "not_leading"
        does: Callable[[bytes], Awaitable[Answer]] = getattr(desk, verb)
        try:
            body, outcome = await does(data)
        except Malformed as error:
            return _said(400, str(error)), "malformed"
        except Exception:
            _log.exception("extender_failed", verb=verb)
            return _said(500, "a defect of huddle, which its log tells"), "failed"
        return web.Response(body=body, content_type="application/json"), outcome


def _said(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=f"{sentence}\n")


class _BodyTooLarge(Exception):
    """A body is larger than it may be, by what it says of its size or by what has come."""


async def _body(request: web.Request, most: int) -> bytes:
    """The whole body. Raises _BodyTooLarge, TimeoutError."""
    if (request.content_length or 0) > most:
        raise _BodyTooLarge
    data = bytearray()
    async with asyncio.timeout(BODY_S):
        async for part in request.content.iter_any():
            data += part
            if len(data) > most:
                raise _BodyTooLarge
    return bytes(data)


def _tls(config: ExtenderConfig) -> ssl.SSLContext | None:
    """What the server shows and asks of clients; None for plaintext. Raises InvalidRequest for unusable files."""
    if config.cert is None or config.key is None:
        return None
    return Certificates(config.cert, config.key, config.client_ca, config.reload_s).context
