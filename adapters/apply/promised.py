"""Placements as promises on top of the held state: capacity of seats whose pods are not bound yet is taken."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from adapters.kubernetes.placements import PlacementRecord
from solver.domain.pods import BoundPod
from solver.ledger import Phase, Promise, PromisedPod
from solver.service.state import HeldCluster


@dataclass(frozen=True, slots=True)
class _Known:
    """A promise that the state was told of."""

    id: str
    pods: tuple[PromisedPod, ...]

    @property
    def held(self) -> frozenset[tuple[str, str]]:
        """Pods that capacity is held for, and where."""
        return frozenset((pod.holds.name, pod.holds.node) for pod in self.pods if not pod.seen_on)

    def beyond(self, other: "_Known | None") -> "_Known":
        """What it holds that the other does not."""
        held = other.held if other else frozenset()
        pods = (pod for pod in self.pods if not pod.seen_on and (pod.holds.name, pod.holds.node) not in held)
        return replace(self, pods=tuple(pods))


class Promised:
    """What is promised to each gang of one held cluster. In one thread."""

    def __init__(self, held: HeldCluster) -> None:
        self._held = held
        self._known: dict[str, tuple[_Known, ...]] = {}
        self._revision = 0

    def know(
        self, gang: str, record: PlacementRecord | None, waiting: Mapping[str, BoundPod], is_written: bool = True
    ) -> bool:
        """Know the Placement of a gang as it is now; returns whether capacity was given back.

        waiting: the pods that are not bound, by uid, each on any node; seats of all others hold nothing. is_written:
        false for a Placement that is about to be written; until the next call the one before it counts as well, since
        that is what everybody else reads meanwhile.
        """
        before, fresh = self._known.get(gang, ()), _known(gang, record, waiting)
        now: tuple[_Known, ...] = (fresh,) if fresh else ()
        if not is_written:
            older = (each.beyond(fresh) for each in before if fresh is None or each.id != fresh.id)
            now += tuple(each for each in older if each.pods)
        if before == now:
            return False
        kept = {each.id for each in now}
        news = [self._promise(gang, each, Phase.RELEASED) for each in before if each.id not in kept]
        news += [self._promise(gang, each, Phase.CONFIRMED) for each in now if each not in before]
        self._known[gang] = now
        if not now:
            del self._known[gang]
        self._held.promise(news)
        return bool(_held(before) - _held(now))

    def is_holding(self, gang: str) -> bool:
        """Whether something is held for the gang."""
        return bool(_held(self._known.get(gang, ())))

    def pods(self) -> Iterator[BoundPod]:
        """Pods that capacity is held for, each on its node. Any thread may ask."""
        for promises in list(self._known.values()):
            for known in promises:
                yield from (pod.holds for pod in known.pods if not pod.seen_on)

    def _promise(self, gang: str, known: _Known, phase: Phase) -> Promise:
        self._revision += 1
        return Promise(known.id, self._held.name, gang, phase, known.pods, 0, 0, self._revision)


def _known(gang: str, record: PlacementRecord | None, waiting: Mapping[str, BoundPod]) -> _Known | None:
    if record is None or not record.phase.holds or not record.seats:
        return None
    pods = []
    for seat in record.seats:
        pod = waiting.get(seat.uid)
        if pod is None:
            pods.append(PromisedPod(BoundPod(seat.pod, seat.node, gang=gang), seat.role, seen_on=seat.node))
        else:
            held = BoundPod(
                pod.name, seat.node, pod.requests, pod.labels, pod.anti_affinity, pod.queue, gang, pod.uid
            )  # fmt: skip
            pods.append(PromisedPod(held, seat.role))
    return _Known(f"{gang}/{record.uid}/{record.attempt}", tuple(pods))


def _held(promises: Iterable[_Known]) -> frozenset[tuple[str, str]]:
    """Pods that capacity is held for, and where."""
    return frozenset().union(*(known.held for known in promises))
