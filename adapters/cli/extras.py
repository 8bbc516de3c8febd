"""Commands whose libraries come with an extra of the package."""

from collections.abc import Iterator
from contextlib import contextmanager

from solver.domain.errors import InvalidRequest


@contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Imports inside the block; raises InvalidRequest, saying what to install, when a library is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] in ("solver", "adapters"):
            raise
        install = f"pip install 'huddle-scheduler[{extra}]'"
        raise InvalidRequest(f"{command} needs the extra `{extra}`: {install}") from error
