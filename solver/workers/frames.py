"""What parent and child say to each other, pickled, behind its length.

Both are this program, and the child gets nothing from anybody else.
"""

import io
import pickle
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from solver.domain.plan import Plan
from solver.domain.snapshot import Snapshot
from solver.workers.question import Question

#: To the child: number of the question, most memory of the child in bytes, and the length of the question; 0 bytes
#: mean that the question of this number is to end.
QUESTION = struct.Struct("<QQQ")
#: From the child: the length of a News or of the Reply that ends the question.
ANSWER = struct.Struct("<Q")
#: Sent once, when questions are welcome.
READY = b"huddle worker 2\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for the child. snapshot: which it is about; None = that of the question before.

    news: whether the parent wants to hear what a Reporter hears. plans: whether of every better plan, too.
    """

    question: Question
    snapshot: Snapshot | None = None
    news: bool = False
    plans: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """A call of a method of Reporter."""

    method: str
    arguments: tuple[Any, ...]


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


def packed(value: Any) -> bytes:
    """As bytes."""
    to = io.BytesIO()
    _Pickler(to, pickle.HIGHEST_PROTOCOL).dump(value)
    return to.getvalue()


def unpacked(data: bytes) -> Any:
    """What was packed."""
    return pickle.loads(data)
