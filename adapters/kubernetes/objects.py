"""One Kubernetes-style object as it was read, with getters that refuse wrong types in one line.

A getter takes a dotted path (`spec.levels`); a missing or null field takes the default or, without one, is
refused. Keys that contain dots (labels, resource names) are read from a mapping, not by path.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Literal, TypeVar, overload

from solver.domain.errors import InvalidRequest
from solver.domain.printable import printable

Raw = Mapping[str, Any]
D = TypeVar("D")

#: Largest whole number a field may hold unless its reader says otherwise (Kubernetes int32).
MAX_WHOLE = 2**31 - 1

CLUSTER_SCOPED = frozenset(
    {
        "Cluster",
        "ClusterTopology",
        "ClusterTopologyBinding",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "Queue",
        "StorageClass",
        "Topology",
    }
)


_TEXT = frozenset({str})


class _Missing(Enum):
    REQUIRED = "required"


_REQUIRED: Literal[_Missing.REQUIRED] = _Missing.REQUIRED


@dataclass(frozen=True)
class Fields(ABC):
    """A mapping, whole object or part of one, and how to read its fields.

    Every getter raises InvalidRequest, naming the object and the full path of the field, for a value of the
    wrong type and for a missing one that has no default.
    """

    body: Raw

    @abstractmethod
    def refuse(self, field: str, problem: str) -> InvalidRequest:
        """The error to raise about `field` of this mapping: one line that names source, object and field."""

    @abstractmethod
    def within(self, raw: Raw, field: str) -> "Part":
        """Getters for `raw`, a mapping found at `field` of this one."""

    def find(self, path: str) -> Any:
        """The value at a dotted path, None when it or anything above it is absent or null."""
        value: Any = self.body
        for key in path.split("."):
            if type(value) is not dict:
                return self._find_in_mappings(path)
            value = value.get(key)
            if value is None:
                return None
        return value

    def _find_in_mappings(self, path: str) -> Any:
        """As `find`, through mappings of any type."""
        value: Any = self.body
        keys = path.split(".")
        for depth, key in enumerate(keys):
            if value is None:
                return None
            if not _is_mapping(value):
                raise self.refuse(".".join(keys[:depth]), f"must be a mapping, not {shown(value)}")
            value = value.get(key)
        return value

    def has(self, path: str) -> bool:
        """Whether the field is there and not null."""
        return self.find(path) is not None

    @overload
    def text(self, path: str) -> str: ...
    @overload
    def text(self, path: str, default: D) -> str | D: ...
    def text(self, path: str, default: object = _REQUIRED) -> object:
        """A string; a required one must not be empty."""
        value = self.find(path)
        if value is None:
            return self._default(path, default)
        if not isinstance(value, str):
            raise self.refuse(path, f"must be text, not {shown(value)}")
        if not value and default is _REQUIRED:
            raise self.refuse(path, "must not be empty")
        return value

    @overload
    def whole(self, path: str, *, minimum: int = ..., maximum: int = ..., allow_text: bool = ...) -> int: ...
    @overload
    def whole(
        self, path: str, default: D, *, minimum: int = ..., maximum: int = ..., allow_text: bool = ...
    ) -> int | D: ...
    def whole(
        self,
        path: str,
        default: object = _REQUIRED,
        *,
        minimum: int = 0,
        maximum: int = MAX_WHOLE,
        allow_text: bool = False,
    ) -> object:
        """A whole number between `minimum` and `maximum`; digits in quotes only with `allow_text`."""
        value = self.find(path)
        if value is None:
            return self._default(path, default)
        found = _as_whole(value, allow_text)
        if found is None:
            raise self.refuse(path, f"must be a whole number, not {shown(value)}")
        if not minimum <= found <= maximum:
            raise self.refuse(path, f"{shown(value)} is out of range ({minimum} to {maximum})")
        return found

    @overload
    def number(self, path: str, *, minimum: float = ..., maximum: float = ...) -> float: ...
    @overload
    def number(self, path: str, default: D, *, minimum: float = ..., maximum: float = ...) -> float | D: ...
    def number(self, path: str, default: object = _REQUIRED, *, minimum: float = 0.0, maximum: float = 1e15) -> object:
        """A finite number between `minimum` and `maximum`."""
        value = self.find(path)
        if value is None:
            return self._default(path, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(path, f"must be a number, not {shown(value)}")
        if not minimum <= value <= maximum:
            raise self.refuse(path, f"{shown(value)} is out of range ({minimum:g} to {maximum:g})")
        return float(value)

    @overload
    def flag(self, path: str) -> bool: ...
    @overload
    def flag(self, path: str, default: D) -> bool | D: ...
    def flag(self, path: str, default: object = _REQUIRED) -> object:
        """True or false."""
        value = self.find(path)
        if value is None:
            return self._default(path, default)
        if not isinstance(value, bool):
            raise self.refuse(path, f"must be true or false, not {shown(value)}")
        return value

    def mapping(self, path: str) -> Raw:
        """A mapping, empty when it is missing."""
        value = self.find(path)
        if value is None:
            return {}
        if not _is_mapping(value):
            raise self.refuse(path, f"must be a mapping, not {shown(value)}")
        return value  # type: ignore[no-any-return]

    def texts(self, path: str) -> Mapping[str, str]:
        """A mapping of text to text such as labels, empty when it is missing; null values become empty."""
        raw = self.mapping(path)
        if _TEXT.issuperset(map(type, raw.values())):
            return raw
        found: dict[str, str] = {}
        for key, value in raw.items():
            if value is not None and not isinstance(value, str):
                raise self.refuse(f"{path}[{key}]", f"must be text, not {shown(value)}")
            found[key] = value or ""
        return found

    def items(self, path: str) -> list[Any]:
        """A list, empty when it is missing."""
        value = self.find(path)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(path, f"must be a list, not {shown(value)}")
        return value

    def words(self, path: str) -> tuple[str, ...]:
        """A list of strings, empty when it is missing."""
        found = self.items(path)
        for index, value in enumerate(found):
            if not isinstance(value, str):
                raise self.refuse(f"{path}[{index}]", f"must be text, not {shown(value)}")
        return tuple(found)

    def part(self, path: str) -> "Part":
        """Getters for the mapping at `path`, an empty one when it is missing."""
        return self.within(self.mapping(path), path)

    def parts(self, path: str) -> list["Part"]:
        """Getters for each mapping of the list at `path`, none when it is missing."""
        found = []
        for index, value in enumerate(self.items(path)):
            if not _is_mapping(value):
                raise self.refuse(f"{path}[{index}]", f"must be a mapping, not {shown(value)}")
            found.append(self.within(value, f"{path}[{index}]"))
        return found

    def _default(self, path: str, default: object) -> object:
        if default is _REQUIRED:
            raise self.refuse(path, "is missing")
        return default


@dataclass(frozen=True)
class Document(Fields):
    """One object. body: as parsed. source: the file (or `<stdin>`) it came from, for messages."""

    source: str

    @cached_property
    def kind(self) -> str:
        """`kind`, or empty."""
        return _text(self.body.get("kind"))

    @property
    def api_version(self) -> str:
        """`apiVersion`, or empty."""
        return _text(self.body.get("apiVersion"))

    @property
    def api_group(self) -> str:
        """The part of `apiVersion` before the slash; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def name(self) -> str:
        """`metadata.name`, or empty."""
        return _text(self.body.get("metadata"), "name")

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, else `default`."""
        return _text(self.body.get("metadata"), "namespace") or "default"

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        """`metadata.uid`, or empty."""
        return _text(self.body.get("metadata"), "uid")

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`."""
        return self.texts("metadata.labels")

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        """`metadata.annotations`."""
        return self.texts("metadata.annotations")

    @property
    def described(self) -> str:
        """How messages call it: `Pod prod/router-0`, `Node h1`."""
        return f"{self.kind} {self.name if self.kind in CLUSTER_SCOPED else self.full_name}"

    def refuse(self, field: str, problem: str) -> InvalidRequest:
        """The error to raise: `<source>: <Kind> <name>: <field>: <problem>`, on one line."""
        return InvalidRequest(one_line(f"{self.source}: {self.described}: {field}: {problem}"))

    def within(self, raw: Raw, field: str) -> "Part":
        """Getters for `raw`, a mapping of this object found at `field` (empty = the object itself)."""
        return Part(raw, self, field)


