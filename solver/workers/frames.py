"""What parent and child say to each other: a question or an answer, pickled, behind its length.

Both are this program, and the child gets nothing from anybody else.
"""

import io
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Plan, Reason, Status
from solver.domain.snapshot import Snapshot
from solver.search.options import Options

#: Most memory of the child in bytes, and the length of the question; and the length of an answer.
QUESTION, ANSWER = struct.Struct("<QQ"), struct.Struct("<Q")
#: Sent once, when questions are welcome.
READY = b"huddle worker 1\n"


@dataclass(frozen=True, slots=True)
class Question:
    """A call of `solver.planner.plan`, or with `batch` of `solver.batch.plan.plan_batch`.

    snapshot: None = that of the question before. deadline: end in seconds of time.monotonic, which all processes of a
    machine share.
    """

    snapshot: Snapshot | None
    gangs: tuple[Gang, ...]
    options: Options
    deadline: float
    batch: bool = False
    fair_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it. error: why the gangs cannot be planned, as InvalidRequest says it; fault: what else was raised.

    lacks_memory: it took more than it may.
    """

    plan: Plan | None = None
    error: str = ""
    fault: str = ""
    lacks_memory: bool = False


def _view(of: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(of)


class _Pickler(pickle.Pickler):
    """Knows read-only views of dictionaries."""

    def reducer_override(self, value: Any) -> Any:
        """How to make it again."""
        if isinstance(value, MappingProxyType):
            return _view, (dict(value),)
        return NotImplemented


def packed(value: Question | Reply) -> bytes:
    """As bytes."""
    to = io.BytesIO()
    _Pickler(to, pickle.HIGHEST_PROTOCOL).dump(value)
    return to.getvalue()


def unpacked(data: bytes) -> Any:
    """What was packed."""
    return pickle.loads(data)


def unknown(gangs: Sequence[Gang], *reasons: Reason) -> Plan:
    """Nothing is known of any gang. reasons: why, where it is not that time ran out."""
    return Plan(tuple(GangPlan(gang.name, Status.UNKNOWN, reasons=reasons) for gang in gangs))
