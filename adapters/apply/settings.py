"""How long the reconciler waits for what; every time in seconds."""

from dataclasses import dataclass
from datetime import timedelta

from solver.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Settings:
    """Times of one reconciler.

    grace_s: a gang of which fewer pods than it needs are bound is given back after so long.
    last_chance_s: pods let go so recently are waited for, even when the grace has ended.
    refused_s: a pod that was let go and that its scheduler calls unschedulable gets another place after so long.
    unheard_s: the same for a pod that nobody says anything about.
    silent_node_s: members on a node that is not ready for so long are replaced; those of a node that is gone, at once.
    gather_s: pods beyond the minimum are waited for so long after the last one came.
    back_off_s, most_back_off_s: after the first eviction, doubled with each further one up to the second.
    look_s: gangs on their way are looked at so often without being told of anything.
    fair_after_s: gangs that waited so long go before others of their priority.
    """

    grace_s: float = 120.0
    last_chance_s: float = 10.0
    refused_s: float = 20.0
    unheard_s: float = 90.0
    silent_node_s: float = 300.0
    gather_s: float = 3.0
    back_off_s: float = 5.0
    most_back_off_s: float = 300.0
    look_s: float = 1.0
    fair_after_s: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise InvalidRequest(f"{name}: {getattr(self, name)} must not be negative")

    def back_off(self, failures: int) -> timedelta:
        """How long to wait after so many evictions in a row, at least one."""
        return timedelta(seconds=min(self.back_off_s * 2.0 ** min(failures - 1, 30), self.most_back_off_s))
