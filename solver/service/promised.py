"""What is known of one cluster's promises: which pods are still to be held for them, and which were seen."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from solver.domain.pods import BoundPod
from solver.ledger import Promise

#: Promised pods have uids that begin so; no other pod may.
PROMISED = "promise/"

#: Ended promises whose revision is remembered, so that older news of them change nothing.
_REMEMBERED = 10_000


class PromisedPods:
    """Promised pods of one cluster. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._promises: dict[str, Promise] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, dict[str, BoundPod]] = {}  # pod name → promise id → what is held
        self._seen: dict[tuple[str, str], str] = {}  # promise id and pod name → node, until the promise says so itself

    def __len__(self) -> int:
        """Pods that are promised and not yet seen."""
        return sum(map(len, self._waiting.values()))

    def take(self, promise: Promise) -> bool:
        """Know a promise as it is now; returns whether that is news."""
        known = self._promises.pop(promise.id, None)
        revision = known.revision if known else self._ended.get(promise.id, -1)
        if promise.revision <= revision:
            if known:
                self._promises[promise.id] = known
            return False
        for pod in known.held() if known else ():
            self._stop_waiting(pod.name, promise.id)
        if promise.phase.holds:
            self._wait(promise)
        else:
            self._remember_end(promise)
        for promised in promise.pods:
            if promised.seen_on or not promise.phase.holds:
                self._seen.pop((promise.id, promised.holds.name), None)
        return True

    def waiting(self) -> dict[str, BoundPod]:
        """What is to be held, by the uid under which it is."""
        return {pod.uid: pod for pods in self._waiting.values() for pod in pods.values()}

    def names(self) -> tuple[str, ...]:
        """Names, `namespace/pod`, of the pods that are promised and not yet seen."""
        return tuple(self._waiting)

    def awaits(self, name: str) -> bool:
        """Whether a pod of this name is promised and not yet seen."""
        return name in self._waiting

    def see(self, where: Mapping[str, str]) -> None:
        """Pods, name → node, are bound: nothing is to be held for them any more."""
        for name, node in where.items():
            for promise_id in self._waiting.pop(name, ()):
                self._seen[promise_id, name] = node

    def untold(self) -> dict[str, str]:
        """Pods, name → node, that were seen while their promises do not say so yet."""
        return {name: node for (_, name), node in self._seen.items()}

    def _wait(self, promise: Promise) -> None:
        self._promises[promise.id] = promise
        for pod in promise.held():
            if (promise.id, pod.name) not in self._seen:
                held = replace(pod, uid=f"{PROMISED}{promise.id}/{pod.name}", gang=promise.gang)
                self._waiting.setdefault(pod.name, {})[promise.id] = held

    def _stop_waiting(self, name: str, promise_id: str) -> None:
        pods = self._waiting.get(name, {})
        pods.pop(promise_id, None)
        if not pods:
            self._waiting.pop(name, None)

    def _remember_end(self, promise: Promise) -> None:
        self._ended[promise.id] = promise.revision
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
