"""Bearer tokens in a file: read, kept as hashes, compared in constant time, read again when the file changes."""

import hashlib
import hmac
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from solver.domain.errors import InvalidRequest
from solver.service.roles import Role
from solver.service.watched import Watched

#: Shorter tokens can be guessed.
LEAST_CHARACTERS = 16
_KEYS = frozenset({"name", "role", "token"})

_log = structlog.get_logger("huddle.service")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. name: for logs and refusals. role: None = known, but may do nothing."""

    name: str
    role: Role | None


class Tokens:
    """Tokens of a file. A changed file that cannot be read is logged and changes nothing."""

    def __init__(self, path: Path, every_s: float) -> None:
        self._path = path
        self._watched = Watched([path], every_s)
        self._callers = read_tokens(path)

    def find(self, token: str) -> Caller | None:
        """Whose token this is. Looks at every entry, so that time tells nothing."""
        if self._watched.changed():
            self._reload()
        digest = _digest(token)
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def _reload(self) -> None:
        try:
            self._callers = read_tokens(self._path)
        except InvalidRequest as error:
            _log.error("tokens_not_reloaded", problem=str(error))
        else:
            _log.info("tokens_reloaded", tokens=len(self._callers))


def read_tokens(path: Path) -> Mapping[bytes, Caller]:
    """SHA-256 of each token → whose it is.

    The file is TOML when its name ends so: `[[tokens]]` with name, role and token; else lines of `name role token`,
    with `#` for remarks. Raises InvalidRequest, which names the file and the entry and never a token.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_open(path)
    except OSError as error:
        raise InvalidRequest(f"tokens {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"tokens {path}: not UTF-8") from error
    found: dict[bytes, Caller] = {}
    names: set[str] = set()
    for where, name, role, token in _from_toml(path, text) if path.suffix == ".toml" else _from_lines(path, text):
        caller = Caller(name, _role(where, role))
        if len(token) < LEAST_CHARACTERS or not (token.isascii() and token.isprintable()):
            raise InvalidRequest(f"{where}: the token needs {LEAST_CHARACTERS} or more plain characters")
        digest = _digest(token)
        if name in names or digest in found:
            raise InvalidRequest(f"{where}: name or token of {name} is there twice")
        found[digest] = caller
        names.add(name)
    return found


def _refuse_open(path: Path) -> None:
    """Raises InvalidRequest when others than the service may read or change a file of tokens, as ssh does for keys.

    A file of root may be readable by the group, as mounted secrets are.
    """
    found = path.stat()
    allowed = 0o640 if found.st_uid == 0 != os.geteuid() else 0o600
    if found.st_mode & 0o077 & ~allowed:
        mode = f"{found.st_mode & 0o777:04o}"
        raise InvalidRequest(
            f"tokens {path}: others can reach it (mode {mode}); run: chmod 600 {shlex.quote(str(path))}"
        )


def _from_lines(path: Path, text: str) -> Iterator[tuple[str, str, str, str]]:
    """Place, name, role and token of each line."""
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"tokens {path}, line {number}"
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise InvalidRequest(f"{where}: expected name, role and token")
        yield where, words[0], words[1], words[2]


def _from_toml(path: Path, text: str) -> Iterator[tuple[str, str, str, str]]:
    """Place, name, role and token of each table."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Neither the message nor the cause: they may quote the line.
        raise InvalidRequest(f"tokens {path}: not valid TOML") from None
    entries = document.pop("tokens", [])
    if document or not isinstance(entries, list):
        raise InvalidRequest(f"tokens {path}: expected nothing but [[tokens]] tables")
    for number, entry in enumerate(entries, start=1):
        where = f"tokens {path}, table {number}"
        yield where, *_entry(where, entry)


def _entry(where: str, entry: Any) -> tuple[str, str, str]:
    if not isinstance(entry, dict) or set(entry) != _KEYS or not all(isinstance(entry[key], str) for key in _KEYS):
        raise InvalidRequest(f"{where}: expected name, role and token, each a string")
    if not entry["name"]:
        raise InvalidRequest(f"{where}: the name is empty")
    return entry["name"], entry["role"], entry["token"]


def _role(where: str, text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        # The word is not repeated: whoever mixes up the order writes the token there.
        raise InvalidRequest(f"{where}: the role is none of {', '.join(Role)}") from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
