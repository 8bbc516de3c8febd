"""Text from outside as it may be shown to people."""

import re

#: Characters that Unicode counts as letters or marks and that show nothing by themselves.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def printable(text: str) -> str:
    r"""The text with every character that is not printable written as Python escapes it: `\n`, `\x1b`, `\u202e`.

    That is control characters, line breaks, marks that change direction or have no width, blanks other than the plain
    one, and halves of surrogate pairs. Printable text stays as it is, backslashes included, so that applying this
    twice changes nothing.
    """
    if text.isprintable() and (text.isascii() or not _INVISIBLE.search(text)):
        return text
    return "".join(letter if _is_shown(letter) else _escaped(letter) for letter in text)


def _is_shown(letter: str) -> bool:
    return letter.isprintable() and not _INVISIBLE.match(letter)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
