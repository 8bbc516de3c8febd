"""How much of an answer is shown, so that a person can still read it."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from adapters.report.consoles import console_for

#: Lines that one gang's answer should fit.
PAGE_LINES = 40


@dataclass(frozen=True, slots=True)
class Detail:
    """Most of each part that is shown, None = all.

    rows: of the placement; beyond, pods that are alike are folded by domain. racks, others: bars of racks in use, and
    of racks beside them. bar_lines: lines of one bar. entries: flows, reasons.
    """

    rows: int | None = None
    racks: int = 24
    others: int = 4
    bar_lines: int | None = None
    entries: int | None = None


FULL = Detail()
#: Less and less, the last one with what no answer goes without.
FOLDED = (
    Detail(12, 6, 4, 1, 8),
    Detail(10, 4, 2, 1, 6),
    Detail(8, 3, 2, 1, 5),
    Detail(6, 2, 0, 1, 4),
    Detail(4, 1, 0, 1, 3),
    Detail(3, 0, 0, 1, 2),
)


def fitting(console: Console, draw: Callable[[Console, Detail], None], rows: int, most_lines: int) -> Detail:
    """The most detail with which `draw` prints at most so many lines on a console this wide.

    rows: of the placement in full.
    """
    for detail in FOLDED if rows > most_lines else (FULL, *FOLDED):
        page = io.StringIO()
        draw(console_for(page, console.width), detail)
        if page.getvalue().count("\n") <= most_lines:
            return detail
    return FOLDED[-1]
