"""What the API server holds, here: raw objects by kind and name, pods by gang, and the solver's state beside them.

Everything happens in one event loop. Within one step of it the mirror takes a group of changes, brings the held state
up to date and then tells whoever wants to know: who hears of a change finds it in both.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from adapters.kubernetes.api import Api
from adapters.kubernetes.claim_index import ClaimIndex
from adapters.kubernetes.decoding import Body
from adapters.kubernetes.folding import FOLDED, Fold
from adapters.kubernetes.gang_index import GangIndex
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.occupancy import Key
from adapters.kubernetes.problems import Problems
from adapters.kubernetes.resources import COMPUTE_DOMAINS, MIRRORED, PODS, PRIORITY_CLASSES, Resource
from adapters.kubernetes.selected_labels import SelectedKeys, named_by_pod
from adapters.kubernetes.storage import ClaimKey
from adapters.kubernetes.watching import Event, Follower, Rhythm, Verb
from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.changes import Change, NodeGone, NodeSet, PodBound
from solver.service.config import Limits
from solver.service.held import Needed
from solver.service.state import HeldCluster

#: Told key, body before and body now (None = not there) of every object of a kind that changed. The held state is up
#: to date by then, and subscribers have not heard of it.
ChangeHook = Callable[[Key, Body | None, Body | None], None]

_log = logging.getLogger("huddle.mirror")
_ENDED = ("Succeeded", "Failed")
#: Kinds each change of which may matter to every gang.
_FOR_ALL = (PRIORITY_CLASSES, COMPUTE_DOMAINS)
_EVERYTHING = Limits(max_nodes=10_000_000, max_bound_pods=100_000_000)


@dataclass(frozen=True, slots=True)
class News:
    """What may have changed since the last time. gangs: keys. room: gangs that wait may fit now, whichever they are."""

    gangs: frozenset[str]
    room: bool


class Subscription:
    """News for one reader; what it does not read in time is joined, never lost."""

    def __init__(self) -> None:
        self._gangs: set[str] = set()
        self._room = False
        self._some = asyncio.Event()

    async def next(self) -> News:
        """What may have changed since the last call; waits until something has."""
        await self._some.wait()
        news = News(frozenset(self._gangs), self._room)
        self._gangs, self._room = set(), False
        self._some.clear()
        return news

    def tell(self, news: News) -> None:
        """More has changed."""
        self._gangs |= news.gangs
        self._room |= news.room
        if news.gangs or news.room:
            self._some.set()


class Mirror:
    """The API server's objects as they are now. Bodies are shared: never change them."""

    def __init__(
        self,
        api: Api,
        held: HeldCluster | None = None,
        resources: Sequence[Resource] = MIRRORED,
        rhythm: Rhythm | None = None,
        accelerators: Accelerators = KNOWN_ACCELERATORS,
    ) -> None:
        """held: filled by this mirror alone. resources: kinds to follow; the others look as if there were none."""
        self.held = held or HeldCluster("cluster", _EVERYTHING)
        self._followers = [Follower(api, resource, self, rhythm) for resource in resources]
        self._store: dict[Resource, dict[Key, Body]] = {resource: {} for resource in (*FOLDED, *MIRRORED, *resources)}
        self._problems = Problems()
        self._fold = Fold(self._store, self._problems, accelerators)
        self._gangs = GangIndex(self._store)
        self._claims = ClaimIndex()
        self.selected = SelectedKeys()  # of all pods that have not ended
        self._unheard = set(resources)
        self._versions: dict[Resource, str] = {}
        self._synced = asyncio.Event()
        self._base = self._sequence = 0
        self._subscriptions: list[Subscription] = []
        self._hooks: dict[Resource, list[ChangeHook]] = {}
        self._changed: list[tuple[Resource, Key, Body | None, Body | None]] = []  # since the last step

    async def run(self) -> None:
        """Follow every kind until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers:
                tasks.create_task(follower.run())

    async def synced(self) -> None:
        """Wait until every kind has been listed or is not known to the server, and `held` holds it all."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether `synced` would not wait."""
        return self._synced.is_set()

    def all(self, resource: Resource) -> Mapping[Key, Body]:
        """Every object of a kind; empty for one the server does not know. A live view: copy it before you wait."""
        return MappingProxyType(self._store[resource])

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None. The namespace of kinds that live in none does not matter."""
        return self._store[resource].get((namespace if resource.namespaced else "", name))

    def version_of(self, resource: Resource) -> str | None:
        """The API version under which the server serves a kind, such as `v1beta1`; None if it does not."""
        return self._versions.get(resource)

    def pods_of(self, gang_key: str) -> tuple[Body, ...]:
        """Pods of a gang, by natural name; those that have ended or are leaving too."""
        return self._gangs.pods_of(gang_key)

    def pods_on(self, node: str) -> tuple[Body, ...]:
        """Pods that hold capacity of a node: bound to it, promised it by a BindRequest or nominated to it."""
        store = self._store[PODS]
        return tuple(store[key] for key in self._fold.pods_on(node) if key in store)

    def pods_mounting(self, claim: ClaimKey) -> tuple[Body, ...]:
        """Pods that mount a claim; those that have ended or are leaving too."""
        return tuple(self._store[PODS][key] for key in self._claims.pods_mounting(claim))

    def gang_of(self, pod: Mapping[str, Any]) -> str:
        """The gang of a pod: that it names, else that of its owner while it is Huddle's to place; empty without any."""
        return self._gangs.gang_of(pod)

    def gang_keys(self) -> frozenset[str]:
        """Gangs with a pod, a Gang, a DynamoGraphDeployment, a PodGroup or a Placement; of owners only Huddle's."""
        return self._gangs.keys()

    def subscribe(self) -> Subscription:
        """News from now on; the first, once all is synced, says that everything may have changed."""
        subscription = Subscription()
        self._subscriptions.append(subscription)
        if self.is_synced:
            subscription.tell(News(self.gang_keys(), room=True))
        return subscription

    def on_change(self, resource: Resource, hook: ChangeHook) -> None:
        """Call `hook` with every change of a kind from now on; once all is synced, first with every object."""
        self._hooks.setdefault(resource, []).append(hook)
        if self.is_synced:
            for key, body in list(self._store[resource].items()):
                hook(key, None, body)

    @property
    def problems(self) -> Mapping[str, str]:
        """Kind or object → what is wrong with it, in one sentence: kinds that cannot be read, objects left out."""
        return self._problems.now

    def listed(self, resource: Resource, version: str, bodies: Sequence[Body]) -> None:
        """All objects of a kind (`watching.Sink`)."""
        now = {_key(body): body for body in bodies}
        known = self._store[resource]
        with garbage_collection_paused():
            for key in [key for key in known if key not in now]:
                self._take(resource, key, None)
            for key, body in now.items():
                before = known.get(key)
                if before is None or _identity(before) != _identity(body):
                    self._take(resource, key, body)
            self._versions[resource] = version
            self._heard(resource)

    def changed(self, resource: Resource, events: Sequence[Event]) -> None:
        """Changes of a kind (`watching.Sink`)."""
        for event in events:
            self._take(resource, _key(event.body), None if event.verb is Verb.DELETED else event.body)
        self._step()

    def absent(self, resource: Resource) -> None:
        """A kind that the server does not know (`watching.Sink`)."""
        with garbage_collection_paused():
            self._versions.pop(resource, None)
            for key in list(self._store[resource]):
                self._take(resource, key, None)
            self._heard(resource)

    def trouble(self, resource: Resource, problem: str) -> None:
        """A kind about which nothing is learnt (`watching.Sink`)."""
        self._problems.set(str(resource), problem)

    def _heard(self, resource: Resource) -> None:
        self._problems.set(str(resource), "")
        self._unheard.discard(resource)
        self._step()

    def _take(self, resource: Resource, key: Key, body: Body | None) -> None:
        """One object as it is now."""
        known = self._store[resource]
        before = known.get(key)
        if body is not None:
            known[key] = body
        elif known.pop(key, None) is None:
            return
        if self.is_synced:
            self._changed.append((resource, key, before, body))
        if resource is PODS:
            self._gangs.note_pod(key, before, body)
            self._claims.note_pod(key, before, body)
            self._note_selectors(key[0], before, body)
        if resource in FOLDED:
            self._fold.note(resource, key, before, body)

    def _note_selectors(self, namespace: str, before: Body | None, now: Body | None) -> None:
        """A pod has changed: count what it selects by, as long as it has not ended."""
        for body, count in ((now, self.selected.add), (before, self.selected.remove)):
            if body and (body.get("status") or {}).get("phase") not in _ENDED:
                count(named_by_pod(body, namespace))

    def _step(self) -> None:
        """Bring the held state up to date and tell; before all is known for the first time, wait."""
        if self._unheard:
            return
        if not self.is_synced:
            self._begin()
            return
        changed, self._changed = self._changed, []
        changes = self._fold.drain()
        if changes:
            self._hold(changes)
        for resource, key, before, now in changed:
            for hook in self._hooks.get(resource, ()):
                hook(key, before, now)
        gangs = set(self._gangs_on_nodes(changes))
        for resource, key, before, now in changed:
            gangs |= self._gangs.keys_of(resource, before, now)
            gangs |= self._gangs_mounting(resource, key, before, now)
        room = self._fold.is_room_left or any(not isinstance(change, PodBound) for change in changes)
        room = room or any(resource in _FOR_ALL for resource, *_ in changed)
        for subscription in self._subscriptions:
            subscription.tell(News(frozenset(gangs), room))

    def _begin(self) -> None:
        """Everything is known for the first time."""
        self._fold.drain()
        self._put()
        self._synced.set()
        for resource, hooks in self._hooks.items():
            for key, body in list(self._store[resource].items()):
                for hook in hooks:
                    hook(key, None, body)
        for subscription in self._subscriptions:
            subscription.tell(News(self.gang_keys(), room=True))

    def _put(self) -> None:
        self._base, self._sequence = self._base + 1, 0
        self.held.put(str(self._base), self._fold.snapshot())

    def _hold(self, changes: Sequence[Change]) -> None:
        self._sequence += 1
        answer = self.held.apply(str(self._base), self._sequence, changes)
        if isinstance(answer, Needed):
            _log.error("the held state is made anew: %s", answer.message)
            self._put()

    def _gangs_mounting(self, resource: Resource, key: Key, before: Body | None, now: Body | None) -> set[str]:
        """Gangs with pods whose volumes an object may be about."""
        pods = self._claims.touched_by(resource, key, before, now)
        return {gang for pod in pods if (gang := self._gangs.of_pod(pod))}

    def _gangs_on_nodes(self, changes: Sequence[Change]) -> set[str]:
        """Gangs with pods on nodes that changed."""
        names = [change.node.name for change in changes if isinstance(change, NodeSet)]
        names += [change.name for change in changes if isinstance(change, NodeGone)]
        keys = (key for name in names for key in self._fold.pods_on(name))
        return {gang for key in keys if (gang := self._gangs.of_pod(key))}


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _identity(body: Body) -> tuple[str, str]:
    """What tells two states of an object apart."""
    return body["metadata"]["uid"], body["metadata"]["resourceVersion"]
