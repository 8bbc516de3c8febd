"""Words that are nearly right."""

from collections.abc import Iterable
from difflib import get_close_matches

_LIKENESS = 0.75
#: Longer words are no slips, and comparing them takes long.
_LONGEST = 64


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean Gang?)` for a word that is close to one of the known, whatever its case; else nothing."""
    if not 1 < len(word) <= _LONGEST:
        return ""
    by_lower = {name.lower(): name for name in known if name != word}
    close = get_close_matches(word.lower(), by_lower, 1, _LIKENESS)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def differs_in_case(word: str, known: Iterable[str]) -> bool:
    """Whether the word is one of the known but for its case."""
    return any(word != name and word.lower() == name.lower() for name in known)
