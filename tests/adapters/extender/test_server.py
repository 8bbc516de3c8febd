"""The extender over HTTP: what it answers to whom."""

import asyncio
import io
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.apply.metrics import Metrics
from adapters.extender import server
from adapters.extender.leader import LEADS_LABEL, Leader, PodName
from adapters.extender.server import MOST_BYTES, MOST_BYTES_BIND, MOST_BYTES_NAMES, Extender, ExtenderConfig
from solver.domain.errors import InvalidRequest
from support.controlplane.certificates import Authority
from support.mirroring import until
from tests.adapters.extender.conftest import Asking

HERE = ("127.0.0.1", 0)
POD = {"metadata": {"namespace": "ns", "name": "p", "uid": "u"}, "spec": {}}
MALFORMED = [
    ("filter", b"{", "the body is not JSON"),
    ("filter", b"[]", "the body is no JSON object"),
    ("filter", {"Pod": None, "NodeNames": []}, "Pod is no object with metadata and spec"),
    ("filter", {"Pod": {"metadata": {"namespace": "ns"}, "spec": {}}, "NodeNames": []}, "Pod.metadata.name is missing"),
    ("filter", {"Pod": POD, "Nodes": None, "NodeNames": None}, "neither NodeNames nor Nodes.items is a list"),
    ("prioritize", {"Pod": POD, "Nodes": {"items": [{}]}}, "an item of Nodes.items has no metadata.name"),
    ("bind", {"PodName": "p", "PodNamespace": "", "PodUID": "u", "Node": "n"}, "none of them empty"),
    ("preempt", {"Pod": POD}, "neither NodeNameToMetaVictims nor NodeNameToVictims is an object"),
    ("preempt", {"Pod": POD, "NodeNameToMetaVictims": {"n": {"Pods": [{}]}}}, "the victims of a node are not given"),
]

#: Parts of a body that nobody waits for: a minute of them.
MANY = 6000

Post = Callable[..., Awaitable[tuple[int, str]]]


def served(
    asking: Asking | None,
    story: Callable[[Post], Awaitable[None]],
    **config: Any,
) -> str:
    """Run a story with an extender that is open, if there is a term to answer from. Its metrics."""
    metrics = Metrics()

    async def whole() -> None:
        before = open_files()
        extender = Extender(ExtenderConfig(listen=HERE, **config))
        connector = aiohttp.TCPConnector(force_close=True)
        async with extender.served(metrics) as port, aiohttp.ClientSession(connector=connector) as session:
            scheme = "https" if config.get("cert") else "http"

            async def post(verb: str, body: Any, client: ssl.SSLContext | None = None) -> tuple[int, str]:
                data = json.dumps(body).encode() if isinstance(body, dict | list) else body
                url = f"{scheme}://127.0.0.1:{port}/{verb}"
                async with session.post(url, data=data, ssl=client or True) as answer:
                    return answer.status, await answer.text()

            opened = asyncio.create_task(extender.opened(asking.term)) if asking else None
            await asyncio.sleep(0)
            await story(post)
            if opened is not None:
                opened.cancel()
                with suppress(asyncio.CancelledError):
                    await opened
                assert (await post("filter", {}))[0] == 503
        await until(
            lambda: open_files() <= before, "connections are closed, which those with TLS are in their own time"
        )

    if asking:
        asking.do(whole())
    else:
        asyncio.run(whole())
    return metrics.page().decode()


def open_files() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_malformed_bodies(asking: Asking) -> None:
    """400 and one sentence."""

    async def story(post: Post) -> None:
        for verb, body, problem in MALFORMED:
            status, text = await post(verb, body)
            assert (status, text.count("\n")) == (400, 1)
            assert problem in text
        assert (await post("other", {}))[0] == 404

    page = served(asking, story)
    assert 'huddle_controller_extender_seconds_count{outcome="malformed",verb="filter"} 5.0' in page
    assert 'huddle_controller_extender_seconds_count{outcome="not_leading",verb="filter"} 1.0' in page


