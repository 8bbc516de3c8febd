"""From our JSON Schemas to the structural schemas that custom resources need.

A structural schema has no references, so nesting ends somewhere; it knows no `additionalProperties: false`, since the
API server prunes or refuses unknown fields itself; every value has one type, and names in one list differ. Rules that
go beyond that are CEL expressions, listed by the definition of the JSON Schema they belong to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_PRESERVED = "x-kubernetes-preserve-unknown-fields"
_KEPT = frozenset(
    {
        "type", "format", "description", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength",
        "minItems", "maxItems", "minProperties", "maxProperties",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", _PRESERVED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression that must hold, and what is said where it does not."""

    expression: str
    message: str

    def body(self) -> Json:
        """As the API server reads it."""
        return {"rule": self.expression, "message": self.message}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a structural schema bounds and JSON Schema does not.

    items: of any list that does not say itself, since the cost of CEL rules is estimated from it. nesting: how often a
    definition may occur inside itself, and what is said beyond. items_inside: of a list inside a definition of its own
    items.
    """

    items: int
    nesting: int
    too_deep: str
    items_inside: int


@dataclass(frozen=True, slots=True)
class Structural:
    """The JSON Schema `whole`, as a structural schema. rules: of definitions, by name."""

    whole: Mapping[str, Any]
    limits: Limits
    rules: Mapping[str, Sequence[Rule]] = field(default_factory=dict)

    def of(self, schema: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Json:
        """One schema; inside: names of the definitions around it."""
        name = _definition(schema)
        if name:
            found = self.of(self.whole["$defs"][name], (*inside, name))
            rules = [rule.body() for rule in self.rules.get(name, ())]
            found |= {"x-kubernetes-validations": rules} if rules else {}
            return {**found, **{key: value for key, value in schema.items() if key in _KEPT}}
        if "oneOf" in schema or schema == {}:
            return _anything(schema)
        found = {key: value for key, value in schema.items() if key in _KEPT}
        if "enum" in schema:
            found["type"] = "string"  # ours are lists of words
        if schema.get("type") == "array":
            return self._array(schema, found, inside)
        if schema.get("type") == "object":
            return found | self._fields(schema, inside)
        return found

    def _array(self, schema: Mapping[str, Any], found: Json, inside: tuple[str, ...]) -> Json:
        items = schema.get("items", {"type": "object"})
        if inside.count(_definition(items)) >= self.limits.nesting:
            none = Rule("size(self) == 0", self.limits.too_deep)
            return {
                **found,
                "items": {"type": "object", _PRESERVED: True},
                "x-kubernetes-validations": [none.body()],
            }
        is_inside = _definition(items) in inside
        found.setdefault("maxItems", self.limits.items_inside if is_inside else self.limits.items)
        made = self.of(items, inside)
        if "name" in made.get("required", ()):
            found |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        return {**found, "items": made}

    def _fields(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Json:
        if "properties" in schema:
            return {"properties": {key: self.of(value, inside) for key, value in schema["properties"].items()}}
        others = schema.get("additionalProperties")
        return {"additionalProperties": self.of(others, inside)} if isinstance(others, Mapping) else {_PRESERVED: True}


def _definition(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _anything(schema: Mapping[str, Any]) -> Json:
    """A value of several types, which a structural schema cannot tell apart: whoever reads it does."""
    described = {"description": schema["description"]} if "description" in schema else {}
    return {**described, _PRESERVED: True}
