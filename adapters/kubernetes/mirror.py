"""What the API server holds, here: raw objects by kind and name, pods by gang, and the solver's state beside them.

Everything happens in one event loop. Within one step of it the mirror takes a group of changes, brings the held state
up to date and then tells its subscribers: whoever hears of a change finds it in both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.kubernetes.api import Api
from adapters.kubernetes.resources import MIRRORED, Resource
from adapters.kubernetes.watching import Rhythm
from solver.service.state import HeldCluster

Body = dict[str, Any]
#: Namespace (empty for kinds without one) and name.
Key = tuple[str, str]
#: Told key, body before and body now (None = not there) of every object of a kind that changed; the held state is up to
#: date, subscribers have not heard of it.
ChangeHook = Callable[[Key, Body | None, Body | None], None]


@dataclass(frozen=True, slots=True)
class News:
    """What may have changed since the last time. gangs: keys. room: gangs that wait may fit now, whichever they are."""

    gangs: frozenset[str]
    room: bool


class Subscription:
    """News for one reader; what it does not read in time is joined, never lost."""

    async def next(self) -> News:
        """What may have changed since the last call; waits until something has."""
        raise NotImplementedError


class Mirror:
    """The API server's objects as they are now. Bodies are shared: never change them."""

    held: HeldCluster

    def __init__(
        self,
        api: Api,
        held: HeldCluster | None = None,
        resources: Sequence[Resource] = MIRRORED,
        rhythm: Rhythm | None = None,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Follow every kind until cancelled."""
        raise NotImplementedError

    async def synced(self) -> None:
        """Wait until every kind has been listed or is not known to the server, and `held` holds it all."""
        raise NotImplementedError

    @property
    def is_synced(self) -> bool:
        """Whether `synced` would not wait."""
        raise NotImplementedError

    def all(self, resource: Resource) -> Mapping[Key, Body]:
        """Every object of a kind; empty for one the server does not know. A live view: copy it before you wait."""
        raise NotImplementedError

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None."""
        raise NotImplementedError

    def version_of(self, resource: Resource) -> str | None:
        """The API version under which the server serves a kind, such as `v1beta1`; None if it does not."""
        raise NotImplementedError

    def pods_of(self, gang_key: str) -> tuple[Body, ...]:
        """Pods of a gang, by natural name; those that have ended or are leaving too."""
        raise NotImplementedError

    def gang_keys(self) -> frozenset[str]:
        """Gangs that have a pod, a Gang, a PodGroup, a LeaderWorkerSet or a Placement."""
        raise NotImplementedError

    def subscribe(self) -> Subscription:
        """News from now on; the first says that everything may have changed."""
        raise NotImplementedError

    def on_change(self, resource: Resource, hook: ChangeHook) -> None:
        """Call `hook` with every change of a kind from now on; objects that are there already come at once."""
        raise NotImplementedError

    @property
    def problems(self) -> Mapping[str, str]:
        """Kind or object → what is wrong with it, in one sentence: kinds that cannot be read, objects left out."""
        raise NotImplementedError
