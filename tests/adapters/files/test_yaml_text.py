"""YAML words, as Kubernetes reads them."""

import pytest
import yaml

from adapters.files import yaml_text
from adapters.files.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("null", None),
        ("true", True),
        ("Yes", True),
        ("off", False),
        ("'true'", "true"),
        ("y", "y"),
        ("12", 12),
        ("+3", 3),
        ("-5", -5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("010", 8),
        ("0o17", 15),
        ("0b101", 5),
        ("0", 0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("500m", "500m"),
        ("0x", "0x"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("! 12", "12"),
        ("'12'", "12"),
        ("|\n  a\n  b", "a\nb"),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("{'<<': a}", {"<<": "a"}),
        ("[&x a, *x]", ["a", "a"]),
        ("{<<: {a: 1, b: 2}, a: 3}", {"a": 3, "b": 2}),
        ("{<<: [{a: 1}, {a: 2, b: 3}]}", {"a": 1, "b": 3}),
        ("{&k key: *k}", {"key": "key"}),
    ],
)
def test_words(text: str, value: object) -> None:
    """Numbers, truth and nothing; dates and versions stay text, keys always are."""
    (parsed,) = read_yaml(text)
    assert parsed.value == value
    assert type(parsed.value) is type(value)


def test_the_parser_written_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library is missing."""
    text = "a: &x [1, {b: c}]\nd: *x\ne: 'f'\n---\n- g\n"
    fast = read_yaml(text)
    monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    assert read_yaml(text) == fast


def test_documents_know_their_line() -> None:
    """Messages can point at the document."""
    assert [parsed.line for parsed in read_yaml("a: 1\n---\n\nb: 2\n---\n- c")] == [1, 4, 6]
