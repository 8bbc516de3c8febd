"""The verb bind: members of gangs go to their seats together, other pods where nothing is promised."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from adapters.apply.door import Term
from adapters.apply.naming_node import MOST_UNGATED, Extended
from adapters.extender.members import Members
from adapters.extender.room import Room, read_pod
from adapters.extender.wire import ToBind
from adapters.kubernetes.api_errors import ApiError, Conflict, NotFound
from adapters.kubernetes.resources import PODS

Body = Mapping[str, Any]

#: Scheduler of pods that name none.
DEFAULT_SCHEDULER = "default-scheduler"
#: A pod that changes meanwhile is looked at anew so often.
_ATTEMPTS = 4
#: Room of a pod that may or may not have been bound is kept for so long, in seconds.
UNCLEAR_S = 10.0
#: Gangs of which is remembered who passed the filter; and how often a bind that waits looks, in seconds.
_MOST_GANGS, _LOOK_S = 10_000, 0.1

_log = structlog.get_logger("huddle.extender")


class Binding:
    """Binds pods in one term. In one event loop.

    extended: whose pods of no gang may be bound. wait_s: longest that a bind waits for the others of its gang.
    """

    def __init__(self, term: Term, members: Members, room: Room, extended: Extended, wait_s: float) -> None:
        self._term, self._members, self._room, self._wait_s = term, members, room, wait_s
        self._schedulers = extended.schedulers
        self._passed: OrderedDict[str, set[tuple[str, str]]] = OrderedDict()
        self._news = asyncio.Event()

    def note_passed(self, gang: str, uid: str, node: str) -> None:
        """A member has passed the filter, to this node."""
        self._passed.setdefault(gang, set()).add((uid, node))
        self._passed.move_to_end(gang)
        if len(self._passed) > _MOST_GANGS:
            self._passed.popitem(last=False)
        self._news.set()

    async def bind(self, asked: ToBind) -> str:
        """Bind a pod; why it could not be bound, empty when it is."""
        pod = self._members.pod(asked.namespace, asked.name, asked.uid) or await self._looked_up(asked)
        for _ in range(_ATTEMPTS):
            if pod is None:
                return f"pod {asked.namespace}/{asked.name} is gone"
            node = pod["spec"].get("nodeName")
            if node:
                return "" if node == asked.node else f"the pod is bound to {node}"
            try:
                return await self._bind(asked, pod)
            except NotFound:
                pod = None
            except Conflict:
                pod = await self._looked_up(asked)
        return "the pod keeps changing"

    async def _bind(self, asked: ToBind, pod: Body) -> str:
        gang = self._term.mirror.gang_of(pod)
        if not self._term.covers(gang):
            return await self._bind_single(asked, pod)
        problem = self._refusal(gang, asked, pod) or await self._together(gang)
        if problem:
            return problem
        pod = self._members.pod(asked.namespace, asked.name, asked.uid) or pod  # as it is after the wait
        problem = self._refusal(gang, asked, pod)
        if not problem:
            # with its version, so that a pod that is given another seat meanwhile is not bound to this one
            version = pod["metadata"]["resourceVersion"]
            await self._term.calls.bind(asked.namespace, asked.name, asked.node, asked.uid, version)
        return problem

    async def _bind_single(self, asked: ToBind, pod: Body) -> str:
        """Bind a pod of no gang that is one of our schedulers' to a node that is open to it and not promised.

        The scheduler has looked at all that, but what asks here may be something else that has its certificate.
        """
        scheduler = pod["spec"].get("schedulerName") or DEFAULT_SCHEDULER
        if scheduler not in self._schedulers:
            return f"the pod names scheduler {scheduler}, for which nothing is bound here"
        objection = self._room.objection(pod, asked.node)
        if objection:
            return objection
        taken = read_pod(pod, asked.node)
        if taken is not None and self._room.taken_on(asked.uid) != asked.node:
            self._room.give_back(asked.uid)
            with self._term.reconciler.claims:
                problem = self._room.refused(taken.requests).get(asked.node)
                if problem:
                    return problem
                self._room.take(taken)
        try:
            await self._term.calls.bind(asked.namespace, asked.name, asked.node, asked.uid)
        except NotFound:
            self._room.give_back(asked.uid)
            raise
        except ApiError:
            asyncio.get_running_loop().call_later(UNCLEAR_S, self._room.give_back, asked.uid)
            raise
        return ""

    def _refusal(self, gang: str, asked: ToBind, pod: Body) -> str:
        node = self._members.node(gang, pod)
        if not node:
            return self._members.why(gang, pod)
        return "" if node == asked.node else f"it is planned on {node}"

    async def _together(self, gang: str) -> str:
        """Wait until every member that is to be bound has passed the filter; why that was in vain."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_s
        while missing := self._missing(gang):
            if loop.time() >= end:
                return f"gang {gang}: {missing} of its pods have not passed the filter yet"
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()
        return ""

    def _missing(self, gang: str) -> int:
        """How many the others of a gang wait for; large gangs came through gates."""
        awaited = self._members.awaited(gang)
        if len(awaited) > MOST_UNGATED:
            return 0
        return len(set(awaited) - self._passed.get(gang, set()))

    async def _looked_up(self, asked: ToBind) -> Body | None:
        """The pod as the API server has it, if it is this one."""
        try:
            pod = await self._term.calls.get(PODS.path(asked.namespace, asked.name))
        except NotFound:
            return None
        if pod["metadata"]["uid"] != asked.uid:
            return None
        self._term.reconciler.wrote(pod)
        return pod
