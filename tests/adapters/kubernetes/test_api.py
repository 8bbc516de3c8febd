"""Calls to the API server: what is tried again, how often, and what a failure is called."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from adapters.kubernetes.api import Api, Patience
from adapters.kubernetes.api_errors import ApiError, Busy, Conflict, Gone, Invalid, NotFound, Refused, Unreachable
from adapters.kubernetes.resources import NODES, PODS
from solver.domain.errors import SourceUnavailable
from support.fake_api_server import FakeApiServer, serving, status

PATH = NODES.path()
T = TypeVar("T")


class Failing:
    """Fails a number of times, then does not; remembers the methods asked."""

    def __init__(self, times: int, answer: Callable[[], web.Response]) -> None:
        self.left, self._answer = times, answer

    def __call__(self, request: web.Request) -> web.Response | None:
        self.left -= 1
        return self._answer() if self.left >= 0 else None


def calling(
    folder: Path, server: FakeApiServer, call: Callable[[Api], Awaitable[T]], patience: Patience | None = None
) -> T:
    """What a call to the server gives."""

    async def whole() -> T:
        async with serving(server, folder) as kubeconfig, Api(kubeconfig, patience=patience) as api:
            return await call(api)

    return asyncio.run(whole())


QUICK = Patience(pause_s=0.01, attempts=4)


@pytest.mark.parametrize("code", [429, 500, 503, 504])
@pytest.mark.parametrize("method", ["get", "create", "replace", "patch", "delete"])
def test_busy_servers_are_asked_again(tmp_path: Path, method: str, code: int) -> None:
    """Reading and writing calls survive three failures in a row, and not four."""
    arguments = {"get": (), "create": ({},), "replace": ({},), "patch": ({},), "delete": ()}[method]
    for times in (3, 4):
        server = FakeApiServer({PATH})
        server.fault = Failing(times, lambda: status(code, "Busy", "later"))
        with pytest.raises(Busy, match=f"{PATH}: {code} Busy: later$") if times == 4 else nullcontext():
            calling(tmp_path, server, lambda api: getattr(api, method)(PATH, *arguments), QUICK)
        assert len(server.asked) == 4


def test_the_server_says_when(tmp_path: Path) -> None:
    """Retry-After counts more than the own pause, up to the longest one."""
    assert Patience(pause_s=0.2).before(2, asked_s=3.0) == 3.0
    assert Patience(pause_s=0.2).before(2, asked_s=1000.0) == 10.0
    assert 0.1 <= Patience(pause_s=0.2).before(2) <= 0.2
    assert 5.0 <= Patience(pause_s=0.2).before(50) <= 10.0
    server = FakeApiServer({PATH})
    server.fault = lambda _: status(429, "TooManyRequests", "slow down", **{"Retry-After": "7"})
    with pytest.raises(Busy) as busy:
        calling(tmp_path, server, lambda api: api.get(PATH), Patience(attempts=1))
    assert busy.value.retry_after_s == 7.0


def test_evictions_are_tried_once(tmp_path: Path) -> None:
    """429 of an eviction is an answer: the disruption budget."""
    server = FakeApiServer({PATH})
    server.fault = lambda _: status(429, "TooManyRequests", "Cannot evict pod")
    with pytest.raises(Busy, match="Cannot evict pod"):
        calling(tmp_path, server, lambda api: api.evict("a", "p", "uid"), QUICK)
    assert server.asked == [f"POST {PODS.path('a', 'p', 'eviction')}"]


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, Invalid), (401, Refused), (403, Refused), (404, NotFound), (409, Conflict), (410, Gone), (422, Invalid)],
)
def test_refusals_are_told_apart(tmp_path: Path, code: int, error: type[ApiError]) -> None:
    """Each status has its error, which says in one line what was asked and what the server said."""
    server = FakeApiServer({PATH})
    server.fault = lambda _: status(code, "Because", "two\nlines")
    with pytest.raises(error, match=f"^GET {PATH}: {code} Because: two lines$") as refused:
        calling(tmp_path, server, lambda api: api.get(PATH), QUICK)
    assert (refused.value.status, refused.value.reason) == (code, "Because")
    assert len(server.asked) == (2 if code == 401 else 1)


def test_words_that_are_no_status(tmp_path: Path) -> None:
    """A proxy's page is quoted, and an answer that is no JSON is no answer."""
    server = FakeApiServer({PATH})
    server.fault = lambda _: web.Response(status=403, text="<h1>no</h1>")
    with pytest.raises(Refused, match=r"403 Forbidden: <h1>no</h1>$"):
        calling(tmp_path, server, lambda api: api.get(PATH))
    for text in ("<h1>yes</h1>", "[1]"):
        server.fault = lambda _, text=text: web.Response(text=text)
        with pytest.raises(ApiError, match=r"not JSON|no object"):
            calling(tmp_path, server, lambda api: api.get(PATH))


