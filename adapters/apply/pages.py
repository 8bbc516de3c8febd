"""What a controller shows over HTTP: whether it lives, whether it is ready, its metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from adapters.apply.metrics import Metrics
from solver.domain.errors import SourceUnavailable

#: Tells what keeps the controller from being ready, or from living, in one sentence each; nothing if there are none.
Obstacles = Callable[[], list[str]]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def pages(
    host: str, port: int, metrics: Metrics, obstacles: Obstacles, ailments: Obstacles = list
) -> AsyncIterator[int]:
    """Serve /healthz, /readyz and /metrics while the body runs; gives the port.

    obstacles: what keeps it from being ready. ailments: what only starting anew helps against. Raises
    SourceUnavailable when the address cannot be listened on.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _said(ailments())

    async def readyz(_: web.Request) -> web.Response:
        return _said(obstacles())

    async def shown(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": _METRICS_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", shown)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SourceUnavailable(f"--listen {host}:{port}: {error.strerror or error}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _said(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)
