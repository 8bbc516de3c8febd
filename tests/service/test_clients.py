"""Both clients against a real server: every call, and what failing ones become."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from solver.domain.changes import PodBound, PodGone
from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.domain.snapshot import Snapshot
from solver.ledger import Phase, Promise
from solver.service.access import Access
from solver.service.aio_client import AioClient
from solver.service.client import Client
from solver.service.config import Limits
from solver.service.errors import Conflict, Denied, InvalidField, NotFound, Unauthenticated
from solver.service.feed import Synced
from solver.service.held import Applied, Cause, Needed
from solver.service.replies import Cancelled
from solver.service.requests import Improved, Planned
from support.builders import bound, cluster, flow, gang, node, role
from tests.service.conftest import CONFIG, TOKENS, Running, Serve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A client of the server."""
    with Client(Access(server.target)) as found:
        yield found


def site() -> Snapshot:
    """Two nodes in a rack."""
    return cluster(node("n0", zone="z", rack="r"), node("n1", zone="z", rack="r"))


def pair(name: str = "default/llama", gpus: float = 8) -> Gang:
    """A prefill and a decode pod that talk."""
    roles = role("prefill", gpus=gpus), role("decode", gpus=gpus)
    return gang(*roles, name=name, flows=[flow("prefill", "decode", 1)])


def test_a_promise_from_plan_to_pods(client: Client) -> None:
    """Put, plan, reserve, confirm, see the pods: the whole way, with the state told on each step."""
    held = client.put_snapshot("prod", "base", site())
    assert (held.nodes, held.pods) == (2, 0)
    answer = client.plan("prod", [pair()])
    items = answer.plan.gangs[0].assignments
    taken = client.reserve("prod", pair(), items, answer.state_version, lease_s=60)
    assert taken.promise.phase is Phase.RESERVED
    assert [promise.id for promise in client.promises("prod")] == [taken.promise.id]
    assert client.get_state("prod")[0].promised_pods == 2
    confirmed = client.confirm(taken.promise.id)
    assert (confirmed.phase, confirmed.lease_until_ms) == (Phase.CONFIRMED, 0)
    with client.deltas("prod", "base") as deltas:
        for item in items:
            assert isinstance(deltas.send([PodBound(bound(item.pod, item.node, 8))]), Applied)
    (state,) = client.get_state()
    assert (state.name, state.base, state.sequence, state.pods, state.promised_pods) == ("prod", "base", 2, 2, 0)
    assert list(client.promises("prod")) == []


def test_deltas_that_do_not_fit(client: Client) -> None:
    """What cannot be applied is answered with why; what was applied before is acknowledged."""
    with client.deltas("prod", "base") as early:
        needed = early.send([])
        assert isinstance(needed, Needed)
        assert needed.cause is Cause.UNKNOWN_CLUSTER
    client.put_snapshot("prod", "base", site())
    with client.deltas("prod", "other") as wrong, client.deltas("prod", "base", last=4) as late:
        for stream, cause in ((wrong, Cause.UNKNOWN_BASE), (late, Cause.GAP)):
            answer = stream.send([])
            assert isinstance(answer, Needed)
            assert answer.cause is cause
            assert answer.message


def test_what_does_not_fit_any_more(client: Client) -> None:
    """A plan of an older state is refused once its room is taken; the refusal says which room."""
    client.put_snapshot("prod", "base", site())
    answer = client.plan("prod", [pair()])
    with client.deltas("prod", "base") as deltas:
        deltas.send([PodBound(bound("foreign", "n0", 1))])
    with pytest.raises(Conflict, match="n0"):
        client.reserve("prod", pair(), answer.plan.gangs[0].assignments, answer.state_version)


def test_requests_happen_once(client: Client) -> None:
    """The same id again gives the same promise; another content under it is refused."""
    client.put_snapshot("prod", "base", site())
    items = client.plan("prod", [pair()]).plan.gangs[0].assignments
    first = client.reserve("prod", pair(), items, request_id="one")
    assert client.reserve("prod", pair(), items, request_id="one").promise.id == first.promise.id
    with pytest.raises(InvalidField, match="request_id"):
        client.reserve("prod", pair(), items, request_id="one", lease_s=5)
    assert client.release(first.promise.id).phase is Phase.RELEASED
    with pytest.raises(NotFound):
        client.confirm("nobody-has-this")


def test_pages(client: Client) -> None:
    """Promises come complete and in order however small the pages."""
    client.put_snapshot("prod", "base", site())
    made = []
    for at in range(5):
        asked = pair(f"default/g{at}", gpus=1)
        items = client.plan("prod", [asked]).plan.gangs[0].assignments
        made.append(client.reserve("prod", asked, items).promise.id)
    assert [promise.id for promise in client.promises("prod", page_size=2)] == made
    assert [promise.id for promise in client.promises("prod", gang="default/g3")] == [made[3]]


def test_a_watch(client: Client) -> None:
    """What there is, then Synced, then changes as they happen."""
    client.put_snapshot("prod", "base", site())
    items = client.plan("prod", [pair()]).plan.gangs[0].assignments
    first = client.reserve("prod", pair(), items).promise
    events = client.watch("prod")
    assert next(events) == first
    assert isinstance(next(events), Synced)
    client.release(first.id)
    gone = next(events)
    assert isinstance(gone, Promise)
    assert (gone.id, gone.phase) == (first.id, Phase.RELEASED)


