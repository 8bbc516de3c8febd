"""What cannot be read, by what it is called."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from solver.domain.errors import InvalidRequest

#: How messages call the source of an object.
SOURCE = "API server"

_log = logging.getLogger("huddle.mirror")
_Found = TypeVar("_Found")
_Else = TypeVar("_Else")


class Problems:
    """One sentence for each thing that is in trouble now; each is logged once when it comes, and when it is over."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    @property
    def now(self) -> Mapping[str, str]:
        """What is in trouble → why, in one sentence."""
        return MappingProxyType(self._now)

    def set(self, what: str, problem: str) -> None:
        """`what` is in trouble, or, with an empty problem, no longer."""
        problem = problem.removeprefix(f"{SOURCE}: {what}: ")  # it is said already
        if problem == self._now.get(what, ""):
            return
        if problem:
            self._now[what] = problem
            _log.warning("%s: %s", what, problem)
        else:
            del self._now[what]
            _log.info("%s: is well again", what)

    def reading(self, what: str, read: Callable[[], _Found], otherwise: _Else) -> _Found | _Else:
        """What `read` finds; `otherwise`, and a problem, when the object is malformed."""
        try:
            found = read()
        except InvalidRequest as error:
            self.set(what, str(error))
            return otherwise
        self.set(what, "")
        return found
