"""Only the gangs of some namespaces: what the reconciler is shown of the mirror; nodes and capacity stay whole."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from adapters.kubernetes.mirror import ChangeHook, Mirror, News, Subscription
from adapters.kubernetes.resources import Resource


class ScopedSubscription:
    """News of which only some gangs matter; room matters always."""

    def __init__(self, whole: Subscription, within: Callable[[frozenset[str]], frozenset[str]]) -> None:
        self._whole, self._within = whole, within

    async def next(self) -> News:
        """What may have changed since the last call; waits until something has."""
        while True:
            news = await self._whole.next()
            gangs = self._within(news.gangs)
            if gangs or news.room:
                return News(gangs, news.room)


class Scoped:
    """A mirror that shows the gangs of these namespaces only; of all, if none is named."""

    def __init__(self, mirror: Mirror, namespaces: Collection[str]) -> None:
        self.held = mirror.held
        self._mirror, self._namespaces = mirror, frozenset(namespaces)

    async def synced(self) -> None:
        """Wait until it shows everything."""
        await self._mirror.synced()

    def get(self, resource: Resource, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One object, or None."""
        return self._mirror.get(resource, namespace, name)

    def pods_of(self, gang_key: str) -> tuple[Mapping[str, Any], ...]:
        """Pods of a gang."""
        return self._mirror.pods_of(gang_key)

    def gang_of(self, pod: Mapping[str, Any]) -> str:
        """The gang of a pod, or empty, of whatever namespace."""
        return self._mirror.gang_of(pod)

    def pods_on(self, node: str) -> tuple[Mapping[str, Any], ...]:
        """Pods that hold capacity of a node, of whatever namespace."""
        return self._mirror.pods_on(node)

    def gang_keys(self) -> frozenset[str]:
        """Gangs of the namespaces."""
        return self._within(self._mirror.gang_keys())

    def subscribe(self) -> "ScopedSubscription":
        """News about gangs of the namespaces."""
        return ScopedSubscription(self._mirror.subscribe(), self._within)

    def on_change(self, resource: Resource, hook: ChangeHook) -> None:
        """Call `hook` with every change of a kind, wherever it is."""
        self._mirror.on_change(resource, hook)

    def _within(self, keys: frozenset[str]) -> frozenset[str]:
        if not self._namespaces:
            return keys
        return frozenset(key for key in keys if key.partition("/")[0] in self._namespaces)