def test_whole_nodes_come_back_as_they_were_sent(asking: Asking) -> None:
    """With node objects in the question there are some in the answer, with all their fields."""
    pod = asking.single("single", 1)
    nodes = [{"metadata": {"name": name}, "status": {"anything": [1]}} for name in ("n0", "n1")]

    async def story(post: Post) -> None:
        status, text = await post("filter", {"Pod": pod, "Nodes": {"metadata": {}, "items": nodes}, "NodeNames": None})
        answer = json.loads(text)
        assert (status, answer["Nodes"]["items"], answer["NodeNames"]) == (200, nodes, None)

    served(asking, story)


def test_nobody_leads() -> None:
    """The scheduler is to try again."""

    async def story(post: Post) -> None:
        assert await post("filter", {}) == (503, "this replica does not lead\n")

    served(None, story)


class Files:
    """Certificates as the extender reads them, and clients that show some."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cert, self.key, self.client_ca = (folder / name for name in ("server.pem", "server.key", "ca.pem"))

    def write(self, authority: Authority) -> None:
        """A server and clients that this authority vouches for: other files, since times of the same may be too."""
        identity = authority.server()
        contents = {self.cert: identity.certificate, self.key: identity.key, self.client_ca: authority.pem}
        for path, content in contents.items():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)

    def client(self, shows: Authority | None, trusts: Authority) -> ssl.SSLContext:
        """A client that trusts a server, and has a certificate of its own or none."""
        context = ssl.create_default_context(cadata=trusts.pem.decode())
        if shows is not None:
            identity = shows.client("scheduler")
            cert, key = self._folder / "client.pem", self._folder / "client.key"
            cert.write_bytes(identity.certificate)
            key.write_bytes(identity.key)
            context.load_cert_chain(cert, key)
        return context

    @property
    def config(self) -> dict[str, Any]:
        """Fields of ExtenderConfig."""
        return {"cert": self.cert, "key": self.key, "client_ca": self.client_ca, "reload_s": 0.0}


async def is_let_in(post: Post, client: ssl.SSLContext) -> bool:
    """Whether a new connection of this client gets an answer."""
    try:
        return (await post("filter", b"{", client))[0] in (400, 503)
    except aiohttp.ClientError:
        return False


def test_client_certificates(tmp_path: Path) -> None:
    """With an authority for clients, only who shows a certificate of it is answered."""
    authority, files = Authority(), Files(tmp_path)
    files.write(authority)

    async def story(post: Post) -> None:
        assert await is_let_in(post, files.client(authority, authority))
        assert not await is_let_in(post, files.client(None, authority))
        assert not await is_let_in(post, files.client(Authority(), authority))

    served(None, story, **files.config)
    with pytest.raises(InvalidRequest, match=r"certificate .*server\.pem with key .*ca\.pem: not a cert"):
        served(None, story, **{**files.config, "key": files.client_ca})


def test_renewed_certificates(tmp_path: Path) -> None:
    """New connections get what is in the files, in both directions; files that are no good change nothing."""
    first, second, files = Authority(), Authority(), Files(tmp_path)
    files.write(first)

    async def story(post: Post) -> None:
        assert await is_let_in(post, files.client(first, first))
        files.write(second)
        assert await is_let_in(post, files.client(second, second))
        assert not await is_let_in(post, files.client(first, second)), "nobody trusts the first authority any more"
        assert not await is_let_in(post, files.client(second, first))
        files.key.write_bytes(b"half of a k")
        assert await is_let_in(post, files.client(second, second))

    served(None, story, **files.config)


def test_off_loopback_clients_show_certificates() -> None:
    """Who asks can have pods bound, so a certificate of the server alone is not enough."""
    with pytest.raises(InvalidRequest, match="is not loopback"):
        ExtenderConfig(listen=("0.0.0.0", 1))
    with pytest.raises(InvalidRequest, match="--extender-client-ca"):
        ExtenderConfig(listen=("0.0.0.0", 1), cert=Path("c"), key=Path("k"))
    with pytest.raises(InvalidRequest, match="go together"):
        ExtenderConfig(listen=HERE, cert=Path("c"))
    ExtenderConfig(listen=("0.0.0.0", 1), cert=Path("c"), key=Path("k"), client_ca=Path("a"))
    ExtenderConfig(listen=("0.0.0.0", 1), insecure=True)


async def _parts(size: int, pause: float = 0.0) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b" " * 1024
        await asyncio.sleep(pause)


@pytest.mark.parametrize(
    ("verb", "names_only", "most"),
    [("bind", False, MOST_BYTES_BIND), ("filter", True, MOST_BYTES_NAMES), ("filter", False, MOST_BYTES)],
)
def test_bodies_have_a_limit(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, verb: str, names_only: bool, most: int
) -> None:
    """By what they say of their size, and by what comes when they say nothing; at the limit they are read."""
    monkeypatch.setattr(server, "BODY_S", 120.0)  # 64 MiB take a while on a loaded machine

    async def story(post: Post) -> None:
        too_large = (413, f"the body of {verb} is larger than {most} bytes\n")
        assert await post(verb, io.BytesIO(b" " * (most + 1))) == too_large
        assert await post(verb, _parts(most // 1024 + 1)) == too_large
        assert (await post(verb, io.BytesIO(b" " * most)))[0] == 400

    assert f'outcome="too_large",verb="{verb}"}} 2.0' in served(asking, story, names_only=names_only)


def test_a_body_that_does_not_come_is_given_up(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """So unfinished questions keep nothing open."""
    monkeypatch.setattr(server, "BODY_S", 0.05)

    async def story(post: Post) -> None:
        assert await post("filter", _parts(1000, pause=0.02)) == (408, "the body did not come within 0.05 s\n")

    served(asking, story)


def test_a_replica_that_does_not_lead_reads_no_body() -> None:
    """It answers while the rest of the body is still to come."""
    sent = []

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(MANY):
            sent.append(1)
            yield b" " * 1024
            await asyncio.sleep(0.01)

    async def story(post: Post) -> None:
        with suppress(aiohttp.ClientError):
            assert (await post("filter", parts()))[0] == 503

    served(None, story)
    assert len(sent) < MANY


def test_questions_at_a_time_have_a_limit(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to come back; bindings have a limit of their own."""
    monkeypatch.setattr(server, "MOST_QUESTIONS", 1)

    monkeypatch.setattr(server, "BODY_S", 120.0)
    inside, rest = asyncio.Event(), asyncio.Event()
    read = server._body

    async def noted(request: web.Request, most: int) -> bytes:
        inside.set()
        return await read(request, most)

    async def body() -> AsyncIterator[bytes]:
        yield b" "
        await rest.wait()

    monkeypatch.setattr(server, "_body", noted)

    async def story(post: Post) -> None:
        slow = asyncio.create_task(post("filter", body()))
        await asyncio.wait_for(inside.wait(), 60)
        assert await post("prioritize", b"{}") == (503, "too many questions at a time\n")
        assert (await post("bind", b"{}"))[0] == 400
        rest.set()
        assert (await slow)[0] == 400
        assert (await post("prioritize", b"{}"))[0] == 400

    served(asking, story)


def test_the_leader_is_labelled() -> None:
    """It takes the label off those who led before."""
    patched = {}

    class Pods:
        async def get(self, path: str, query: Any = None) -> Any:
            assert query == {"labelSelector": LEADS_LABEL}
            return {"items": [{"metadata": {"name": name}} for name in ("before", "own")]}

        async def patch(self, path: str, body: Any, kind: str = "merge", query: Any = None) -> Any:
            patched[path.rpartition("/")[2]] = body["metadata"]["labels"][LEADS_LABEL]

    asyncio.run(Leader(Pods(), PodName("ns", "own")).run())  # type: ignore[arg-type]
    assert patched == {"before": None, "own": "true"}
