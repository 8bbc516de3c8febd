"""Every answer keeps to its JSON Schema."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapters.report.answers import AnswerKind, schema_text
from adapters.report.structured import formatted


@cache
def validator(kind: AnswerKind) -> Draft202012Validator:
    """Checks answers of a kind."""
    return Draft202012Validator(json.loads(schema_text(kind)))


def valid(document: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is; fails when it breaks the schema of its kind."""
    validator(AnswerKind(document["kind"])).validate(document)
    return document


def checked(document: dict[str, Any], form: str) -> str:
    """As `formatted`, of valid answers only."""
    return formatted(valid(document), form)


@contextmanager
def all_answers_checked() -> Iterator[None]:
    """Whatever a command of this process answers in JSON or YAML is checked."""
    with pytest.MonkeyPatch.context() as patch:
        for command in ("plan", "topology", "calibrate"):
            patch.setattr(f"adapters.cli.{command}.formatted", checked)
        yield
