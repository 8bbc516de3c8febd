"""What the text readers share: values with their line, limits, and the error of malformed text."""

from dataclasses import dataclass
from typing import Any

#: Deepest nesting of mappings and lists.
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Parsed:
    """One value of a stream and the line it starts on, counted from 1."""

    value: Any
    line: int


class TextError(ValueError):
    """Text that cannot be read.

    line: counted from 1, None where nobody knows it. syntax: the grammar is violated, so another reader may try.
    """

    def __init__(self, problem: str, line: int | None = None, *, syntax: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.syntax = syntax
