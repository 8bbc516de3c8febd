"""The four verbs of one term. filter, prioritize and preempt answer at once from what is known; nothing is solved."""

from collections.abc import Mapping
from typing import Any

from adapters.apply.door import Term
from adapters.apply.naming_node import Extended
from adapters.extender import wire
from adapters.extender.binding import Binding
from adapters.extender.members import Members
from adapters.extender.room import BEST, Room, read_pod
from adapters.kubernetes.api_errors import ApiError
from adapters.kubernetes.resources import PODS

Body = Mapping[str, Any]
#: An answer, and in one word what it says.
Answer = tuple[bytes, str]


class Desk:
    """Answers while its controller leads. In one event loop."""

    def __init__(self, term: Term, extended: Extended, wait_s: float) -> None:
        self._term = term
        self._members, self._room = Members(term, extended), Room(term)
        self._binding = Binding(term, self._members, self._room, extended, wait_s)
        term.mirror.on_change(PODS, self._pod_changed)

    async def filter(self, data: bytes) -> Answer:
        """Which nodes a pod may go to."""
        asked = wire.read_asked(data)
        pod, gang = self._known(asked.pod)
        if gang:
            return self._filter_member(asked, pod, gang)
        taken = read_pod(pod)
        refused = self._room.refused(taken.requests) if taken is not None else {}
        if not refused:
            return wire.filtered(asked, asked.names, {}), "passed"
        passed = [name for name in asked.names if name not in refused]
        why = {name: refused[name] for name in asked.names if name in refused}
        return wire.filtered(asked, passed, why), "passed" if passed else "refused"

    async def prioritize(self, data: bytes) -> Answer:
        """How good each node is for a pod."""
        asked = wire.read_asked(data)
        pod, gang = self._known(asked.pod)
        if gang:
            node = self._members.node(gang, pod)
            return wire.scored((name, BEST if name == node else 0) for name in asked.names), "scored"
        scores = self._room.scores()
        return wire.scored((name, scores.get(name, 0)) for name in asked.names), "scored"

    async def bind(self, data: bytes) -> Answer:
        """Bind a pod."""
        asked = wire.read_to_bind(data)
        try:
            problem = await self._binding.bind(asked)
        except ApiError as error:
            return wire.bound(str(error) or repr(error)), "failed"
        return wire.bound(problem), "refused" if problem else "bound"

    async def preempt(self, data: bytes) -> Answer:
        """Which victims may go: for a member with a seat those on its node, as long as there are any."""
        asked = wire.read_victims(data)
        pod, gang = self._known(asked.pod)
        node = self._members.node(gang, pod) if gang else ""
        kept = {node: asked.by_node[node]} if node in asked.by_node else asked.by_node
        return wire.victims(kept), "answered"

    def _filter_member(self, asked: wire.Asked, pod: Body, gang: str) -> Answer:
        node = self._members.node(gang, pod)
        if node and node in asked.names:
            self._binding.note_passed(gang, pod["metadata"]["uid"], node)
            return wire.filtered(asked, [node], {}), "passed"
        why = f"it is planned on {node}" if node else self._members.why(gang, pod)
        return wire.filtered(asked, (), dict.fromkeys(asked.names, why)), "refused"

    def _known(self, sent: Body) -> tuple[Body, str]:
        """The pod as it is known here, else as it was sent, and its gang; empty if nobody looks after that."""
        metadata = sent["metadata"]
        pod = self._members.pod(metadata["namespace"], metadata["name"], metadata["uid"]) or sent
        gang = self._term.mirror.gang_of(pod)
        return pod, gang if self._term.covers(gang) else ""

    def _pod_changed(self, key: tuple[str, str], before: Body | None, now: Body | None) -> None:
        """What was taken for a pod is not, once the mirror shows it bound, or gone."""
        is_over = now is None or bool(now["spec"].get("nodeName"))
        if before is not None and (is_over or now is None or _uid(now) != _uid(before)):
            self._room.give_back(_uid(before))
        if now is not None and is_over:
            self._room.give_back(_uid(now))


def _uid(body: Body) -> str:
    return str(body["metadata"]["uid"])
