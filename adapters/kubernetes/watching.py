"""One kind, followed: a list, then a watch that is resumed wherever it breaks, and a new list only after 410."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from adapters.kubernetes.api import Api
from adapters.kubernetes.api_errors import ApiError, Gone, NotFound, Unreachable, api_error
from adapters.kubernetes.decoding import Body, Decoder, decoder
from adapters.kubernetes.listing import list_kind
from adapters.kubernetes.resources import Resource

#: A watch that ends sooner, in seconds, has not worked.
_SHORT_S = 1.0


class Verb(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. body: the object as it is now, or as it last was."""

    verb: Verb
    body: Body


class Sink(Protocol):
    """Who wants to know. All calls come from the event loop and must not take long."""

    def listed(self, resource: Resource, version: str, bodies: Sequence[Body]) -> None:
        """All objects there are, in this API version; whatever else was known is gone."""

    def changed(self, resource: Resource, events: Sequence[Event]) -> None:
        """Changes in order, some at a time."""

    def absent(self, resource: Resource) -> None:
        """The server does not know the kind; it is looked for again now and then."""

    def trouble(self, resource: Resource, problem: str) -> None:
        """Nothing is learnt for now, in one sentence; it is tried again. Empty: that is over."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a kind is followed.

    page: objects of one page of a list. watch_s: until the server ends a watch, with jitter up to as much again.
    pause_s: before the second attempt after trouble, doubled up to most_pause_s, with jitter. absent_s: until a kind
    that the server does not know is looked for again.
    """

    page: int = 1000
    watch_s: float = 300.0
    pause_s: float = 0.2
    most_pause_s: float = 10.0
    absent_s: float = 30.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        longest_s = min(self.most_pause_s, self.pause_s * 2.0 ** min(failures - 1, 30))
        return random.uniform(0.5, 1.0) * longest_s


class Follower:
    """Follows one kind for a sink."""

    def __init__(self, api: Api, resource: Resource, sink: Sink, rhythm: Rhythm | None = None) -> None:
        self._api, self._resource, self._sink = api, resource, sink
        self._rhythm = rhythm or Rhythm()
        self._api_version = ""  # of the group, since the kind was listed
        self._since: str | None = None  # resource version of the last thing told; None: a list is needed
        self._failures = 0  # since something was last learnt
        self._in_trouble = False

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                if self._since is None:
                    await self._list()
                await self._watch()
            except Gone:
                self._since = None
                self._failures += 1
                if self._failures > 1:  # once is the way of things
                    await asyncio.sleep(self._rhythm.pause(self._failures))
            except NotFound:
                self._since, self._failures, self._in_trouble = None, 0, False
                self._sink.absent(self._resource)
                await asyncio.sleep(self._rhythm.absent_s * random.uniform(0.75, 1.0))
            except ApiError as error:
                self._failures += 1
                if self._failures > 1 or not isinstance(error, Unreachable):  # a watch that breaks is no news
                    self._in_trouble = True
                    self._sink.trouble(self._resource, str(error))
                await asyncio.sleep(self._rhythm.pause(self._failures))

    async def _list(self) -> None:
        """Tell everything there is. Raises NotFound when the server does not know the kind."""
        found = await list_kind(self._api, self._resource, self._rhythm.page)
        self._sink.listed(self._resource, found.version, found.bodies)
        self._api_version, self._since = found.version, found.since

    async def _watch(self) -> None:
        """Tell changes until the server ends the watch."""
        began_s = time.monotonic()
        async with aclosing(self._events()) as groups:
            async for events in groups:
                if self._in_trouble:
                    self._in_trouble = False
                    self._sink.trouble(self._resource, "")
                if events:
                    self._sink.changed(self._resource, events)
        if time.monotonic() - began_s < _SHORT_S:  # a server that ends them all at once must not be asked all the time
            self._failures += 1
            await asyncio.sleep(self._rhythm.pause(self._failures))
        else:
            self._failures = 0

    async def _events(self) -> AsyncGenerator[list[Event], None]:
        """Changes as they arrive; a group is empty when the watch begins and when only a bookmark came."""
        seconds = max(1, round(self._rhythm.watch_s * random.uniform(1.0, 2.0)))
        path = self._resource.path(version=self._api_version)
        objects = decoder(self._resource)
        watch = self._api.watch(path, self._since or "", {"timeoutSeconds": str(seconds)})
        async with aclosing(watch) as groups:
            async for lines in groups:
                read = [read_line(line, objects) for line in lines]
                yield [Event(verb, body) for verb, body in read if verb is not None]
                if read:
                    self._since, self._failures = read[-1][1]["metadata"]["resourceVersion"], 0


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_LINES = msgspec.json.Decoder(_Line)
_VERBS = frozenset(Verb)


def read_line(line: bytes, objects: Decoder) -> tuple[Verb | None, Body]:
    """One line of a watch: what happened to which object; None for a bookmark. Raises ApiError, Gone above all."""
    try:
        event = _LINES.decode(line)
        verb = event.type
        body = objects.body(event.object) if verb in _VERBS else msgspec.json.decode(event.object)
        if verb == "ERROR":
            raise api_error(
                body.get("code") or 500, body.get("reason") or "", body.get("message") or "the watch failed"
            )
        body["metadata"]["resourceVersion"]  # without it nothing can be resumed
        return (None if verb == "BOOKMARK" else Verb(verb)), body
    except (KeyError, TypeError, ValueError) as error:
        raise ApiError(200, "NotAnEvent", f"a watch sent something that is no event: {error}") from error
