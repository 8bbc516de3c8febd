"""A kube-scheduler that asks Huddle, through a proxy that keeps every body and can be slow, or away."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from support.own_loop import OwnLoop

CONFIG = Path(__file__).parents[2] / "deploy" / "extender" / "scheduler.yaml"
#: Retries of the scheduler come sooner than in a cluster.
SOON = {"podInitialBackoffSeconds": 1, "podMaxBackoffSeconds": 2}
MOST_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its answer."""

    verb: str
    asked: bytes
    status: int
    answered: bytes


class ExtenderProxy(OwnLoop):
    """Passes calls on to `target`, a port of this machine; None: nobody is there. A thread of its own.

    delay_s: each call is held up so long before it goes on. calls: everything so far, unless keeps is false.
    """

    def __init__(self, target: int | None = None, keeps: bool = True) -> None:
        super().__init__()
        self.target, self.delay_s, self.keeps = target, 0.0, keeps
        self.calls: list[Call] = []

    def of(self, verb: str) -> list[Call]:
        """Calls of one verb so far."""
        return [call for call in tuple(self.calls) if call.verb == verb]

    async def _begin(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60.0))
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post("/{verb}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.Response:
        verb, data = request.match_info["verb"], await request.read()
        await asyncio.sleep(self.delay_s)
        if self.target is None:
            return web.Response(status=502)
        try:
            async with self._session.post(f"http://127.0.0.1:{self.target}/{verb}", data=data) as answer:
                body = await answer.read()
        except aiohttp.ClientError:
            return web.Response(status=502)
        if self.keeps:
            self.calls.append(Call(verb, data, answer.status, body))
        return web.Response(status=answer.status, body=body, content_type="application/json")


def scheduler_config(port: int, **changes: Any) -> Mapping[str, Any]:
    """The KubeSchedulerConfiguration of deploy/, in plaintext to a port of this machine; changes: of its extender."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (extender,) = config["extenders"]
    extender |= {"urlPrefix": f"http://127.0.0.1:{port}", "enableHTTPS": False, **changes}
    del extender["tlsConfig"]
    return {**config, **SOON, "extenders": [extender]}
