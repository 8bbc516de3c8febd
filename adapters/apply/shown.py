"""What the reconciler uses of whoever shows it the cluster, `adapters.kubernetes.mirror.Mirror`."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adapters.kubernetes.resources import Resource
from solver.service.state import HeldCluster

Hook = Callable[[tuple[str, str], Any, Any], None]


class News(Protocol):
    """What may have changed: gangs by key, and whether there may be room for those that wait."""

    @property
    def gangs(self) -> frozenset[str]:
        """Keys."""

    @property
    def room(self) -> bool:
        """Whether capacity was gained."""


class Subscription(Protocol):
    """News one after another."""

    async def next(self) -> News:
        """Waits for something to have changed."""


class Shown(Protocol):
    """What is used of `adapters.kubernetes.mirror.Mirror`."""

    held: HeldCluster

    async def synced(self) -> None:
        """Wait until it shows everything."""

    def get(self, resource: Resource, namespace: str, name: str) -> Any:
        """One object, or None."""

    def pods_of(self, gang_key: str) -> Sequence[Any]:
        """Pods of a gang."""

    def gang_of(self, pod: Any) -> str:
        """The gang of a pod, or empty."""

    def pods_on(self, node: str) -> Sequence[Any]:
        """Pods that hold capacity of a node, of whatever namespace."""

    def gang_keys(self) -> frozenset[str]:
        """All gangs."""

    def subscribe(self) -> Subscription:
        """News from now on; the first names every gang."""

    def on_change(self, resource: Resource, hook: Hook) -> None:
        """Call `hook` with every change of a kind."""
