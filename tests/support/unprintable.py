"""What a terminal would be told by the text that a command prints."""

import re

_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def unprintable(text: str, styled: bool = False) -> set[str]:
    """Characters that are no text and no line break. styled: colours of the command's own are none of them."""
    rest = _STYLES.sub("", text) if styled else text
    return {letter for letter in rest if letter != "\n" and not letter.isprintable()}
