"""What a child does with a question."""

from collections.abc import Callable

from solver.domain.budget import Stop
from solver.domain.errors import InvalidRequest
from solver.domain.plan import Plan, TermValue
from solver.domain.snapshot import Snapshot
from solver.planner import Reporter, WarmTables
from solver.workers.frames import Asked, News, Reply

Tell = Callable[[News], None]


class Planner:
    """Answers one question after the other, with the tables of those before."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._warm = WarmTables()

    def reply(self, asked: Asked, tell: Tell, stop: Stop) -> Reply:
        """What came of it; raises nothing. tell: hears what the parent wants to hear."""
        try:
            self._snapshot = asked.snapshot or self._snapshot
            assert self._snapshot is not None
            reporter = _Telling(tell, asked.plans) if asked.news else None
            return Reply(asked.question.answered(self._snapshot, reporter, self._warm, stop))
        except InvalidRequest as error:
            return Reply(error=str(error) or "invalid")
        except MemoryError:
            self._warm = WarmTables()
            return Reply(lacks_memory=True)
        except Exception as error:
            return Reply(fault=repr(error))


class _Telling(Reporter):
    """Hands on what it hears."""

    def __init__(self, tell: Tell, wants_plans: bool) -> None:
        self._tell, self.wants_plans = tell, wants_plans

    def stage(self, gang: str, text: str) -> None:
        """See Reporter."""
        self._tell(News("stage", (gang, text)))

    def improved(self, gang: str, objective: tuple[TermValue, ...]) -> None:
        """See Reporter."""
        self._tell(News("improved", (gang, objective)))

    def planned(self, so_far: Plan) -> None:
        """See Reporter."""
        self._tell(News("planned", (so_far,)))
