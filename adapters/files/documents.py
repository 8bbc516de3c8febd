"""Files with Kubernetes-style objects → `Document`s."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from adapters.files.fifos import is_fifo, read_fifo
from adapters.files.json_text import read_json
from adapters.files.parsed import MAX_DEPTH, Parsed, TextError
from adapters.files.yaml_text import read_yaml
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.objects import Document, one_line, shown
from solver.domain.errors import InvalidRequest, SourceUnavailable

#: Largest input, in bytes.
MAX_BYTES = 512 * 2**20
STDIN = "<stdin>"

_ZIP = b"PK\x03\x04"
_SMALL = 2**20


def read_documents(paths: Iterable[str]) -> list[Document]:
    """The objects in files, in order; `-` is standard input.

    YAML or JSON by content, any number of documents; lists (`List`, `NodeList`, anything that holds `items`) are
    opened and empty documents skipped. Raises InvalidRequest, naming file and line, for text that cannot be read or
    is no object with kind and metadata.name, and SourceUnavailable for files that cannot be opened.
    """
    with garbage_collection_paused():
        return [document for path in paths for document in _documents(path)]


def read_text(path: str) -> tuple[str, str]:
    """The text of a file, `-` is standard input, and what messages call it.

    Raises InvalidRequest for what is no UTF-8 text and SourceUnavailable for files that cannot be opened.
    """
    source = STDIN if path == "-" else path
    return _text(_bytes(path), source), source


def _documents(path: str) -> list[Document]:
    text, source = read_text(path)
    values = [parsed for parsed in _parsed(text, source) if parsed.value is not None]
    if not values:
        raise _refuse(source, None, "holds no objects")
    return [document for parsed in values for document in _opened(parsed.value, source, parsed.line, "")]


def _bytes(path: str) -> bytes:
    source = STDIN if path == "-" else path
    try:
        content = _read(path, MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceUnavailable(one_line(f"{source}: {problem}")) from error
    if len(content) > MAX_BYTES:
        raise _refuse(source, None, f"is larger than {MAX_BYTES // 2**20} MiB")
    return content


def _read(path: str, most: int) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(most)
    if is_fifo(path):
        return read_fifo(path, most)
    with Path(path).open("rb") as file:
        return file.read(most)


def _text(content: bytes, source: str) -> str:
    if content.startswith(_ZIP):
        raise _refuse(source, None, "is a zip archive; KAI snapshots are not supported yet")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refuse(source, line, "is not UTF-8 text") from error


def _parsed(text: str, source: str) -> list[Parsed]:
    """JSON if it starts like JSON, else YAML; a small text that is no JSON may still be YAML in braces."""
    try:
        if text.lstrip()[:1] not in ("{", "["):
            return read_yaml(text)
        try:
            return read_json(text)
        except TextError as error:
            if len(text) > _SMALL or not error.syntax:
                raise
            return _yaml_or(text, error)
    except TextError as error:
        raise _refuse(source, error.line, error.problem) from error


def _yaml_or(text: str, error: TextError) -> list[Parsed]:
    try:
        return read_yaml(text)
    except TextError as other:
        raise (error if other.syntax else other) from other


def _opened(value: Any, source: str, line: int, at: str, kind: str = "", version: str = "") -> Iterator[Document]:
    """The objects in `value`; kind and version stand in for what entries of a typed list leave out."""
    if not isinstance(value, dict):
        raise _refuse(source, line, f"{at or 'the document'} must be a mapping, not {shown(value)}")
    if at.count("items") > MAX_DEPTH:
        raise _refuse(source, line, f"lists are nested deeper than {MAX_DEPTH} levels")
    if _is_list(value):
        items = value.get("items")
        if items is not None and not isinstance(items, list):
            raise _refuse(source, line, f"{_joined(at, 'items')} must be a list, not {shown(items)}")
        own, own_version = value.get("kind"), value.get("apiVersion")
        kind = own.removesuffix("List") if isinstance(own, str) else ""
        version = own_version if kind and isinstance(own_version, str) else ""
        for index, item in enumerate(items or ()):
            if item is not None:
                yield from _opened(item, source, line, _joined(at, f"items[{index}]"), kind, version)
        return
    body = value
    if kind and value.get("kind") is None:
        body = {"apiVersion": version, **value, "kind": kind}
    _check_identity(body, source, line, at)
    yield Document(body, source)


def _is_list(value: dict[str, Any]) -> bool:
    kind = value.get("kind")
    if isinstance(kind, str) and kind:
        return kind == "List" or (kind.endswith("List") and "spec" not in value)
    return "items" in value


def _check_identity(body: dict[str, Any], source: str, line: int, at: str) -> None:
    metadata = body.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise _refuse(source, line, f"{_joined(at, 'metadata')} must be a mapping, not {shown(metadata)}")
    metadata = metadata or {}
    for field, value, required in (
        ("kind", body.get("kind"), True),
        ("apiVersion", body.get("apiVersion"), False),
        ("metadata.name", metadata.get("name"), True),
        ("metadata.namespace", metadata.get("namespace"), False),
        ("metadata.uid", metadata.get("uid"), False),
    ):
        if value is None and not required:
            continue
        if value is None:
            raise _refuse(source, line, f"{_joined(at, field)} is missing")
        if not isinstance(value, str):
            raise _refuse(source, line, f"{_joined(at, field)} must be text, not {shown(value)}")
        if required and not value:
            raise _refuse(source, line, f"{_joined(at, field)} must not be empty")
        if field.startswith("metadata.n") and not _is_name(value):
            raise _refuse(source, line, f"{_joined(at, field)}: {shown(value)} is not a name")


def _is_name(value: str) -> bool:
    return len(value) <= 253 and value.isascii() and value.isprintable() and not set(value) & {" ", "/"}


def _joined(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _refuse(source: str, line: int | None, problem: str) -> InvalidRequest:
    return InvalidRequest(one_line(f"{source}:{line}: {problem}" if line else f"{source}: {problem}"))
