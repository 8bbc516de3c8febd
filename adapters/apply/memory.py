"""What is remembered of a gang between two looks at it; none of it has to be."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from adapters.apply.observed import Tried
from adapters.apply.steps import Step
from solver.domain.plan import Notice

#: A pod is acted upon again after so long, if nothing is seen of it.
AGAIN_S = 3.0


@dataclass
class Memory:
    """What is remembered of a gang to save work.

    tries: in a row, in the same state, that found no room. overruns: in a row, plans that took too much. waits: whether
    it does, for room. failures: in a row, of calls. told_at: when the Placement was written last. problem: why its plan
    does not hold, as logged last. noticed: what its reader said, as told last. acted: when steps of a kind act upon
    pods, by uid, again. nowhere: in a row, of writes without a place to be; rests_until: when to try the next of those.
    """

    tried: Tried | None = None
    tries: int = 0
    overruns: int = 0
    waits: bool = False
    failures: int = 0
    told_at: datetime | None = None
    problem: str = ""
    noticed: frozenset[tuple[str, str, str]] = frozenset()
    nowhere: int = 0
    rests_until: datetime | None = None
    acted: dict[tuple[type[Step], str], datetime] = field(default_factory=dict)

    def fresh(self, notices: Iterable[Notice]) -> list[Notice]:
        """Those that were not among the last ones; from now on these are."""
        by_text = {(notice.code, notice.field, notice.message): notice for notice in notices}
        fresh = [notice for text, notice in by_text.items() if text not in self.noticed]
        self.noticed = frozenset(by_text)
        return fresh

    def due(self, kind: type[Step], uids: Iterable[str], now: datetime) -> set[str]:
        """Those of some pods that a step of this kind is to act upon now; from now on it has."""
        due = {uid for uid in uids if self.acted.get((kind, uid), now) <= now}
        self.acted |= {(kind, uid): now + timedelta(seconds=AGAIN_S) for uid in due}
        return due
