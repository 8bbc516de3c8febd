"""The disposable process: solves CP-SAT models for its parent, one after the other, until its standard input ends.

It takes REQUEST, parameters and model, and answers ANSWER and the values of all variables. It knows nothing of the
parent but these frames, and dies with it, in the middle of a search too: the end of standard input ends it.
"""

import array
import os
import queue
import resource
import signal
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Token, deadline (seconds of time.monotonic, which all processes of a machine share), most memory in bytes, and the
#: lengths of the parameters and of the model, both in protobuf's text format.
REQUEST = struct.Struct("<8sdQQQ")
#: The request's token, status as CP-SAT numbers it, lower bound of the minimised objective, number of values.
ANSWER = struct.Struct("<8sbqQ")
#: Sent once, when requests are welcome.
READY = b"huddle search child 1\n"


def main() -> None:
    """Serve until standard input ends; leave at once after any error."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what the library prints must not land among the answers
    try:
        become_expendable()
        from ortools.sat.python import cp_model_helper

        requests: queue.SimpleQueue[tuple[tuple[Any, ...], bytes, bytes]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(requests,), daemon=True).start()
        send(answers, READY)
        while True:
            send(answers, _solved(cp_model_helper, *requests.get()))
    finally:
        os._exit(1)


def become_expendable() -> None:
    """No core files, no signals that are meant for the parent, and the first to go when the machine lacks memory."""
    for meant_for_parent in (signal.SIGINT, signal.SIGTERM):  # they come to the whole group; it says what is to end
        signal.signal(meant_for_parent, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _read(requests: "queue.SimpleQueue[tuple[tuple[Any, ...], bytes, bytes]]") -> None:
    """Queue what the parent sends; end the process when it sends no more."""
    try:
        while True:
            head = REQUEST.unpack(exactly(REQUEST.size))
            requests.put((head, exactly(head[3]), exactly(head[4])))
    finally:
        os._exit(0)


def exactly(size: int) -> bytes:
    """The next `size` bytes of standard input. Raises EOFError when it ends before."""
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send(to: int, data: bytes) -> None:
    """Write all of it."""
    unsent = memoryview(data)
    while unsent:
        unsent = unsent[os.write(to, unsent) :]


def _solved(helper: Any, head: tuple[Any, ...], parameters_text: bytes, model_text: bytes) -> bytes:
    """The answer to one request. Raises MemoryError at the memory limit, where the library does not abort."""
    token, deadline, memory_bytes, _, _ = head
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))
    parameters, model, solver = helper.SatParameters(), helper.CpModelProto(), helper.SolveWrapper()
    if not (parameters.parse_text_format(parameters_text.decode()) and model.parse_text_format(model_text.decode())):
        raise ValueError("the request cannot be read")
    parameters.max_time_in_seconds = max(0.0, deadline - time.monotonic())
    solver.set_parameters(parameters)
    found = solver.solve(model)
    values = array.array("q", found.solution if found.status.value in (2, 4) else ())
    bound = found.inner_objective_lower_bound
    return ANSWER.pack(token, found.status.value, bound, len(values)) + values.tobytes()


if __name__ == "__main__":
    main()
