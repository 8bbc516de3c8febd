"""Points at which a test may kill the process, as `kill -9` would. Without the environment variable nothing happens.

`HUDDLE_FAILPOINT=name` kills at the first passage of the point, `HUDDLE_FAILPOINT=name:3` at the third. A name that
does not exist ends the process at its start, so that no test waits for it in vain.
"""

import os
import signal
import threading

VARIABLE = "HUDDLE_FAILPOINT"

POINTS = (
    "ledger.open.before_commit",
    "ledger.open.after_commit",
    "ledger.reserve.half_written",
    "ledger.reserve.before_commit",
    "ledger.reserve.after_commit",
    "ledger.confirm.before_commit",
    "ledger.confirm.after_commit",
    "ledger.release.before_commit",
    "ledger.release.after_commit",
    "ledger.expire.before_commit",
    "ledger.expire.after_commit",
    "ledger.seen.before_commit",
    "ledger.seen.after_commit",
    "ledger.tidy.before_commit",
    "ledger.tidy.after_commit",
    "ledger.note.before_write",
    "ledger.note.after_write",
    "promises.before_state",
    "promises.after_state",
    "apply.plan.before_write",
    "apply.plan.after_write",
    "apply.status.before_write",
    "apply.status.after_write",
    "apply.gate.before_patch",
    "apply.gate.after_patch",
    "apply.bind.before",
    "apply.bind.after",
    "apply.give_back.before",
    "apply.give_back.after",
    "apply.forget.before",
    "apply.forget.after",
    "extender.naming.before",
    "extender.naming.after",
)


class _Fuse:
    """The point that kills and how many passages it lets go by."""

    def __init__(self, setting: str) -> None:
        self.name, _, count = setting.partition(":")
        if self.name and (self.name not in POINTS or not (count or "1").isdecimal()):
            raise SystemExit(f"{VARIABLE}={setting} names no point")
        self.left = int(count or 1)
        self.lock = threading.Lock()

    def passed(self) -> None:
        with self.lock:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


_FUSE = _Fuse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Ends the process when the environment says so."""
    if name == _FUSE.name:
        _FUSE.passed()
