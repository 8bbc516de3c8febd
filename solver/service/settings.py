"""Reads settings: a TOML file, the environment over it, flags over both; and writes what is in force."""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from solver.domain.errors import InvalidRequest
from solver.service.config import Section, ServiceConfig
from solver.service.roles import Role

#: What the names of variables begin with; `HUDDLE_SERVE_TLS_CERT_FILE` is `cert_file` of `[tls]`.
PREFIX = "HUDDLE_SERVE_"
#: How a variable says that there is no value.
NONE = "none"

Key = tuple[str, ...]


def load_config(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> ServiceConfig:
    """Settings in force.

    flags: dotted key such as `tls.cert_file` → value; None = not given. Raises InvalidRequest that names the key and
    where it stands; unknown keys and variables are errors.
    """
    given: dict[Key, tuple[str, Any]] = {}
    kinds = dict(_keys(ServiceConfig))
    for path, source, value in (*_from_file(file, kinds), *_from_environment(environment, kinds), *_from_flags(flags)):
        given[path] = source, _converted(kinds[path], value, f"{source}: {'.'.join(path)}")
    built = _built(ServiceConfig, (), given)
    assert isinstance(built, ServiceConfig)
    return built


def config_text(config: ServiceConfig) -> str:
    """All settings as TOML that reads back to the same; unset ones are remarks. There are no secrets in it."""
    lines: list[str] = []
    sections: list[str] = []
    for known in dataclasses.fields(config):
        value = getattr(config, known.name)
        if isinstance(value, Section):
            sections += ["", f"[{known.name}]", *_lines(value)]
        else:
            lines += _line(known.name, value)
    return "\n".join([*lines, *sections, ""])


def _keys(section: type[Section], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Path and type of every setting."""
    hints = typing.get_type_hints(section)
    for known in dataclasses.fields(section):  # type: ignore[arg-type]  # every section is a dataclass
        kind = hints[known.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _keys(kind, (*above, known.name))
        else:
            yield (*above, known.name), kind


def _from_file(file: Path | None, kinds: Mapping[Key, Any]) -> Iterator[tuple[Key, str, Any]]:
    if file is None:
        return
    source = f"config {file}"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"{source}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{source}: not valid TOML: {error}") from error
    for path, value in _flat(document, kinds):
        _known(path, kinds, source)
        yield path, source, value


def _flat(document: Mapping[str, Any], kinds: Mapping[Key, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Settings of a document, tables opened unless the table itself is the setting."""
    for key, value in document.items():
        path = (*above, key)
        if isinstance(value, dict) and path not in kinds and (any(known[: len(path)] == path for known in kinds)):
            yield from _flat(value, kinds, path)
        else:
            yield path, value


def _from_environment(environment: Mapping[str, str], kinds: Mapping[Key, Any]) -> Iterator[tuple[Key, str, Any]]:
    by_name = {PREFIX + "_".join(path).upper(): path for path in kinds}
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        if name not in by_name:
            raise InvalidRequest(f"environment: {name}: no such setting{_meant(name, by_name)}")
        yield by_name[name], f"environment {name}", _Text(text)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[tuple[Key, str, Any]]:
    for key, value in flags.items():
        if value is not None:
            yield tuple(key.split(".")), "command line", value


class _Text(str):
    """A value that came as text and still has to be read."""


def _known(path: Key, kinds: Mapping[Key, Any], source: str) -> None:
    if path not in kinds:
        key = ".".join(path)
        raise InvalidRequest(f"{source}: {key}: no such key{_meant(key, ['.'.join(known) for known in kinds])}")


def _meant(key: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _converted(kind: Any, value: Any, where: str) -> Any:
    """The value as its type. Messages never repeat it: somebody may have put a secret there."""
    optional = isinstance(kind, types.UnionType)
    if optional:
        kind = next(choice for choice in typing.get_args(kind) if choice is not type(None))
        if isinstance(value, _Text) and value in ("", NONE):
            return None
    wanted, read = _READERS.get(kind, (_words(kind), _member(kind)))
    try:
        return read(value)
    except (ValueError, TypeError):
        raise InvalidRequest(f"{where}: expected {wanted}") from None


def _boolean(value: Any) -> bool:
    if isinstance(value, _Text):
        value = _TRUTHS.get(value.lower())
    if not isinstance(value, bool):
        raise TypeError
    return value


_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def _integer(value: Any) -> int:
    if isinstance(value, _Text):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | _Text):
        raise TypeError
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return str(value)


def _path(value: Any) -> Path:
    return value if isinstance(value, Path) else Path(_string(value))


def _roles(value: Any) -> Mapping[str, Role]:
    """Name → role, as a table or as text `name=role,name=role`."""
    if isinstance(value, _Text):
        value = dict(item.rpartition("=")[::2] for item in value.split(",") if item)
    if not isinstance(value, Mapping):
        raise TypeError
    return {_string(name): Role(_string(role)) for name, role in value.items()}


def _member(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        return kind(_string(value))

    return read


def _words(kind: Any) -> str:
    return f"one of {', '.join(kind)}" if isinstance(kind, type) and issubclass(kind, Enum) else ""


_READERS: Mapping[Any, tuple[str, Callable[[Any], Any]]] = {
    bool: ("true or false", _boolean),
    int: ("a whole number", _integer),
    float: ("a number", _real),
    str: ("text", _string),
    Path: ("the path of a file", _path),
    Mapping[str, Role]: (f"names with a role each, one of {', '.join(Role)}", _roles),
}


def _built(section: type[Section], above: Key, given: Mapping[Key, tuple[str, Any]]) -> Section:
    """A section with what is given and defaults for the rest."""
    hints = typing.get_type_hints(section)
    values: dict[str, Any] = {}
    for known in dataclasses.fields(section):  # type: ignore[arg-type]  # every section is a dataclass
        path = (*above, known.name)
        kind = hints[known.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            values[known.name] = _built(kind, path, given)
        elif path in given:
            values[known.name] = given[path][1]
    try:
        return section(**values)
    except InvalidRequest as error:
        raise InvalidRequest(_located(str(error), above, given)) from error


def _located(problem: str, above: Key, given: Mapping[Key, tuple[str, Any]]) -> str:
    """A complaint that begins with a key, with the section and where the key was set in front."""
    key = problem.partition(":")[0].split(".")
    source = given.get((*above, *key), ("", None))[0]
    return f"{source + ': ' if source else ''}{'.'.join((*above, problem)) if above else problem}"


def _lines(section: Section) -> Iterator[str]:
    for known in dataclasses.fields(section):  # type: ignore[arg-type]  # every section is a dataclass
        yield from _line(known.name, getattr(section, known.name))


def _line(key: str, value: Any) -> list[str]:
    if value is None:
        return [f"# {key} = {NONE}"]
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_quoted(name)} = {_quoted(role)}" for name, role in sorted(value.items()))
        return [f"{key} = {{{inner}}}"]
    return [f"{key} = {_quoted(value) if isinstance(value, str | Path) else json.dumps(value)}"]


def _quoted(value: str | Path) -> str:
    """A TOML basic string; JSON's escapes are all TOML's too."""
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
