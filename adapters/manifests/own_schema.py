"""The JSON Schema of `Gang`, and its first violation as one line."""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from adapters.kubernetes.json_schema import validator
from adapters.kubernetes.objects import Document, shown
from adapters.kubernetes.spelling import suggestion

Path = tuple[str | int, ...]

_MOST_VALUES = 1_000_000
_DEEPEST = 64
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def check_gang(doc: Document) -> None:
    """Raise InvalidRequest with the first field, in path order, that breaks the schema of `Gang`."""
    _refuse_absurd(doc)
    errors = list(_validator().iter_errors(doc.body))
    if errors:
        path, problem = min((_described(error) for error in errors), key=lambda found: _order(found[0]))
        raise doc.refuse(_joined(path), problem)


@cache
def _validator() -> Draft202012Validator:
    text = resources.files("adapters.manifests").joinpath("schemas", "gang.schema.json").read_text("utf-8")
    return validator(json.loads(text))


def _refuse_absurd(doc: Document) -> None:
    """Refuse what the schema cannot see: numbers that are not finite or endless, endless nesting."""
    stack: list[tuple[Path, Any]] = [((), doc.body)]
    count = 0
    while stack:
        path, value = stack.pop()
        count += 1
        if len(path) > _DEEPEST or count > _MOST_VALUES:
            raise doc.refuse(_joined(path[:6]), "is nested too deeply or too large")
        if isinstance(value, float) and not math.isfinite(value):
            raise doc.refuse(_joined(path), f"must be a finite number, not {value}")
        if isinstance(value, int) and value.bit_length() > 128:
            raise doc.refuse(_joined(path), "is a huge number")
        if isinstance(value, Mapping):
            stack += [((*path, str(key)), child) for key, child in value.items()]
        elif isinstance(value, list):
            stack += [((*path, index), child) for index, child in enumerate(value)]


def _described(error: ValidationError) -> tuple[Path, str]:
    """Path and problem of a violation."""
    path: Path = tuple(error.absolute_path)
    rule, limit, value = str(error.validator), _any(error.validator_value), _any(error.instance)
    if rule == "required":
        return (*path, next(name for name in limit if name not in value)), "is missing"
    if rule == "additionalProperties":
        known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
        extra = min((str(name) for name in value if name not in known), default="")
        return (*path, extra), f"is not a known field{suggestion(extra, known)}; known are {', '.join(sorted(known))}"
    return path, _problem(rule, limit, value, error.schema)


def _any(value: Any) -> Any:
    """The value, whose type depends on the rule."""
    return value


def _problem(rule: str, limit: Any, value: Any, schema: Any) -> str:
    if rule == "type":
        return f"must be {_TYPES.get(limit, limit)}, not {shown(value)}"
    if rule in ("minimum", "maximum"):
        return f"{shown(value)} is out of range ({schema['minimum']} to {schema['maximum']})"
    if rule in ("enum", "const"):
        allowed = limit if rule == "enum" else [limit]
        return f"must be {' or '.join(map(str, allowed))}, not {shown(value)}"
    if rule == "oneOf":
        return f"must be a role name or a list of different ones, not {shown(value)}"
    if rule in ("minLength", "minItems"):
        return "must not be empty"
    return f"{shown(value)} is not a valid name"


def _joined(path: Iterable[str | int]) -> str:
    """`spec.roles[0].name`."""
    words = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(words).removeprefix(".") or "object"


def _order(path: Path) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in path]
