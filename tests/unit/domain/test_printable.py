"""What is shown of text from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.domain.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rack r1: größer, 机架, \\x1b", "rack r1: größer, 机架, \\x1b"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31m\x07\x9b", "\\x1b[31m\\x07\\x9b"),
        ("\u202eab\u2066\u200f", "\\u202eab\\u2066\\u200f"),
        ("a\u200bb\ufeff\u2028\xa0", "a\\u200bb\\ufeff\\u2028\\xa0"),
        ("\ud800", "\\ud800"),
        ("\U000e0001\U000e0100", "\\U000e0001\\U000e0100"),
        ("\u3164\u115f\ufe0f", "\\u3164\\u115f\\ufe0f"),
        ("\x00\x7f", "\\x00\\x7f"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    """Control characters, line breaks, marks of direction, of no width and of no ink; nothing else."""
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_all_of_it_is_printable_and_stays_so(text: str) -> None:
    """Whatever comes in; twice is as once."""
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