def test_nobody_there() -> None:
    """A service that cannot be reached is told as such."""
    with Client(Access("127.0.0.1:1")) as client, pytest.raises(SourceUnavailable):
        client.get_state()


def test_a_closed_client(client: Client) -> None:
    """Closing ends what is under way."""
    client.put_snapshot("prod", "base", site())
    events = client.watch("prod")
    assert isinstance(next(events), Synced)
    client.close()
    with pytest.raises(Cancelled):
        next(events)


def test_tokens(serve: Serve, token_file: Path) -> None:
    """The token goes with every call; a wrong one and a weak one are different refusals."""
    target = serve(auth=replace(CONFIG.auth, token_file=token_file)).target
    with Client(Access(target, token=TOKENS["write"])) as strong:
        strong.put_snapshot("prod", "base", site())
    with Client(Access(target, token=TOKENS["read"])) as weak:
        assert weak.get_state()[0].nodes == 2
        with pytest.raises(Denied):
            weak.plan("prod", [pair()])
    with Client(Access(target, token="wrong")) as wrong, pytest.raises(Unauthenticated):
        wrong.get_state()


def test_access_that_cannot_be() -> None:
    """Half a certificate, files that are not there or hold something else, and what is no token."""
    with pytest.raises(InvalidRequest, match="together"):
        Access("localhost:1", cert_file=Path("cert.pem"))
    with pytest.raises(InvalidRequest, match=r"nowhere\.pem: No such file"):
        Client(Access("localhost:1", ca_file=Path("nowhere.pem")))
    here = Path(__file__)
    with pytest.raises(InvalidRequest, match=f"CA {here}: no certificate in PEM"):
        Client(Access("localhost:1", ca_file=here))
    with pytest.raises(InvalidRequest, match="not a certificate and its unencrypted key"):
        AioClient(Access("localhost:1", cert_file=here, key_file=here))
    for token in ("", "two words", "word\n", "wörd"):
        with pytest.raises(InvalidRequest, match="bearer token"):
            Access("localhost:1", token=token)


def test_a_question_too_large_to_be_sent(serve: Serve) -> None:
    """Refused with its size, by whichever side allows less; coming back later would not help."""
    target = serve(limits=Limits(max_message_bytes=64 * 1024)).target
    large = cluster(*(node(f"a-node-with-a-long-name-{at}" * 3) for at in range(1000)))
    for most in (64 * 1024, 2**20):
        with (
            Client(Access(target, max_message_bytes=most)) as client,
            pytest.raises(InvalidRequest, match="more than the 65,536 that max_message_bytes allows"),
        ):
            client.plan(large, [pair()])


def test_with_asyncio(server: Running) -> None:
    """Every call of the other client."""

    async def all_of_it() -> None:
        async with AioClient(Access(server.target)) as client:
            with pytest.raises(NotFound):
                await client.plan("prod", [pair()])
            held = await client.put_snapshot("prod", "base", site())
            answer = await client.plan("prod", [pair()])
            assert (answer.state_version, answer.plan.status) == (held.version, Status.OPTIMAL)
            news = [one async for one in client.plan_stream("prod", [pair()])]
            assert isinstance(news[-1], Planned)
            assert all(isinstance(one, Improved) for one in news[:-1])
            (why,) = await client.explain("prod", [pair(gpus=9)])
            assert (why.status, bool(why.reasons)) == (Status.INFEASIBLE, True)
            items = answer.plan.gangs[0].assignments
            taken = await client.reserve("prod", pair(), items, answer.state_version)
            events = client.watch("prod")
            assert await anext(events) == taken.promise
            assert isinstance(await anext(events), Synced)
            assert (await client.confirm(taken.promise.id)).phase is Phase.CONFIRMED
            assert [promise.id async for promise in client.promises("prod")] == [taken.promise.id]
            async with client.deltas("prod", "base") as deltas:
                assert isinstance(await deltas.send([PodBound(bound("x", "n0", 0, 1))]), Applied)
                assert isinstance(await deltas.send([PodGone("", "default/x")]), Applied)
            assert (await client.get_state("prod"))[0].sequence == 2
            assert (await client.release(taken.promise.id)).phase is Phase.RELEASED
            several = await asyncio.gather(*(client.plan("prod", [pair()]) for _ in range(5)))
            assert {one.plan.status for one in several} == {Status.OPTIMAL}

    asyncio.run(all_of_it())


def test_the_example_of_the_readme(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs as it stands, and what it plans is promised for good."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "datasets/clusters/h100-64.yaml", "cluster.json")
    shutil.copy(ROOT / "datasets/gangs/4p8d-block.yaml", "deployment.yaml")
    exec(example.replace("127.0.0.1:50551", server.target), {})
    assert capsys.readouterr().out.startswith("optimal [('prod/")
    with Client(Access(server.target)) as client:
        (kept,) = client.promises("prod")
        assert (kept.phase, kept.gang, len(kept.held())) == (Phase.CONFIRMED, "prod/4p8d-block", 13)


def test_clients_do_not_load_the_engine() -> None:
    """A fresh interpreter that imports both clients has not loaded OR-Tools."""
    code = "import sys, solver.service.client, solver.service.aio_client; print('ortools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
