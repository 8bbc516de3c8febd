"""Where text goes: consoles that stay plain, wide and unwrapped when nobody is watching."""

import os
from collections.abc import Callable
from typing import IO

from rich.console import Console

#: Columns of output that is not a terminal: wide enough that no row of a table is folded.
FILE_COLUMNS = 160
LEAST_COLUMNS = 80


def console_for(stream: IO[str], columns: int | None = None) -> Console:
    """A console on `stream`: no control codes unless it is a terminal; COLUMNS sets a file's width."""
    if columns is None and not stream.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        columns = FILE_COLUMNS
    console = Console(file=stream, width=columns, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if console.width < LEAST_COLUMNS:
        console.width = LEAST_COLUMNS
    return console


def rendered(stream: IO[str], draw: Callable[[Console], None], columns: int | None = None) -> str:
    """What `draw` prints on a console for `stream`, as text; without trailing blanks where nobody watches."""
    console = console_for(stream, columns)
    with console.capture() as captured:
        draw(console)
    text = captured.get()
    if console.is_terminal:
        return text
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
