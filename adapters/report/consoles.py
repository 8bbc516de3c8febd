"""Where text goes: consoles that stay plain, wide and unwrapped when nobody is watching, and print what is printable.

Names, labels and messages come from strangers. Text, headers and cells are escaped as they come in, so that columns
still fit; the console looks once more at everything that leaves.
"""

import io
import os
from collections.abc import Callable, Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from solver.domain.printable import printable

#: Columns of output that is not a terminal: wide enough that no row of a table is folded.
FILE_COLUMNS = 160
LEAST_COLUMNS = 80


class Line(Text):
    """Text on one line, with styles."""

    def __init__(self, text: str = "", style: str | Style = "") -> None:
        super().__init__(printable(text), style)

    def append(self, text: Text | str, style: str | Style | None = None) -> "Line":
        """Add text at the end; gives the line itself."""
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self


class Rows(Table):
    """A table without lines that reads the same in a log file."""

    def __init__(self) -> None:
        super().__init__(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)

    def add_column(self, header: RenderableType = "", *others: Any, **settings: Any) -> None:
        """A further column."""
        super().add_column(_shown(header), *others, **settings)

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """A further row, each cell on one line."""
        super().add_row(*map(_shown, cells), **settings)


class PlainConsole(Console):
    """A console without markup. Each text is one line; whatever is not printable is shown escaped."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print a line or a table."""
        super().print(*map(_shown, objects), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces that are written; those of others than the classes above are escaped only here."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


class _Page(io.StringIO):
    """What is meant for a stream, before anything of it is written there."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str | None:  # type: ignore[override]  # nobody sets it
        """Of the stream."""
        return getattr(self._stream, "encoding", None)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()


def console_for(stream: IO[str], columns: int | None = None) -> Console:
    """A console on `stream`: no control codes unless it is a terminal; COLUMNS sets a file's width."""
    if columns is None and not stream.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        columns = FILE_COLUMNS
    console = PlainConsole(file=stream, width=columns, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if console.width < LEAST_COLUMNS:
        console.width = LEAST_COLUMNS
    return console


def rendered(stream: IO[str], draw: Callable[[Console], None], columns: int | None = None) -> str:
    """What `draw` prints on a console for `stream`, as text; without trailing blanks where nobody watches."""
    page = _Page(stream)
    console = console_for(page, columns)
    draw(console)
    text = page.getvalue()
    if console.is_terminal:
        return text
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _shown(item: Any) -> Any:
    return printable(item) if isinstance(item, str) else item
