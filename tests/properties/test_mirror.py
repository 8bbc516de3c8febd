"""Whatever is told to a mirror, in any order and groups, it ends as a fresh list would have it; nothing is lost."""

import asyncio
import random
from collections.abc import Sequence

from hypothesis import given, settings

from adapters.files.cluster import load_cluster
from adapters.kubernetes.api import Api
from adapters.kubernetes.decoding import Body
from adapters.kubernetes.gang_keys import gang_key
from adapters.kubernetes.mirror import Mirror, Subscription
from adapters.kubernetes.occupancy import Key
from adapters.kubernetes.resources import MIRRORED, NODES, PODS, Resource
from adapters.kubernetes.selected_labels import SelectedKeys, named_by_pod
from adapters.kubernetes.watching import Event
from support.api_world import ApiWorld
from support.clusters import meaning, tidy
from support.strategies import seeds


class Server:
    """A world of which every kind is told by a watch of its own, sooner or later, with lists in between."""

    def __init__(self, rng: random.Random, mirror: Mirror) -> None:
        self.world, self.mirror = ApiWorld(rng), mirror
        self._rng = rng
        self._untold: dict[Resource, list[Event]] = {kind: [] for kind in MIRRORED}
        self._unknown = {kind for kind in MIRRORED[2:] if rng.random() < 0.2}
        for _ in range(rng.randint(0, 20)):
            self.change()
        for kind in rng.sample(MIRRORED, len(MIRRORED)):
            self.list(kind)

    def change(self) -> None:
        """Something happens."""
        resource, event = self.world.change()
        self._untold[resource].append(event)

    def tell(self, resource: Resource) -> None:
        """The watch of a kind brings some of what happened."""
        if resource in self._unknown or not self._untold[resource]:
            return
        count = self._rng.randint(1, len(self._untold[resource]))
        events = [self._untold[resource].pop(0) for _ in range(count)]
        self.mirror.changed(resource, events)

    def list(self, resource: Resource) -> None:
        """The kind is listed anew; the watch goes on from there."""
        self._untold[resource].clear()
        if resource in self._unknown:
            self.mirror.absent(resource)
        else:
            self.mirror.listed(resource, resource.versions[0], list(self.world.objects[resource].values()))

    def turn(self, resource: Resource) -> None:
        """The kind is taken away, or comes."""
        if resource in self._unknown:
            self._unknown.discard(resource)
        elif resource not in (NODES, PODS):
            self.world.objects[resource].clear()
            self._unknown.add(resource)
        self.list(resource)

    def settle(self) -> None:
        """Everything is told, and every kind there is known."""
        for resource in self._rng.sample(MIRRORED, len(MIRRORED)):
            if resource in self._unknown:
                self.turn(resource)
            while self._untold[resource]:
                self.tell(resource)


class Reader:
    """Keeps what it read of each gang when it last heard of it."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._news = mirror, mirror.subscribe()
        self.seen: dict[str, Sequence[Body]] = {}

    async def read(self) -> None:
        """Read the gangs of the news, if there is any."""
        news = await next_of(self._news)
        self.seen |= {gang: self._mirror.pods_of(gang) for gang in news}


async def next_of(subscription: Subscription) -> frozenset[str]:
    """The gangs of the next news; none when there is none yet."""
    try:
        async with asyncio.timeout(0):
            return (await subscription.next()).gangs
    except TimeoutError:
        return frozenset()


@settings(deadline=None)
@given(seeds())
def test_a_mirror_equals_a_fresh_list(seed: int) -> None:
    """Raw objects, the held state, pods by gang, and what a reader of news last saw of each gang."""
    asyncio.run(_run(random.Random(seed)))


async def _run(rng: random.Random) -> None:
    mirror = Mirror(Api())
    reader = Reader(mirror)
    hooked: dict[Key, Body] = {}
    mirror.on_change(PODS, lambda key, before, now: _follow(hooked, key, before, now))
    server = Server(rng, mirror)
    assert mirror.is_synced
    for _ in range(rng.randint(0, 60)):
        server.change()
        move = rng.random()
        if move < 0.6:
            server.tell(rng.choice(MIRRORED))
        elif move < 0.65:
            server.list(rng.choice(MIRRORED))
        elif move < 0.7:
            server.turn(rng.choice(MIRRORED))
        if rng.random() < 0.3:
            await reader.read()
    server.settle()
    await reader.read()
    _compare(mirror, server.world)
    assert hooked == server.world.objects[PODS]
    gangs = {gang_key(pod) for pod in hooked.values()} - {""}
    assert gangs <= mirror.gang_keys()
    for gang in {*gangs, *reader.seen}:
        assert list(reader.seen.get(gang, ())) == list(mirror.pods_of(gang))
        assert len(mirror.pods_of(gang)) == sum(gang_key(pod) == gang for pod in hooked.values())


def _follow(known: dict[Key, Body], key: Key, before: Body | None, now: Body | None) -> None:
    assert known.get(key) == before
    if now is None:
        del known[key]
    else:
        known[key] = now


def _compare(mirror: Mirror, world: ApiWorld) -> None:
    for resource in MIRRORED:
        assert dict(mirror.all(resource)) == world.objects[resource]
    snapshot = mirror.held.view().snapshot
    tidy(snapshot)
    assert meaning(snapshot) == meaning(load_cluster(world.documents()).snapshot)
    assert dict(mirror.problems) == {}
    fresh = SelectedKeys()
    for (namespace, _), pod in world.objects[PODS].items():
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            fresh.add(named_by_pod(pod, namespace))
    assert all(mirror.selected.of(namespace) == fresh.of(namespace) for namespace in ("a", "b", "c"))
