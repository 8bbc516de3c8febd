"""The disposable process: plans for its parent, one question after the other, until its standard input ends.

It keeps the snapshot and the tables of the question before, knows nothing of the parent but its frames, and dies with
it, in the middle of a question too.
"""

import os
import queue
import resource
import threading

from solver.search.child import become_expendable, exactly, send
from solver.workers.frames import ANSWER, QUESTION, READY, packed, unpacked

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

        questions: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(questions,), daemon=True).start()
        planner = Planner()
        send(answers, READY)
        while True:
            memory_bytes, data = questions.get()
            _limit(memory_bytes)
            reply = packed(planner.reply(unpacked(data)))
            send(answers, ANSWER.pack(len(reply)) + reply)
    finally:
        os._exit(1)


def _read(questions: "queue.SimpleQueue[tuple[int, bytes]]") -> None:
    """Queue what the parent sends; end the process when it sends no more."""
    try:
        while True:
            memory_bytes, size = QUESTION.unpack(exactly(QUESTION.size))
            questions.put((memory_bytes, exactly(size)))
    finally:
        os._exit(0)


def _limit(memory_bytes: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


if __name__ == "__main__":
    main()
