"""YAML text → values, built straight from the parser's events.

The usual loaders recurse, let the last of two equal keys win and turn dates into objects; building from events bounds
depth and expansion before any memory is spent. Plain words become null, true/false and numbers as Kubernetes reads
YAML, everything else stays text; keys are always text. Anchors, aliases and merge keys work as long as what they
repeat stays small.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

from adapters.files.parsed import MAX_DEPTH, Parsed, TextError, as_float
from adapters.kubernetes.objects import one_line, shown

#: Most values that aliases of one file may repeat.
MAX_REPEATED = 1_000_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS = {
    **{form: True for word in ("true", "yes", "on") for form in (word, word.capitalize(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.capitalize(), word.upper())},
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0o?[0-7][0-7_]*|0b[01][01_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TEXT_TAGS = ("tag:yaml.org,2002:str", "!")
_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE = object()


@dataclass(slots=True)
class _Open:
    """A mapping or list still being read. repeated, height: of what is in it so far."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    line: int
    values: int
    height: int = 0
    key: Any = None
    merged: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    values: int
    height: int


def read_yaml(text: str) -> list[Parsed]:
    """The documents of a YAML stream, null for empty ones.

    Raises TextError for syntax errors, repeated keys, tags and numbers that are not understood, nesting deeper
    than `MAX_DEPTH`, aliases of something unfinished and aliases that repeat more than `MAX_REPEATED` values.
    """
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(str(error.problem or error.context))
        raise TextError(f"is not YAML: {problem}", mark.line + 1 if mark else None, syntax=True) from error
    except yaml.YAMLError as error:
        raise TextError("is not YAML: holds characters that YAML does not allow", syntax=True) from error
    return builder.documents


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=_LOADER)


class _Builder:
    """Builds values from events; `documents` are the finished ones."""

    def __init__(self) -> None:
        self.documents: list[Parsed] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._values = 0
        self._repeated = 0

    def take(self, event: yaml.Event) -> None:
        """Continue with the next event."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        match event:
            case yaml.ScalarEvent():
                self._values += 1
                value = self._key(event) if self._expects_key() else _scalar(event, line)
                self._anchor(event.anchor, value, 1, 0)
                self._add(value, 0, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event.anchor or "", line)
            case yaml.DocumentStartEvent():
                self._anchors.clear()

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _key(self, event: yaml.ScalarEvent) -> Any:
        plain = event.implicit[0] and not event.style
        return _MERGE if plain and event.value == "<<" else event.value

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if self._expects_key():
            raise TextError("a key must be text", line)
        if event.tag not in _COLLECTION_TAGS:
            raise TextError(f"tag {shown(event.tag)} is not supported", line)
        if len(self._open) >= MAX_DEPTH:
            raise TextError(f"is nested deeper than {MAX_DEPTH} levels", line)
        if event.anchor:
            self._anchors[event.anchor] = None
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(value, event.anchor, line, self._values))
        self._values += 1

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for source in done.merged:
                for key, value in source.items():
                    done.value.setdefault(key, value)
        self._anchor(done.anchor, done.value, self._values - done.values, done.height + 1)
        self._add(done.value, done.height + 1, done.line)

    def _alias(self, name: str, line: int) -> None:
        anchored = self._anchors.get(name)
        if anchored is None:
            raise TextError(f"alias {shown(name)} names nothing that is complete", line)
        self._values += anchored.values
        self._repeated += anchored.values
        if self._repeated > MAX_REPEATED:
            raise TextError(f"aliases repeat more than {MAX_REPEATED} values", line)
        if len(self._open) + anchored.height > MAX_DEPTH:
            raise TextError(f"is nested deeper than {MAX_DEPTH} levels", line)
        if self._expects_key() and not isinstance(anchored.value, str):
            raise TextError("a key must be text", line)
        self._add(anchored.value, anchored.height, line)

    def _anchor(self, name: str | None, value: Any, values: int, height: int) -> None:
        if name:
            self._anchors[name] = _Anchored(value, values, height)

    def _add(self, value: Any, height: int, line: int) -> None:
        """Put a finished value where it belongs: the list, the mapping (as key or value) or the stream."""
        if not self._open:
            self.documents.append(Parsed(value, line))
            return
        parent = self._open[-1]
        parent.height = max(parent.height, height)
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            if value is not _MERGE and value in parent.value:
                raise TextError(f"key {shown(value)} appears twice in one mapping", line)
            parent.key = value
        elif parent.key is _MERGE:
            parent.merged += _merge_sources(value, line)
            parent.key = None
        else:
            parent.value[parent.key] = value
            parent.key = None


def _merge_sources(value: Any, line: int) -> list[dict[str, Any]]:
    """Mappings a merge key names, the strongest first."""
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise TextError("a merge key must name a mapping", line)
    return sources


def _scalar(event: yaml.ScalarEvent, line: int) -> Any:
    tag = event.tag
    try:
        if tag is None:
            return _plain(event.value) if event.implicit[0] else event.value
        if tag in _TEXT_TAGS:
            return event.value
        if tag in _PLAIN_TAGS:
            return _plain(event.value)
    except TextError as error:
        raise TextError(error.problem, line) from error
    raise TextError(f"tag {shown(tag)} is not supported", line)


@lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    """The value of an unquoted word."""
    if text in _NULL:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return _whole(text)
    if _NOT_FINITE.fullmatch(text):
        raise TextError(f"{text} is not a number")
    if _FLOAT.fullmatch(text):
        return as_float(text)
    return text


def _whole(text: str) -> int:
    if len(text) > 400:
        raise TextError("holds a number with too many digits")
    digits = text.replace("_", "")
    octal = digits.lstrip("+-").removeprefix("0").isdigit() and digits.lstrip("+-").startswith("0")
    return int(digits, 8 if octal else 0)
