"""Numbers of tokens on the command line: `4000`, `4k`, `0.5M`."""

import re

import click

MOST_PROMPT_TOKENS = 10_000_000
_FORM = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?([kKM]?)", re.ASCII)
_SCALES = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}


def tokens_option(_: click.Context, __: click.Parameter, text: str) -> int:
    """A whole number of tokens above 0; `k` stands for thousands, `M` for millions. Raises click.BadParameter."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a number of tokens such as 4000 or 4k")
    part = match[2] or ""
    scaled: int = int(match[1] + part) * _SCALES[match[3]]
    tokens, rest = divmod(scaled, int(10 ** len(part)))
    if rest:
        raise click.BadParameter(f"{text!r} is not a whole number of tokens")
    if not 1 <= tokens <= MOST_PROMPT_TOKENS:
        raise click.BadParameter(f"{text!r} is out of range (1 to {MOST_PROMPT_TOKENS})")
    return tokens
