"""What is done about nodes on which more is bound than they have: they are told, and gangs that came last make room."""

from collections.abc import Callable, Collection, Iterable

import structlog

from adapters.apply.observed import Member
from adapters.apply.overcommits import Overcommit, Overcommits
from adapters.kubernetes.placements import PlacementRecord, Why
from solver.domain.errors import InvalidRequest

_log = structlog.get_logger("huddle.apply")


class OvercommitRepair:
    """Which gangs have to make room, whole. In one event loop.

    record: the Placement of a gang, which raises InvalidRequest when it makes no sense. gangs: those that are looked
    after. tell: of an overcommit that is new. mark: have a gang looked at.
    """

    def __init__(
        self,
        overcommits: Overcommits,
        record: Callable[[str], PlacementRecord | None],
        gangs: Callable[[], Collection[str]],
        tell: Callable[[Overcommit], None],
        mark: Callable[[str], None],
    ) -> None:
        self._overcommits, self._record, self._gangs = overcommits, record, gangs
        self._tell, self._mark = tell, mark
        self._told: set[tuple[str, str]] = set()  # node and uid of the pod that came last
        self._reasons: dict[str, Why] = {}  # by gang

    def look(self) -> int:
        """How many nodes there are now; new ones are told, and gangs are marked that have to go."""
        found = self._overcommits.look()
        for each in found:
            if (each.node, each.uid) not in self._told:
                _log.warning("node_overcommitted", node=each.node, pod=each.pod, gang=each.gang, problem=each.message)
                self._tell(each)
        self._told = {(each.node, each.uid) for each in found}
        due = [each for each in found if each.controlled and self._overcommits.is_due(each)]
        ours = self._gangs() if due else ()
        for each in due:
            if each.gang in ours and self._has_node(each):
                self._overcommits.acted(each)
                numbers = {"taken": each.taken, "room": each.room}
                self._reasons[each.gang] = Why("overcommitted", each.message, (each.pod, each.node), numbers)
                self._mark(each.gang)
        return len(found)

    def reasons(self, gang: str, members: Iterable[Member]) -> tuple[Why, ...]:
        """Why the gang has to go, as long as the pod that came last is where it was."""
        why = self._reasons.get(gang)
        if why is None:
            return ()
        if any((member.pod, member.node) == why.objects for member in members):
            return (why,)
        del self._reasons[gang]
        return ()

    def done(self, gang: str) -> None:
        """The gang is on its way, or gone."""
        self._reasons.pop(gang, None)

    def _has_node(self, overcommit: Overcommit) -> bool:
        """Whether the pod that came last got its node by a plan of ours."""
        try:
            record = self._record(overcommit.gang)
        except InvalidRequest:
            return False
        return record is not None and record.seat_of(overcommit.uid) is not None
