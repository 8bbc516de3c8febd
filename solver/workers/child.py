"""The disposable process: plans for its parent, one question after the other, until its standard input ends.

It keeps the snapshot and the tables of the question before, knows nothing of the parent but its frames, and dies with
it, in the middle of a question too.
"""

import os
import queue
import resource
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from solver.search.child import become_expendable, exactly, send
from solver.workers.frames import ANSWER, QUESTION, READY, packed, unpacked

if TYPE_CHECKING:
    from solver.workers.planning import Planner

#: How much less of the processors it gets than its parent, whose loops must go on.
NICE = 5


def main() -> None:
    """Serve until standard input ends; leave at once after any error."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not land among the answers
    try:
        become_expendable()
        os.nice(NICE)
        from solver.workers.planning import Planner

        parent = _Parent(answers)
        threading.Thread(target=parent.read, daemon=True).start()
        planner = Planner()
        send(answers, READY)
        while True:
            parent.answer(planner)
    finally:
        os._exit(1)


@dataclass
class _Parent:
    """The parent process. answers: where answers are written. stopped: the last question that is to end, by number."""

    answers: int
    questions: "queue.SimpleQueue[tuple[int, int, bytes]]" = field(default_factory=queue.SimpleQueue)
    stopped: int = 0

    def read(self) -> None:
        """Take what it sends; end the process when it sends no more."""
        try:
            while True:
                number, memory_bytes, size = QUESTION.unpack(exactly(QUESTION.size))
                if size:
                    self.questions.put((number, memory_bytes, exactly(size)))
                else:
                    self.stopped = number
        finally:
            os._exit(0)

    def answer(self, planner: "Planner") -> None:
        """Wait for a question and answer it."""
        number, memory_bytes, data = self.questions.get()
        _limit(memory_bytes)
        self.tell(planner.reply(unpacked(data), self.tell, _Stop(self, number)))

    def tell(self, what: Any) -> None:
        """Send news, or the reply."""
        data = packed(what)
        send(self.answers, ANSWER.pack(len(data)) + data)


@dataclass(frozen=True)
class _Stop:
    """Set when the parent says that a question is to end."""

    parent: _Parent
    number: int

    def is_set(self) -> bool:
        """See Stop."""
        return self.parent.stopped >= self.number


def _limit(memory_bytes: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


if __name__ == "__main__":
    main()
