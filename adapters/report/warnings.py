"""Warnings as lines: the same warning of many objects is said once, with a count and the first names."""

import re
from collections.abc import Iterable, Sequence

from adapters.report.tables import notice_line
from solver.domain.plan import Notice

#: Up to so many alike have a line each; of more, so many are named.
MOST_LINES, MOST_NAMED = 2, 3

_NUMBER = re.compile(r"\d+")


def warning_lines(notices: Iterable[Notice]) -> list[str]:
    """A line for each different warning, in the order in which they come first."""
    alike: dict[tuple[str, str], dict[Notice, None]] = {}
    for notice in notices:
        alike.setdefault((notice.code, _shape(notice)), {})[notice] = None
    lines: dict[str, None] = {}
    for group in alike.values():
        found = list(group)
        for line in [notice_line(each) for each in found] if len(found) <= MOST_LINES else [_folded(found)]:
            lines[line] = None
    return list(lines)


def _shape(notice: Notice) -> str:
    """The message without what differs between objects: the object, the name in the field, and numbers."""
    text = notice.message
    for name in (notice.object, notice.object.rpartition(" ")[2], notice.field.rpartition(" ")[2]):
        text = text.replace(name, "") if name else text
    return _NUMBER.sub("0", text)


def _folded(notices: Sequence[Notice]) -> str:
    """One line for several warnings alike, with the message of the first."""
    first = notices[0]
    one_field = len({_NUMBER.sub("0", each.field) for each in notices}) == 1
    wheres = [each.object if one_field else ": ".join(filter(None, (each.object, each.field))) for each in notices]
    named = list(dict.fromkeys(filter(None, wheres)))
    hidden = len(named) - MOST_NAMED
    names = ", ".join(named[:MOST_NAMED]) + (f" and {hidden} more" if hidden > 0 else "")
    differ = "" if len({each.message for each in notices}) == 1 else ", and alike"
    field = f"{first.field}: " if one_field and first.field else ""
    about = f"{names}: " if names else ""
    return f"warning: {about}{field}{first.message}{differ} ({len(notices)} times) [{first.code}]"
