"""The promises that hold capacity, found by what they are asked for. Kept in memory beside the ledger's file."""

import heapq
from collections.abc import Collection, Iterable
from typing import TypeVar

from solver.ledger import Phase, Promise

_K = TypeVar("_K")
_V = TypeVar("_V")


class HeldPromises:
    """Promises that hold capacity, each as it is now. Not for two threads at a time."""

    def __init__(self) -> None:
        self._by_id: dict[str, Promise] = {}
        self._by_cluster: dict[str, dict[str, Promise]] = {}
        self._by_gang: dict[tuple[str, str], dict[str, None]] = {}
        self._by_pod: dict[tuple[str, str], dict[str, None]] = {}
        self._leases: list[tuple[int, str]] = []
        self.pods = 0  # that are held for

    def take(self, changed: Iterable[Promise]) -> None:
        """Know these promises as they are now; those that hold nothing any more are forgotten."""
        for promise in changed:
            earlier = self._by_id.get(promise.id)
            if earlier is None and promise.phase.holds:
                self._add(promise)
            elif earlier is not None:
                self._replace(earlier, promise)

    def get(self, promise_id: str) -> Promise | None:
        """One promise, if it holds capacity."""
        return self._by_id.get(promise_id)

    def clusters(self) -> list[str]:
        """Clusters with promises, sorted."""
        return sorted(self._by_cluster)

    def of_cluster(self, cluster: str) -> tuple[Promise, ...]:
        """In the order in which they were made."""
        return tuple(self._by_cluster.get(cluster, {}).values())

    def of_gang(self, cluster: str, gang: str) -> list[Promise]:
        """In the order in which they were made."""
        return [self._by_id[found] for found in self._by_gang.get((cluster, gang), ())]

    def of_pods(self, cluster: str, pods: Collection[str]) -> list[Promise]:
        """Those that wait for one of the pods to be seen."""
        found = {found: None for pod in pods for found in self._by_pod.get((cluster, pod), ())}
        return [self._by_id[each] for each in found]

    def due(self, now_ms: int) -> list[Promise]:
        """Reservations whose lease has ended."""
        self._forget_leases()
        found = {each: None for until, each in self._leases if until <= now_ms} if self.has_due(now_ms) else {}
        return [promise for each in found if (promise := self._by_id.get(each)) and promise.phase is Phase.RESERVED]

    def has_due(self, now_ms: int) -> bool:
        """Whether the lease of a reservation has ended."""
        self._forget_leases()
        return bool(self._leases) and self._leases[0][0] <= now_ms

    @property
    def has_leases(self) -> bool:
        """Whether there are reservations."""
        self._forget_leases()
        return bool(self._leases)

    def _forget_leases(self) -> None:
        """Drop what is no reservation any more from the top of the heap."""
        while self._leases:
            promise = self._by_id.get(self._leases[0][1])
            if promise is not None and promise.phase is Phase.RESERVED:
                return
            heapq.heappop(self._leases)

    def _add(self, promise: Promise) -> None:
        self.pods += len(promise.held())
        self._by_id[promise.id] = promise
        self._by_cluster.setdefault(promise.cluster, {})[promise.id] = promise
        self._by_gang.setdefault((promise.cluster, promise.gang), {})[promise.id] = None
        for pod in promise.held():
            self._by_pod.setdefault((promise.cluster, pod.name), {})[promise.id] = None
        if promise.phase is Phase.RESERVED:
            heapq.heappush(self._leases, (promise.lease_until_ms, promise.id))

    def _replace(self, earlier: Promise, later: Promise) -> None:
        waiting = {pod.name for pod in later.held()}
        gone = [pod.name for pod in earlier.held() if pod.name not in waiting]
        self.pods -= len(gone)
        for pod in gone:
            _drop(self._by_pod, (later.cluster, pod), later.id)
        if later.phase.holds:
            self._by_id[later.id] = self._by_cluster[later.cluster][later.id] = later
            return
        del self._by_id[later.id]
        _drop(self._by_cluster, later.cluster, later.id)
        _drop(self._by_gang, (later.cluster, later.gang), later.id)


def _drop(index: dict[_K, dict[str, _V]], key: _K, promise_id: str) -> None:
    del index[key][promise_id]
    if not index[key]:
        del index[key]
