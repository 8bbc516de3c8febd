"""Warm tables of several clusters, for several threads."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from solver.planner import WarmTables


class WarmPool:
    """Warm tables by name, lent to one thread at a time, the ones used last first.

    lenders: how many are in use at most. max_bytes: of all together. Those of the names asked about longest ago go
    first.
    """

    def __init__(self, lenders: int, max_bytes: int) -> None:
        self._each = max(1, max_bytes // max(1, lenders))
        self._keep = lenders
        self._idle: OrderedDict[tuple[str, int], WarmTables] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, name: str) -> Iterator[WarmTables | None]:
        """Tables for one question; None for the empty name. After a fault they are not used again."""
        if not name:
            yield None
            return
        tables = self._taken(name)
        yield tables
        with self._lock:
            self._number += 1
            self._idle[name, self._number] = tables
            while len(self._idle) > self._keep:
                self._idle.popitem(last=False)

    def _taken(self, name: str) -> WarmTables:
        with self._lock:
            known = [key for key in self._idle if key[0] == name]
            return self._idle.pop(known[-1]) if known else WarmTables(self._each)
