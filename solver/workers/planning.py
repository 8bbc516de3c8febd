"""What a child does with a question."""

import time
from dataclasses import replace

from solver.batch.plan import plan_batch
from solver.domain.errors import InvalidRequest
from solver.domain.snapshot import Snapshot
from solver.planner import WarmTables, plan
from solver.search.options import MIN_TIME_LIMIT_S
from solver.workers.frames import Question, Reply


class Planner:
    """Answers one question after the other, with the tables of those before."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._warm = WarmTables()

    def reply(self, question: Question) -> Reply:
        """What came of it; raises nothing."""
        try:
            return self._planned(question)
        except InvalidRequest as error:
            return Reply(error=str(error) or "invalid")
        except MemoryError:
            self._warm = WarmTables()
            return Reply(lacks_memory=True)
        except Exception as error:
            return Reply(fault=repr(error))

    def _planned(self, question: Question) -> Reply:
        self._snapshot = question.snapshot or self._snapshot
        assert self._snapshot is not None
        left_s = max(MIN_TIME_LIMIT_S, question.deadline - time.monotonic())
        options = replace(question.options, time_limit_s=left_s)
        if question.batch:
            found = plan_batch(
                self._snapshot, question.gangs, options, warm=self._warm, fair_before=question.fair_before
            )  # fmt: skip
        else:
            found = plan(self._snapshot, question.gangs, options, warm=self._warm)
        return Reply(found)
