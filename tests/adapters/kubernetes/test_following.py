"""A kind is followed through every fault: nothing is lost, and nothing is listed anew without need."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from adapters.kubernetes.api import Patience
from adapters.kubernetes.mirror import Mirror
from adapters.kubernetes.resources import GANGS, NODES
from adapters.kubernetes.watching import Rhythm
from support.fake_api_server import FakeApiServer, serving, status
from support.mirroring import QUICK, mirroring, until

PATH, GANG_PATH = NODES.path(), GANGS.path()
Story = Callable[[FakeApiServer, Mirror], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., FakeApiServer]:
    """Run a story of a server with the nodes a, b and c, and a mirror of its nodes and Gangs that is synced."""

    def told(story: Story, rhythm: Rhythm = QUICK, idle_s: float = 30.0, token: str | None = None) -> FakeApiServer:
        async def whole() -> FakeApiServer:
            server = FakeApiServer({PATH, GANG_PATH}, token=token)
            token_file = tmp_path / "token"
            token_file.write_text(token or "")
            for name in "abc":
                await server.put(PATH, name)
            async with (
                serving(server, tmp_path, token_file) as kubeconfig,
                mirroring(kubeconfig, [NODES, GANGS], rhythm, Patience(pause_s=0.02, idle_s=idle_s)) as mirror,
            ):
                await mirror.synced()
                await until(lambda: watches(server) >= 1, "the nodes are watched")
                await story(server, mirror)
            return server

        return asyncio.run(whole())

    return told


def names(mirror: Mirror) -> set[str]:
    """The nodes the mirror shows."""
    return {name for _, name in mirror.all(NODES)}


def lists(server: FakeApiServer) -> int:
    """How often the nodes were listed."""
    return sum(asked.startswith(f"LIST {PATH}") for asked in server.asked)


def watches(server: FakeApiServer) -> int:
    """How often the nodes were watched."""
    return sum(asked.startswith(f"WATCH {PATH} ") for asked in server.asked)


#: What is left by jitter of a pause of 0.4 s, which every attempt but the first comes after.
LEAST_PAUSE_S = 0.2


async def cut_until(server: FakeApiServer, check: Callable[[], bool], what: str) -> float:
    """Break all watches, and wait until something holds; the seconds it took."""
    began_s = time.monotonic()
    server.cut()
    await until(check, what)
    return time.monotonic() - began_s


def test_a_broken_watch_is_resumed(tell: Callable[..., FakeApiServer]) -> None:
    """What happened while the connection was broken is told by the next watch; nothing is listed again."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        for name in "defg":
            before = watches(server)
            server.cut()
            await server.put(PATH, name)
            await server.delete(PATH, min(names(mirror)))
            await until(lambda name=name: name in names(mirror), f"{name} is seen")
            await until(lambda before=before: watches(server) > before, "there is another watch")
        await until(lambda: names(mirror) == set("efg"), "the deleted ones are gone")

    assert lists(tell(story)) == 1


