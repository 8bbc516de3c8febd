"""A proxy in front of the API server that fails on purpose: errors, lost answers, watches cut short, delays."""

import asyncio
import json
import random
import ssl
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from support.controlplane.plane import ControlPlane
from support.own_loop import OwnLoop

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Headers that belong to one connection.
_HOP = frozenset(
    {"connection", "content-encoding", "content-length", "date", "host", "keep-alive", "transfer-encoding"}
)
#: TLS connections close in the background; nobody tells when they have.
CLOSING_S = 0.3
_REASONS = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests, 0 to 1, that go wrong, and in which way.

    busy: 429 with Retry-After, never passed on. broken: 500, never passed on. conflict: writes answered 409, never
    passed on. lost: writes that happen, but whose answer is a broken connection; half of them: 500. cut: watches that
    break in the middle of a line, after up to cut_s seconds. slow: held up for up to slow_s seconds. leases: whether
    Leases suffer too.
    """

    busy: float = 0.0
    broken: float = 0.0
    conflict: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    slow: float = 0.0
    cut_s: float = 2.0
    slow_s: float = 0.5
    leases: bool = False


NONE = Faults()


class FaultyProxy(OwnLoop):
    """Passes everything on to a control plane but for the faults; a thread of its own, TLS on both sides.

    faults: may be replaced at any time. done: what went wrong so far, by kind.
    """

    def __init__(self, plane: ControlPlane, folder: Path, faults: Faults = NONE, seed: int = 0) -> None:
        super().__init__()
        self.faults, self.done = faults, Counter[str]()
        self._plane, self._folder, self._rng = plane, folder, random.Random(seed)

    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig that leads here."""
        text = self._plane.kubeconfig(user).read_text(encoding="utf-8")
        path = self._folder / f"kubeconfig-faulty-{user}"
        path.write_text(text.replace(self._plane.url, self.url), encoding="utf-8")
        return path

    async def _begin(self) -> None:
        upstream = ssl.create_default_context(cafile=str(self._plane.ca))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=upstream, limit=0), auto_decompress=False, timeout=_NO_TIMEOUT
        )
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._server_context())
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(CLOSING_S)

    def _server_context(self) -> ssl.SSLContext:
        identity = self._plane.authority.server()
        files = {"faulty.pem": identity.certificate, "faulty.key": identity.key}
        for name, data in files.items():
            (self._folder / name).write_bytes(data)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(self._folder / name for name in files))
        return context

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        spared = not self.faults.leases and "/leases" in request.path
        faults = NONE if spared else self.faults
        if self._happens("slow", faults.slow):
            await asyncio.sleep(self._rng.random() * faults.slow_s)
        refusal = self._refusal(request, faults)
        if refusal is not None:
            return refusal
        try:
            return await self._passed_on(request, faults)
        except aiohttp.ClientError:
            return _status(503, "ServiceUnavailable")

    def _refusal(self, request: web.Request, faults: Faults) -> web.Response | None:
        """An answer that never went further than here."""
        if self._happens("busy", faults.busy):
            return _status(429, _REASONS[429], {"Retry-After": "1"})
        if self._happens("broken", faults.broken):
            return _status(500, _REASONS[500])
        if request.method in WRITES and self._happens("conflict", faults.conflict):
            return _status(409, _REASONS[409])
        return None

    async def _passed_on(self, request: web.Request, faults: Faults) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        data = await request.read()
        async with self._session.request(
            request.method, self.url_of(request), headers=headers, data=data or None, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if request.query.get("watch") in ("1", "true"):
                return await self._watched(request, answer, kept, faults)
            body = await answer.read()
            if answer.headers.get("Content-Encoding"):
                kept["Content-Encoding"] = answer.headers["Content-Encoding"]
        if request.method in WRITES and self._happens("lost", faults.lost):
            return self._lost(request)
        return web.Response(status=answer.status, body=body, headers=kept)

    def url_of(self, request: web.Request) -> str:
        """Where the request really goes."""
        return self._plane.url + request.raw_path

    def _lost(self, request: web.Request) -> web.Response:
        """It happened, but who asked does not hear of it."""
        if self._rng.random() < 0.5 and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError
        return _status(500, _REASONS[500])

    async def _watched(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: Mapping[str, str], faults: Faults
    ) -> web.StreamResponse:
        """Pass on what comes, until it ends or is cut."""
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        cut_s = self._rng.random() * faults.cut_s if self._happens("cut", faults.cut) else None
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(cut_s):
                async for part in answer.content.iter_any():
                    await response.write(part)
                return response
        with suppress(ConnectionError):
            await response.write(b'{"type":"ADDED","obj')
        if request.transport is not None:
            request.transport.abort()
        return response

    def _happens(self, fault: str, share: float) -> bool:
        happens = self._rng.random() < share
        self.done[fault] += happens
        return happens


_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10.0)


def _status(status: int, reason: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "this was made to fail",
        "reason": reason,
        "code": status,
    }
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/json", **(headers or {})}
    )
