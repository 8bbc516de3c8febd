"""A Lease: one holder at a time, whatever is lost on the way, and one that stops in time by itself."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.apply.lease import Lease, LeaseLost, LeaseTimes
from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound, Unreachable
from solver.domain.errors import InvalidRequest

TIMES = LeaseTimes(duration_s=15, renew_s=10, retry_s=2)


@dataclass
class Server:
    """One Lease as the API server keeps it. away: nobody gets through. deaf: changes happen, but nobody hears of it."""

    body: dict[str, Any] | None = None
    away: bool = False
    deaf: bool = False
    now_s: float = 1000.0
    holders: list[str] = field(default_factory=list)

    def candidate(self, identity: str) -> Lease:
        """A candidate whose clock is this one's."""
        return Lease(self, "ns", "huddle", identity, TIMES, lambda: self.now_s)

    async def get(self, path: str) -> dict[str, Any]:
        """Read."""
        self.answer()
        assert path == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/huddle"
        if self.body is None:
            raise NotFound(404, "NotFound", path)
        return self.body

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make it, unless it exists."""
        self.answer()
        assert path == "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
        if self.body is not None:
            raise Conflict(409, "AlreadyExists", path)
        return self.write({**body, "metadata": {**body["metadata"], "uid": "u", "resourceVersion": "0"}})

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change it, if it is as it was."""
        self.answer()
        if self.body is None:
            raise NotFound(404, "NotFound", path)
        if body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", path)
        return self.write(body)

    def answer(self) -> None:
        """Raise when nobody gets through."""
        if self.away:
            raise Unreachable(0, "Timeout", "nobody there")

    def write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep it under a new version."""
        version = str(int(body["metadata"]["resourceVersion"]) + 1)
        self.body = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        self.holders.append(body["spec"]["holderIdentity"])
        if self.deaf:
            raise Unreachable(0, "Timeout", "the answer got lost")
        return self.body


@pytest.fixture
def server() -> Server:
    """No Lease yet."""
    return Server()


def test_the_first_gets_it_and_keeps_it(server: Server) -> None:
    """The other waits as long as it is renewed, and for its duration after the last renewal that it saw."""

    async def story() -> None:
        one, two = server.candidate("one"), server.candidate("two")
        for _ in range(20):
            await one.attempt()
            await two.attempt()
            assert (one.holds, two.holds, two.holder) == (True, False, "one")
            server.now_s += 2
        server.now_s += 12.9
        await two.attempt()
        assert not two.holds
        server.now_s += 0.1
        await two.attempt()
        assert two.holds

    asyncio.run(story())
    assert server.holders == ["one"] * 20 + ["two"]
    assert server.body is not None
    assert server.body["spec"]["leaseTransitions"] == 1


def test_the_holder_stops_before_another_can_begin(server: Server) -> None:
    """Without an answer it stops ten seconds after it asked for the last renewal that was granted."""

    async def story() -> None:
        one, two = server.candidate("one"), server.candidate("two")
        await one.attempt()
        one.guard()
        await two.attempt()
        server.away = True
        for _ in range(5):
            with pytest.raises(ApiError):
                await one.attempt()
            server.now_s += 1.99
            one.guard()
        server.now_s += 0.05
        assert not one.holds
        with pytest.raises(LeaseLost, match="one does not hold the lease ns/huddle"):
            one.guard()
        server.away = False
        await two.attempt()
        assert not two.holds
        server.now_s += 5.1
        await two.attempt()
        assert two.holds
        await one.attempt()
        assert not one.holds

    asyncio.run(story())


def test_time_is_counted_from_the_question(server: Server) -> None:
    """An answer that took its time does not prolong the lease by that time."""

    class Slow(Server):
        async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
            found = await super().replace(path, body)
            self.now_s += 9.0
            return found

    slow = Slow()

    async def story() -> None:
        one = slow.candidate("one")
        await one.attempt()
        await one.attempt()
        slow.now_s += 0.9
        assert one.holds
        slow.now_s += 0.2
        assert not one.holds

    asyncio.run(story())


def test_a_renewal_whose_answer_got_lost(server: Server) -> None:
    """The holder finds its own name and goes on; so does one whose very first attempt got lost."""

    async def story() -> None:
        one = server.candidate("one")
        server.deaf = True
        with pytest.raises(Unreachable):
            await one.attempt()
        assert not one.holds
        server.deaf = False
        await one.attempt()
        assert one.holds
        server.deaf = True
        with pytest.raises(Unreachable):
            await one.attempt()
        server.deaf = False
        await one.attempt()
        await one.attempt()
        server.now_s += 9
        assert one.holds

    asyncio.run(story())


def test_somebody_else_takes_it_away(server: Server) -> None:
    """A holder that finds another name stops at once, and one that finds nothing makes it anew."""

    async def story() -> None:
        one = server.candidate("one")
        await one.attempt()
        assert server.body is not None
        server.write({**server.body, "spec": {**server.body["spec"], "holderIdentity": "thief"}})
        await one.attempt()
        assert (one.holds, one.holder) == (False, "thief")
        server.now_s += 15
        await one.attempt()
        assert one.holds
        server.body = None
        await one.attempt()
        await one.attempt()
        assert server.body is not None
        assert one.holds

    asyncio.run(story())


def test_giving_it_back(server: Server) -> None:
    """Others need not wait, and who gave it back writes nothing more; who has none gives nothing back."""

    async def story() -> None:
        one, two = server.candidate("one"), server.candidate("two")
        await one.attempt()
        await two.attempt()
        await two.release()
        await one.release()
        with pytest.raises(LeaseLost):
            one.guard()
        await two.attempt()
        assert two.holds

    asyncio.run(story())
    assert server.holders == ["one", "", "two"]


def test_waiting_for_it(server: Server) -> None:
    """Who waits hears that it was won, and that it is over."""

    async def story() -> None:
        lease = server.candidate("one")
        runs = asyncio.create_task(lease.run())
        await asyncio.wait_for(lease.won(), 30)
        ends = asyncio.create_task(lease.lost())
        await asyncio.sleep(0)
        assert not ends.done()
        server.now_s += 10
        await asyncio.wait_for(ends, 30)
        runs.cancel()

    asyncio.run(story())


def test_times_that_make_no_sense() -> None:
    """The holder must stop before others begin, and have time for a second attempt."""
    with pytest.raises(InvalidRequest, match="retry < renew < duration"):
        LeaseTimes(duration_s=10, renew_s=10, retry_s=2)


def test_who_works_no_more_lets_others_have_it() -> None:
    """A controller that has stopped does not renew, however well its thread for the Lease does."""

    async def story() -> None:
        server, well = Server(), [True]
        times = LeaseTimes(duration_s=1.0, renew_s=0.5, retry_s=0.01)
        lease = Lease(server, "ns", "huddle", "one", times, lambda: server.now_s, is_well=lambda: well[0])
        running = asyncio.create_task(lease.run())
        await lease.won()
        well[0] = False
        renewed = len(server.holders)
        server.now_s += 0.5
        await lease.lost()
        await asyncio.sleep(0.05)
        assert len(server.holders) == renewed
        well[0] = True
        await lease.won()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
