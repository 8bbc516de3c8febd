"""An API server of a few lines whose faults can be chosen: for what a real one does too rarely to wait for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
#: An answer in place of the right one, or None.
Fault = Callable[[web.Request], web.StreamResponse | None]


@dataclass
class FakeApiServer:
    """Keeps objects by the path of their collection.

    asked: what was asked, such as `LIST /api/v1/nodes` and `WATCH /api/v1/nodes 7`. token: the only one it takes, if
    any. fault: asked first about every request. served: collections there are.
    """

    served: set[str]
    asked: list[str] = field(default_factory=list)
    token: str | None = None
    fault: Fault | None = None
    _objects: dict[str, dict[str, Json]] = field(default_factory=dict)
    _events: list[tuple[int, str, Json]] = field(default_factory=list)
    _version: int = 10
    _oldest: int = 0
    _watches: list[web.Request] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _hanging: bool = False

    async def put(self, path: str, name: str, **fields: Any) -> None:
        """An object appears or changes."""
        known = self._objects.setdefault(path, {})
        self._version += 1
        verb = "MODIFIED" if name in known else "ADDED"
        uid = known[name]["metadata"]["uid"] if name in known else f"u{self._version}"
        metadata = {"name": name, "uid": uid, "resourceVersion": str(self._version), "managedFields": [{}]}
        known[name] = {"metadata": metadata, **fields}
        await self._tell(path, {"type": verb, "object": known[name]})

    async def delete(self, path: str, name: str) -> None:
        """An object goes."""
        self._version += 1
        body = self._objects[path].pop(name)
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        await self._tell(path, {"type": "DELETED", "object": {**body, "metadata": metadata}})

    async def bookmark(self, path: str) -> None:
        """Tell watches how far they are, after something elsewhere has happened."""
        self._version += 1
        await self._tell(path, {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self._version)}}})

    def forget(self) -> None:
        """Keep no history."""
        self._oldest = self._version

    def cut(self) -> None:
        """Break every watch in the middle of it."""
        for request in self._watches:
            if request.transport is not None:
                request.transport.abort()

    def hang(self, yes: bool) -> None:
        """Whether watches say nothing any more, as when a wire is pulled."""
        self._hanging = yes

    @property
    def version(self) -> str:
        """The resource version of the latest change."""
        return str(self._version)

    async def _tell(self, path: str, event: Json) -> None:
        self._events.append((self._version, path, event))
        async with self._news:
            self._news.notify_all()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        path, query = request.path, request.query
        verb = request.method if request.method != "GET" else "WATCH" if "watch" in query else "LIST"
        self.asked.append(f"{verb} {path} {query.get('resourceVersion', '')}".strip())
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized", "Unauthorized")
        found = self.fault(request) if self.fault else None
        if found is not None:
            return found
        if path not in self.served:
            return web.Response(status=404, text="404 page not found")
        if verb == "WATCH":
            return await self._watch(request)
        return web.json_response(self._list(path, query.get("limit"), query.get("continue")))

    def _list(self, path: str, limit: str | None, after: str | None) -> Json:
        bodies = [body for _, body in sorted(self._objects.get(path, {}).items())]
        start = int(after or 0)
        end = start + int(limit or 500)
        metadata = {"resourceVersion": self.version} | ({"continue": str(end)} if end < len(bodies) else {})
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": bodies[start:end]}

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        told = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if told < self._oldest:
            error = {"code": 410, "reason": "Expired", "message": "too old resource version", "metadata": {}}
            await response.write(line({"type": "ERROR", "object": error}))
            return response
        self._watches.append(request)
        while True:
            for version, path, event in list(self._events):
                if version > told and path == request.path and not self._hanging:
                    told = version
                    await response.write(line(event))
            async with self._news:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
            if request.transport is None or request.transport.is_closing():
                return response


def line(event: Json) -> bytes:
    """One line of a watch."""
    return json.dumps(event).encode() + b"\n"


def status(code: int, reason: str, message: str, **headers: str) -> web.Response:
    """An error as the API server words it."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers=headers)


@asynccontextmanager
async def serving(server: FakeApiServer, folder: Path, token_file: Path | None = None) -> AsyncIterator[str]:
    """The path of a kubeconfig for the server, which runs meanwhile. token_file: where its caller's token is."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    user = {"tokenFile": str(token_file)} if token_file else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{"name": "fake", "user": user}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    try:
        yield str(path)
    finally:
        await runner.cleanup()
