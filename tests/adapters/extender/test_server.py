"""The extender over HTTP: what it answers to whom."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.apply.metrics import Metrics
from adapters.extender.leader import LEADS_LABEL, Leader, PodName
from adapters.extender.server import Extender, ExtenderConfig
from solver.domain.errors import InvalidRequest, SourceUnavailable
from support.controlplane.certificates import Authority
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

Post = Callable[[str, Any], Awaitable[tuple[int, str]]]


def served(
    asking: Asking | None,
    story: Callable[[Post], Awaitable[None]],
    client: ssl.SSLContext | None = None,
    **config: Any,
) -> str:
    """Run a story with an extender that is open, if there is a term to answer from. Its metrics."""
    metrics = Metrics()

    async def whole() -> None:
        extender = Extender(ExtenderConfig(listen=HERE, **config))
        async with extender.served(metrics) as port, aiohttp.ClientSession() as session:
            scheme = "https" if config.get("cert") else "http"

            async def post(verb: str, body: Any) -> tuple[int, str]:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
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
        await asyncio.sleep(0.1 if client else 0)  # TLS connections close in the background

    if asking:
        asking.do(whole())
    else:
        asyncio.run(whole())
    return metrics.page().decode()


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


def test_client_certificates(asking: Asking, tmp_path: Path) -> None:
    """With an authority for clients, only who shows a certificate of it is answered."""
    authority = Authority()
    files = {}
    for name, identity in (("server", authority.server()), ("client", authority.client("scheduler"))):
        files[name] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        files[name][0].write_bytes(identity.certificate)
        files[name][1].write_bytes(identity.key)
    roots = tmp_path / "ca.pem"
    roots.write_bytes(authority.pem)
    known, unknown = (ssl.create_default_context(cafile=str(roots)) for _ in range(2))
    known.load_cert_chain(*files["client"])
    tls = {"cert": files["server"][0], "key": files["server"][1], "client_ca": roots}

    async def answered(post: Post) -> None:
        assert (await post("filter", b"{"))[0] == 400

    async def refused(post: Post) -> None:
        with pytest.raises(aiohttp.ClientError):
            await post("filter", b"{")

    served(asking, answered, known, **tls)
    served(None, refused, unknown, **tls)
    with pytest.raises(SourceUnavailable, match="the certificates of the extender cannot be used"):
        served(None, refused, known, **{**tls, "key": roots})


def test_plaintext_is_for_loopback() -> None:
    """Unless somebody says otherwise."""
    with pytest.raises(InvalidRequest, match="is not loopback"):
        ExtenderConfig(listen=("0.0.0.0", 1))
    with pytest.raises(InvalidRequest, match="go together"):
        ExtenderConfig(listen=HERE, cert=Path("c"))
    ExtenderConfig(listen=("0.0.0.0", 1), insecure=True)


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
