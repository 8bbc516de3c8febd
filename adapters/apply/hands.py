"""What is done to pods: let go to their nodes, by patch or binding, and given back. Everything may be done twice."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from adapters.apply.gate import GATE, gates, release_patch
from adapters.apply.naming_node import node_patch
from adapters.apply.observed import Member
from adapters.apply.own_writes import OwnWrites, uid_of
from adapters.apply.writes import Calls
from adapters.kubernetes.api_errors import ApiError, Conflict, Invalid, NotFound
from adapters.kubernetes.placements import Hand, Seat
from adapters.kubernetes.resources import PODS
from solver.service.failpoints import failpoint

Body = Mapping[str, Any]

#: Calls on their way at once, over all gangs.
AT_ONCE = 16
#: How often a pod that changes meanwhile is patched anew.
_ATTEMPTS = 4


class Hands:
    """Acts on pods. In one event loop."""

    def __init__(self, calls: Calls, own: OwnWrites, at_once: int = AT_ONCE) -> None:
        self._calls, self._own = calls, own
        self._slots = asyncio.Semaphore(at_once)

    async def let_go(
        self, seats: Sequence[Seat], members: Mapping[str, Member], bodies: Mapping[str, Body]
    ) -> dict[str, str]:
        """Let pods go to their seats. members, bodies: by uid, as they were seen.

        Returns pod → problem of those that could not be let go for a reason of their own: they are not as they were
        seen, or the API server does not accept it. Raises ApiError when the server cannot be asked now; the others are
        let go nevertheless.
        """
        return await self._each((seat.pod, self._let_go(seat, members[seat.uid], bodies[seat.uid])) for seat in seats)

    async def announce(
        self, seats: Sequence[Seat], members: Mapping[str, Member], bodies: Mapping[str, Body]
    ) -> dict[str, Body]:
        """Nominate gated pods to their nodes in their status, where kube-scheduler keeps room for them, gate or not.

        Returns all pods by uid as they are then. Nothing depends on it: what fails is left out.
        """
        due = [(seat.uid, seat.node) for seat in seats if members[seat.uid].gated]
        found = await asyncio.gather(*(self._nominate(bodies[uid], node) for uid, node in due))
        return {**bodies, **{uid: body for (uid, _), body in zip(due, found, strict=True)}}

    async def take_back(self, members: Sequence[Member], bodies: Mapping[str, Body]) -> None:
        """Gated pods have no node any more: end their nomination."""
        await asyncio.gather(*(self._nominate(bodies[member.uid], "") for member in members if member.gated))

    async def _nominate(self, body: Body, node: str) -> Body:
        """The pod with this node in its status, or as it was."""
        if ((body.get("status") or {}).get("nominatedNodeName") or "") == node:
            return body
        metadata = body["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": {"nominatedNodeName": node or None}}
        async with self._slots:
            try:
                body = await self._calls.patch(PODS.path(metadata["namespace"], metadata["name"], "status"), patch)
            except ApiError:
                return body
        self._own.wrote(body)
        return body

    async def give_back(self, members: Sequence[Member]) -> dict[str, str]:
        """Make pods go: evicted if bound, deleted if not, or if there is nothing any more where they are bound.

        Returns and raises as `let_go`; one that a disruption budget protects now raises Busy.
        """
        return await self._each((member.pod, self._give_back(member)) for member in members)

    async def _each(self, calls: Iterable[tuple[str, Coroutine[Any, Any, None]]]) -> dict[str, str]:
        named = list(calls)
        results = await asyncio.gather(*(self._one(call) for _, call in named), return_exceptions=True)
        problems: dict[str, str] = {}
        failed: list[BaseException] = []
        for (pod, _), result in zip(named, results, strict=True):
            if isinstance(result, Conflict | NotFound | Invalid):
                problems[pod] = str(result)
            elif result is not None:
                failed.append(result)
        if failed:
            raise failed[0]
        return problems

    async def _one(self, call: Coroutine[Any, Any, None]) -> None:
        async with self._slots:
            await call

    async def _let_go(self, seat: Seat, member: Member, body: Body) -> None:
        namespace, name = seat.pod.split("/", 1)
        if GATE in gates(body):
            body = await self._take_off(PODS.path(namespace, name), seat, body)
        if member.hand is Hand.BIND and not gates(body):
            await self._bind(namespace, name, seat)
        if member.hand is Hand.EXTENDER and not member.gated:
            await self._name_node(PODS.path(namespace, name), seat, body)

    async def _take_off(self, path: str, seat: Seat, body: Body) -> Body:
        """Pin the pod and take the gate off; the pod as it is then."""
        for left in reversed(range(_ATTEMPTS)):
            failpoint("apply.gate.before_patch")
            try:
                body = await self._calls.patch(path, release_patch(body, seat.node), "json")
            except (Conflict, Invalid):
                body = await self._calls.get(path)
                if uid_of(body) != seat.uid or GATE not in gates(body):
                    return body
                if not left:
                    raise
            else:
                self._own.wrote(body)
                failpoint("apply.gate.after_patch")
                return body
        raise AssertionError("the last attempt returns or raises")

    async def _name_node(self, path: str, seat: Seat, body: Body) -> None:
        """Say in the pod where it may be bound, which also wakes it in its scheduler."""
        for left in reversed(range(_ATTEMPTS)):
            failpoint("extender.naming.before")
            try:
                self._own.wrote(await self._calls.patch(path, node_patch(body, seat.node), "json"))
            except (Conflict, Invalid):
                body = await self._calls.get(path)
                if uid_of(body) != seat.uid or body["spec"].get("nodeName") or not left:
                    raise
            else:
                failpoint("extender.naming.after")
                return

    async def _bind(self, namespace: str, name: str, seat: Seat) -> None:
        failpoint("apply.bind.before")
        try:
            await self._calls.bind(namespace, name, seat.node, seat.uid)
        except Conflict:
            body = await self._calls.get(PODS.path(namespace, name))
            if uid_of(body) != seat.uid or body["spec"].get("nodeName") != seat.node:
                raise
            self._own.wrote(body)
        failpoint("apply.bind.after")

    async def _give_back(self, member: Member) -> None:
        namespace, name = member.pod.split("/", 1)
        failpoint("apply.give_back.before")
        with suppress(NotFound, Conflict):  # it is gone, and what has its name now is another pod
            if member.node and not member.stranded:
                await self._calls.evict(namespace, name, member.uid)
            else:
                grace_s = 0 if member.stranded else None
                await self._calls.delete(PODS.path(namespace, name), uid=member.uid, grace_s=grace_s)
        failpoint("apply.give_back.after")
