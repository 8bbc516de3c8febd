"""Options of a call, each with its unit and default."""

import time
from dataclasses import dataclass
from enum import StrEnum

from solver.domain.budget import Budget, Stop
from solver.domain.errors import InvalidRequest
from solver.domain.plan import Plan, TermValue

#: Shortest budget of a call, in seconds.
MIN_TIME_LIMIT_S = 0.001


class Engine(StrEnum):
    """Who solves.

    auto: the tree bounds, CP-SAT certifies. cpsat: CP-SAT alone, without bound or hint from the tree. tree: no
    CP-SAT, for measuring. All three give the same status and values wherever they finish.
    """

    AUTO = "auto"
    CPSAT = "cpsat"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one call.

    engine: see Engine. time_limit_s: wall-clock budget for the whole call in seconds, at least 0.001; what is not
    proven by then is answered as feasible or unknown. search_memory_mib: most memory, in MiB and at least 64, of a
    search that runs in a process of its own; one that needs more is answered as unknown. certificate: with engine
    auto, CP-SAT confirms what the tree proves; without, the tree's proof stands alone and calls are shorter. levels:
    words of levels that count as named by every gang, see `choose_topology`.
    """

    engine: Engine = Engine.AUTO
    time_limit_s: float = 5.0
    search_memory_mib: int = 1024
    certificate: bool = True
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not MIN_TIME_LIMIT_S <= self.time_limit_s <= 86_400:
            raise InvalidRequest(f"time limit {self.time_limit_s} s is out of range (0.001 s to 24 h)")
        if self.search_memory_mib < 64:
            raise InvalidRequest(f"search memory of {self.search_memory_mib} MiB is out of range (64 MiB and more)")

    def budget(self, stop: Stop | None = None) -> Budget:
        """The budget of a call that starts now; `stop` ends it early."""
        return Budget(time.monotonic() + self.time_limit_s, stop, self.search_memory_mib)


class Reporter:
    """Hears about progress; does nothing unless overridden.

    wants_plans: whether to tell `planned`; then every better plan is named and verified as soon as it is known.
    """

    wants_plans: bool = False

    def stage(self, gang: str, text: str) -> None:
        """Work on `gang` reached the stage described by `text`."""

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        """A plan of `gang`, better than any told before or proven further, is known; the answer will not be worse.

        Terms as in the answer; those still to be minimised may be a little overstated.
        """

    def planned(self, so_far: Plan) -> None:
        """The verified answer if the call ended now, gangs in any order; what was not reached yet is unknown."""
