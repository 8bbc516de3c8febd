"""What a process has: children, zombies too, threads and open files."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path


def children_of(parent: int) -> set[int]:
    """Processes whose parent is `parent`, ended ones that were not waited for included."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it has just gone
                continue
            if int(fields[1]) == parent:
                found.add(int(entry.name))
    return found


#: Children of this process that other tests started.
others: set[int] = set()


def own_children() -> set[int]:
    """Children of this process that the running test started."""
    return children_of(os.getpid()) - others


def holdings() -> tuple[set[int], int, int]:
    """Children, threads and open files of this process."""
    return own_children(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def alive(process: int) -> bool:
    """Whether it runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def computed_s(process: int) -> float:
    """Seconds that it has computed."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def becomes(condition: Callable[[], bool], patience_s: float = 120.0) -> bool:
    """Whether it comes true before patience ends."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