def test_pages(tmp_path: Path) -> None:
    """A list comes page by page, all of one moment."""
    server = FakeApiServer({PATH})

    async def pages(api: Api) -> list[list[str]]:
        for name in "abcde":
            await server.put(PATH, name)
        found = api.list_pages(PATH, {"resourceVersion": "3", "resourceVersionMatch": "Exact"}, page=2)
        return [[body["metadata"]["name"] for body in page["items"]] async for page in found]

    assert calling(tmp_path, server, pages) == [["a", "b"], ["c", "d"], ["e"]]
    assert server.asked == [f"LIST {PATH} 3", f"LIST {PATH}", f"LIST {PATH}"], "a continued list has its moment"


def test_nobody_there(tmp_path: Path) -> None:
    """Without a server the call is tried so often and then says where there is none."""

    async def whole() -> None:
        async with serving(FakeApiServer(set()), tmp_path) as kubeconfig:
            pass
        async with Api(kubeconfig, patience=QUICK) as api:
            await api.get(PATH)

    with pytest.raises(Unreachable, match=r"^GET /api/v1/nodes: http://127\.0\.0\.1:\d+ cannot be reached: "):
        asyncio.run(whole())


def test_a_server_that_hangs(tmp_path: Path) -> None:
    """An answer that does not come in time is given up."""
    server = FakeApiServer({PATH})
    hanging = {"watch": "1", "resourceVersion": "1"}
    with pytest.raises(Unreachable, match=r"does not answer in time$"):
        calling(tmp_path, server, lambda api: api.get(PATH, hanging), Patience(request_s=0.2, attempts=1))


def test_writes_can_be_forbidden(tmp_path: Path) -> None:
    """What is called before every attempt to write may end it, between two attempts as well; reading goes on."""
    server = FakeApiServer({PATH})
    asked: list[str] = []

    class Lost(Exception):
        """No longer the leader."""

    def before_write() -> None:
        asked.append("may I")
        if len(asked) > 1:
            raise Lost

    async def whole() -> None:
        async with (
            serving(server, tmp_path) as kubeconfig,
            Api(kubeconfig, patience=QUICK, before_write=before_write) as api,
        ):
            await api.get(PATH)
            server.fault = lambda _: status(503, "ServiceUnavailable", "down")
            await api.create(PATH, {})

    with pytest.raises(Lost):
        asyncio.run(whole())
    assert server.asked == [f"LIST {PATH}", f"POST {PATH}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cannot be used to reach a cluster"),
        ("{", "cannot be used to reach a cluster"),
        ("kind: Config", "cannot be used to reach a cluster"),
        (json.dumps({"contexts": [], "clusters": [], "users": [], "current-context": "x"}), "name x"),
    ],
)
def test_unusable_kubeconfigs(tmp_path: Path, text: str, problem: str) -> None:
    """One line that names the file."""
    path = tmp_path / "config"
    path.write_text(text)

    async def whole() -> None:
        async with Api(str(path)):
            pass

    with pytest.raises(SourceUnavailable, match=problem) as refused:
        asyncio.run(whole())
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