@dataclass(frozen=True)
class Part(Fields):
    """A mapping inside a document; at: its path, for messages."""

    document: Document
    at: str

    def refuse(self, field: str, problem: str) -> InvalidRequest:
        """The error to raise about `field` of this part; an empty field means the part itself."""
        return self.document.refuse(self.path(field), problem)

    def within(self, raw: Raw, field: str) -> "Part":
        """Getters for `raw`, a mapping found at `field` of this part."""
        return Part(raw, self.document, self.path(field))

    def path(self, field: str) -> str:
        """The full path of a field of this part."""
        return f"{self.at}.{field}" if self.at and field else self.at or field


def shown(value: object) -> str:
    """A value as a message quotes it: short, on one line."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    text = printable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def one_line(text: str) -> str:
    """A message on one line, whatever is not printable escaped."""
    return printable(text)


def _is_mapping(value: object) -> bool:
    return type(value) is dict or isinstance(value, Mapping)  # the check against the abstract class is slow


def _as_whole(value: object, allow_text: bool) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else None
    if allow_text and isinstance(value, str) and value.isascii() and len(value) <= 20:
        digits = value.removeprefix("-")
        return int(value) if digits.isdigit() else None
    return None


def _text(value: object, key: str | None = None) -> str:
    if key is not None:
        value = value.get(key) if isinstance(value, dict | Mapping) else None
    return value if isinstance(value, str) else ""
