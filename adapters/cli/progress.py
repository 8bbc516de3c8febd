"""What the engine is doing, on stderr and only where somebody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console

from solver.planner import Reporter


class _Spinner(Reporter):
    """Shows the stage of the gang at work."""

    def __init__(self, console: Console) -> None:
        self.status = console.status("planning")

    def stage(self, gang: str, text: str) -> None:
        """One gang enters a stage."""
        self.status.update(f"{gang}: {text}")


@contextmanager
def progress(stream: IO[str]) -> Iterator[Reporter | None]:
    """A reporter that draws a spinner on `stream`, or None when that is no terminal."""
    if not stream.isatty():
        yield None
        return
    spinner = _Spinner(Console(file=stream, markup=False))
    with spinner.status:
        yield spinner
