"""Checking own objects against their published JSON Schema, with one line for the first error."""

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from adapters.kubernetes.json_schema import validator
from adapters.kubernetes.objects import Document, shown
from adapters.kubernetes.spelling import suggestion
from solver.domain.errors import InvalidRequest

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def check_schema(doc: Document, schema: str) -> None:
    """Raise InvalidRequest with the first error by path if `doc` breaks `schema`, a file name in `schemas/`."""
    errors = sorted(_validator(schema).iter_errors(doc.body), key=_order)
    if errors:
        raise _refusal(doc, errors[0])


@cache
def _validator(schema: str) -> Draft202012Validator:
    text = files("adapters.files").joinpath("schemas", schema).read_text(encoding="utf-8")
    return validator(json.loads(text))


def _order(error: ValidationError) -> tuple[list[tuple[bool, int, str]], str, str]:
    path = [(isinstance(step, str), step if isinstance(step, int) else 0, str(step)) for step in error.absolute_path]
    return path, str(error.validator), error.message


def _refusal(doc: Document, error: ValidationError) -> InvalidRequest:
    field = field_path(error.absolute_path)
    value: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "required" | "dependentRequired":
            return doc.refuse(_joined(field, _missing(error)), "is missing")
        case "additionalProperties":
            name, known = _unknown(error)
            return doc.refuse(_joined(field, name), f"is not a known field{suggestion(name, known)}")
        case "type":
            return doc.refuse(field, f"must be {_type(rule)}, not {shown(value)}")
        case "const":
            return doc.refuse(field, f"must be {rule!r}, not {shown(value)}")
        case "enum":
            return doc.refuse(field, f"must be one of {', '.join(rule)}, not {shown(value)}")
        case "minimum" | "maximum":
            bound = "at least" if error.validator == "minimum" else "at most"
            return doc.refuse(field, f"must be {bound} {rule}, not {shown(value)}")
        case "minLength":
            return doc.refuse(field, "must not be empty")
        case "maxItems":
            return doc.refuse(field, f"must hold at most {rule} entries")
        case "pattern" | "not":
            return doc.refuse(field, f"{shown(value)} is not allowed here")
        case _:
            return doc.refuse(field, error.message[:200])


def field_path(steps: Iterable[str | int]) -> str:
    """`spec.nodes[0].count` from the steps to a field."""
    text = ""
    for step in steps:
        text = f"{text}[{step}]" if isinstance(step, int) else _joined(text, step)
    return text


def _type(rule: str | list[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in ([rule] if isinstance(rule, str) else rule))


def _missing(error: ValidationError) -> str:
    value: Any = error.instance
    rule: Any = error.validator_value
    if error.validator == "dependentRequired":
        rule = [name for key, needed in rule.items() if key in value for name in needed]
    return str(next(name for name in rule if name not in value))


def _unknown(error: ValidationError) -> tuple[str, Iterable[str]]:
    """The first unknown name, and those that are known."""
    schema: Any = error.schema
    value: Any = error.instance
    known = schema.get("properties", {})
    return str(min(name for name in value if name not in known)), known


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
