"""Natural order of names: `node-2` before `node-10`."""

import re

_DIGITS = re.compile(r"(\d+)")

#: Digits of one number that count; Python refuses to read much longer ones.
_MOST_DIGITS = 4000

NaturalKey = tuple[tuple[int, int, str], ...]


def natural_key(name: str) -> NaturalKey:
    """Sort key that compares runs of digits as numbers; equal keys only for equal names."""
    parts = [
        (0, int(part[:_MOST_DIGITS]), part) if part.isdecimal() else (1, 0, part)
        for part in _DIGITS.split(name)
        if part
    ]
    return tuple(parts)
