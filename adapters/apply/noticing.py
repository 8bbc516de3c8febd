"""What the readers of live gangs have to say about them: doubts and wishes that were not considered."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from solver.domain.plan import Notice

#: Most sentences of one code that are told at once.
_MOST_TOGETHER = 8


def each_once(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """The notices, of those that say the same of several pods the first alone."""
    found: dict[tuple[str, str, str], Notice] = {}
    for notice in notices:
        found.setdefault((notice.code, notice.field, notice.message), notice)
    return tuple(found.values())


def told(notice: Notice) -> str:
    """A notice in one sentence, for readers who know which gang it is about."""
    return f"{notice.field}: {notice.message}" if notice.field else notice.message


def folded(notices: Sequence[Notice]) -> list[Notice]:
    """One notice for each code, which says what all of that code say."""
    by_code: dict[str, list[Notice]] = {}
    for notice in notices:
        by_code.setdefault(notice.code, []).append(notice)
    return [_one(found) for found in by_code.values()]


def _one(notices: Sequence[Notice]) -> Notice:
    """Notices of one code as one."""
    texts = [f"{each.object}: {each.field}: {each.message}" for each in notices[:_MOST_TOGETHER]]
    more = f"; and {len(notices) - len(texts)} more" if len(notices) > len(texts) else ""
    return replace(notices[0], field="", message="; ".join(texts) + more)
