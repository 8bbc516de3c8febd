"""What shows others the plans and promises of a controller that leads."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from adapters.apply.metrics import Metrics
from adapters.apply.naming_node import Extended
from adapters.apply.reconciler import Reconciler
from adapters.apply.writes import Calls
from adapters.kubernetes.mirror import Mirror


@dataclass(frozen=True, slots=True)
class Term:
    """What a controller knows, and writes with, while it leads. namespaces: of the gangs it looks after; none = all.

    Mirror and reconciler live in another event loop, and thread, than the door and its calls: of them only what any
    thread may use.
    """

    mirror: Mirror
    reconciler: Reconciler
    calls: Calls
    namespaces: tuple[str, ...] = ()

    def covers(self, gang: str) -> bool:
        """Whether it looks after this gang."""
        return bool(gang) and (not self.namespaces or gang.partition("/")[0] in self.namespaces)


class Door(Protocol):
    """Served from start to end, open only while its controller leads. In an event loop of its own."""

    @property
    def extended(self) -> Extended:
        """Which pods wait until this lets them go."""

    def served(self, metrics: Metrics) -> AbstractAsyncContextManager[int]:
        """Listen while the block runs; gives the port. Raises SourceUnavailable."""

    async def opened(self, term: Term) -> None:
        """Answer from this term until cancelled."""
