"""Placements as promises on top of the held state: capacity of seats whose pods are not bound yet is taken."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from adapters.kubernetes.placements import PlacementRecord
from solver.domain.pods import BoundPod
from solver.ledger import Phase, Promise, PromisedPod
from solver.service.state import HeldCluster


@dataclass(frozen=True, slots=True)
class _Known:
    """What the state was told about a gang last."""

    id: str
    pods: tuple[PromisedPod, ...]


class Promised:
    """What is promised to each gang of one held cluster. In one thread."""

    def __init__(self, held: HeldCluster) -> None:
        self._held = held
        self._known: dict[str, _Known] = {}
        self._revision = 0

    def know(self, gang: str, record: PlacementRecord | None, waiting: Mapping[str, BoundPod]) -> bool:
        """Know the Placement of a gang as it is now; returns whether capacity was given back.

        waiting: the pods that are not bound, by uid, each on any node; seats of all others hold nothing.
        """
        before, now = self._known.get(gang), _known(gang, record, waiting)
        if before == now:
            return False
        news = []
        if before is not None and (now is None or now.id != before.id):
            news.append(self._promise(gang, before, Phase.RELEASED))
        if now is not None:
            news.append(self._promise(gang, now, Phase.CONFIRMED))
            self._known[gang] = now
        else:
            self._known.pop(gang, None)
        self._held.promise(news)
        return bool(_held(before) - _held(now))

    def is_holding(self, gang: str) -> bool:
        """Whether something is held for the gang."""
        return bool(_held(self._known.get(gang)))

    def pods(self) -> Iterator[BoundPod]:
        """Pods that capacity is held for, each on its node."""
        for known in self._known.values():
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
    return _Known(f"{record.uid}/{record.attempt}", tuple(pods))


def _held(known: _Known | None) -> frozenset[tuple[str, str]]:
    """Pods that capacity is held for, and where."""
    pods = known.pods if known else ()
    return frozenset((pod.holds.name, pod.holds.node) for pod in pods if not pod.seen_on)
