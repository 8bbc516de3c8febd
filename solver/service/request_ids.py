"""Ids by which a call is found again in logs, traces and errors."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar

KEY = "x-request-id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

#: Id of the call this thread is answering; empty outside a call.
current: ContextVar[str] = ContextVar("huddle_request_id", default="")


def request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's id if it is 1 to 128 plain characters, else a new one of 16 hexadecimal digits."""
    for key, value in metadata:
        if key == KEY and isinstance(value, str) and _ACCEPTED.fullmatch(value):
            return value
    return secrets.token_hex(8)
