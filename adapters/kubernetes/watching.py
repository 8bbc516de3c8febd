"""One kind, followed: a list, then a watch that is resumed wherever it breaks, and a new list only after 410."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from adapters.kubernetes.api import Api
from adapters.kubernetes.resources import Resource

Body = dict[str, Any]


class Verb(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. body: the object as it is now, or as it last was; without managed fields."""

    verb: Verb
    body: Body


class Sink(Protocol):
    """Who wants to know. All calls come from the event loop and must not take long."""

    def listed(self, resource: Resource, bodies: Sequence[Body]) -> None:
        """All objects there are; whatever else was known is gone."""

    def changed(self, resource: Resource, events: Sequence[Event]) -> None:
        """Changes in order, some at a time."""

    def absent(self, resource: Resource) -> None:
        """The server does not know the kind; it is looked for again now and then."""

    def trouble(self, resource: Resource, problem: str) -> None:
        """Nothing is learnt for now, in one sentence; it is tried again. Empty: that is over."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a kind is followed.

    page: objects of one page of a list. watch_s: until the server ends a watch, of which half is jitter. pause_s:
    before the second attempt after trouble, doubled up to most_pause_s, with jitter. absent_s: until a kind the server
    does not know is looked for again.
    """

    page: int = 1000
    watch_s: float = 480.0
    pause_s: float = 0.2
    most_pause_s: float = 10.0
    absent_s: float = 30.0


class Follower:
    """Follows one kind for a sink."""

    def __init__(self, api: Api, resource: Resource, sink: Sink, rhythm: Rhythm | None = None) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Follow until cancelled."""
        raise NotImplementedError