def test_a_bookmark_moves_the_resumption(tell: Callable[..., FakeApiServer]) -> None:
    """After a bookmark the watch goes on from there, although nothing has happened to the kind."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        await server.bookmark(PATH)
        version, nodes = server.version, mirror._followers[0]
        await until(lambda: nodes._since == version, "the bookmark is heard")
        server.forget()
        server.cut()
        await until(lambda: f"WATCH {PATH} {version}" in server.asked, "the watch goes on after the bookmark")
        await server.put(PATH, "d")
        await until(lambda: "d" in names(mirror), "d is seen")

    assert lists(tell(story)) == 1


def test_a_forgotten_version_means_a_list(tell: Callable[..., FakeApiServer]) -> None:
    """After 410 everything is listed, objects gone meanwhile are told as gone, and those that stayed are not told."""
    told: list[tuple[str, bool, bool]] = []

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        first = mirror.get(NODES, "", "c")
        mirror.on_change(NODES, lambda key, before, now: told.append((key[1], before is not None, now is not None)))
        told.clear()
        server.fault = lambda _: status(503, "ServiceUnavailable", "down")
        server.cut()
        await until(lambda: "nodes" in mirror.problems, "the trouble is told")
        await server.delete(PATH, "a")
        await server.put(PATH, "b", spec={"unschedulable": True})
        await server.put(PATH, "d")
        server.forget()
        server.fault = None
        await until(lambda: names(mirror) == set("bcd"), "the list is told")
        assert mirror.get(NODES, "", "c") is first
        await until(lambda: "nodes" not in mirror.problems, "the trouble is over")

    assert lists(tell(story)) == 2
    assert sorted(told) == [("a", True, False), ("b", True, True), ("d", False, True)]


def test_an_aging_server_is_not_asked_all_the_time(tell: Callable[..., FakeApiServer]) -> None:
    """A server that answers every watch with 410 is listed now and then, not as fast as it can."""
    took_s = []

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        gone = {"code": 410, "reason": "Expired", "message": "too old", "metadata": {}}
        body = web.json_response({"type": "ERROR", "object": gone}).body
        server.fault = lambda request: web.Response(body=body) if "watch" in request.query else None
        took_s.append(await cut_until(server, lambda: lists(server) > 5, "it is listed five times more"))

    tell(story, Rhythm(pause_s=0.2, most_pause_s=0.4, absent_s=60))
    assert took_s[0] > 4 * LEAST_PAUSE_S


def test_a_server_that_ends_watches_at_once_is_not_asked_all_the_time(tell: Callable[..., FakeApiServer]) -> None:
    """Watches that end as soon as they begin are pauses apart."""
    took_s = []

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        server.fault = lambda request: web.Response() if "watch" in request.query else None
        took_s.append(await cut_until(server, lambda: watches(server) > 5, "it is watched five times more"))

    server = tell(story, Rhythm(pause_s=0.2, most_pause_s=0.4, absent_s=60))
    assert took_s[0] > 4 * LEAST_PAUSE_S
    assert lists(server) == 1


def test_a_silent_watch_is_given_up(tell: Callable[..., FakeApiServer]) -> None:
    """When not even bookmarks come, as over a dead wire, the watch is begun anew and tells what it missed."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        server.hang(True)
        await server.put(PATH, "d")
        await asyncio.sleep(0.2)
        assert "d" not in names(mirror)
        before = watches(server)
        await until(lambda: watches(server) > before, "the watch is begun anew")
        server.hang(False)
        await until(lambda: "d" in names(mirror), "d is seen")

    assert lists(tell(story, idle_s=0.5)) == 1


def test_an_expired_token_is_read_again(tell: Callable[..., FakeApiServer], tmp_path: Path) -> None:
    """The server takes another token from now on, and the file has it: nobody notices. Before it has it, it is told."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        server.token = "second"
        (tmp_path / "token").write_text("second")
        server.cut()
        await server.put(PATH, "d")
        await until(lambda: "d" in names(mirror), "d is seen")
        server.token = "third"
        server.cut()
        await until(lambda: "401" in mirror.problems.get("nodes", ""), "the refusal is told")
        (tmp_path / "token").write_text("third")
        await server.put(PATH, "e")
        await until(lambda: "e" in names(mirror) and "nodes" not in mirror.problems, "e is seen")

    assert lists(tell(story, token="first")) == 1


def test_a_kind_comes_and_goes(tell: Callable[..., FakeApiServer]) -> None:
    """A kind that the server no longer knows has no objects; when it comes back, its objects do."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        await server.put(GANG_PATH, "g")
        await until(lambda: len(mirror.all(GANGS)) == 1, "the Gang is seen")
        assert mirror.version_of(GANGS) == "v1alpha1"
        server.served.remove(GANG_PATH)
        server.cut()
        await until(lambda: not mirror.all(GANGS), "the Gang is gone")
        assert mirror.version_of(GANGS) is None
        assert mirror.is_synced
        assert not mirror.problems
        server.served.add(GANG_PATH)
        await until(lambda: len(mirror.all(GANGS)) == 1, "the Gang is back")

    tell(story)


def test_nonsense_from_a_watch_is_told_and_survived(tell: Callable[..., FakeApiServer]) -> None:
    """Lines that are no events end the watch; what follows comes with the next one."""

    async def story(server: FakeApiServer, mirror: Mirror) -> None:
        for nonsense in (b"<html>\n", b'{"type": "ADDED"}\n', b'{"type": "X", "object": {"metadata": {}}}\n', b"[]\n"):
            server.fault = lambda request, body=nonsense: web.Response(body=body) if "watch" in request.query else None
            server.cut()
            await until(lambda: "no event" in mirror.problems.get("nodes", ""), "the nonsense is told")
            server.fault = None
            await until(lambda: "nodes" not in mirror.problems, "the trouble is over")
        await server.put(PATH, "d")
        await until(lambda: "d" in names(mirror), "d is seen")

    assert lists(tell(story)) == 1
