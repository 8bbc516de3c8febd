"""What is said about a pod of a gang: the node it may go to, or in a few words why it waits."""

from collections.abc import Mapping
from typing import Any

from adapters.apply.door import Term
from adapters.apply.gate import GATE, pinned_node
from adapters.apply.naming_node import Extended, released_to
from adapters.kubernetes.placements import Phase, PlacementRecord, Why
from adapters.kubernetes.resources import PODS
from solver.domain.errors import InvalidRequest

Body = Mapping[str, Any]

#: Longest reason, in characters: a scheduler repeats it for every node.
MOST_SAID = 160
#: Phases in which pods are on their way.
_UNDER_WAY = (Phase.RELEASING, Phase.REPAIRING, Phase.BOUND)
_WORDS = {Phase.RESERVED: "its nodes are being reserved", Phase.EVICTING: "it is given back"}


class Members:
    """Pods of gangs in one term. In one event loop."""

    def __init__(self, term: Term, extended: Extended) -> None:
        self._term, self._extended = term, extended

    def pod(self, namespace: str, name: str, uid: str) -> Body | None:
        """The pod of this uid as it is known here, or None."""
        shown = self._term.mirror.get(PODS, namespace, name)
        if shown is None or shown["metadata"]["uid"] != uid:
            return None
        return self._term.reconciler.newest(shown)

    def record(self, gang: str) -> PlacementRecord | None:
        """The Placement of a gang; None also when it makes no sense."""
        try:
            return self._term.reconciler.record(gang)
        except InvalidRequest:
            return None

    def node(self, gang: str, pod: Body) -> str:
        """The one node that a pod of a gang may be bound to now, or empty."""
        record = self.record(gang)
        if record is None or record.phase not in _UNDER_WAY:
            return ""
        pin = pinned_node(pod)
        if not pin:
            return released_to(pod, record)
        seat = record.seat_of(pod["metadata"]["uid"])
        return pin if seat is not None and seat.node == pin else ""

    def why(self, gang: str, pod: Body) -> str:
        """Why a pod of a gang may not be bound now. It begins with `gang NAMESPACE/NAME:`, which says: it waits."""
        return f"gang {gang}: {self._why(gang, pod)}"[:MOST_SAID]

    def awaited(self, gang: str) -> list[tuple[str, str]]:
        """Uid and node of the members that are to be bound together now; none once one of them is bound."""
        record = self.record(gang)
        found = []
        for seat in record.seats if record else ():
            namespace, name = seat.pod.split("/", 1)
            pod = self.pod(namespace, name, seat.uid)
            if pod is None:
                continue
            if pod["spec"].get("nodeName"):
                return []
            if self._extended.holds(pod):
                found.append((seat.uid, seat.node))
        return found

    def _why(self, gang: str, pod: Body) -> str:
        if self._extended.are_too_many(self._term.mirror.pods_of(gang)):
            return f"so many pods need the scheduling gate {GATE}"
        if not self._extended.holds(pod):
            return f"its scheduler {pod['spec'].get('schedulerName')} is none of those that huddle was told of"
        record = self.record(gang)
        if record is None or (record.phase is Phase.PENDING and not record.reasons):
            return "being planned"
        if record.reasons:
            return self._said(gang, record.reasons[0])
        return _WORDS.get(record.phase, "being planned")

    def _said(self, gang: str, reason: Why) -> str:
        """A reason in a few words. How many pods exist is counted anew: the Placement says it only now and then."""
        if reason.code != "pods_missing" or not reason.numbers:
            return reason.message
        wanted = reason.numbers["there"] + reason.numbers["missing"]
        there = sum(not pod["metadata"].get("deletionTimestamp") for pod in self._term.mirror.pods_of(gang))
        return f"{min(there, wanted)} of {wanted} pods exist"
