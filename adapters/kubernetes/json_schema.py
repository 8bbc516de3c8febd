"""JSON Schema as the API server applies it."""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    """`$` is the end of the text; for Python it would also be a line break before the end."""
    exact = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(exact, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_VALIDATOR: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def validator(schema: Any) -> Draft202012Validator:
    """Checks values against a schema of draft 2020-12, whose patterns end where the text ends."""
    found: Draft202012Validator = _VALIDATOR(schema)
    return found
