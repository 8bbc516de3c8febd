"""How a command ends: exit codes, and one line on stderr when it fails."""

import errno
import os
from collections.abc import Callable, Iterable
from enum import IntEnum

import click

from adapters.cli.streams import ReaderGone, tell, tell_trace
from adapters.report.warnings import warning_lines
from solver.domain.errors import HuddleError, InternalError
from solver.domain.plan import Notice, Status

#: The disk, the reader of the output, or a limit of the process.
_NO_DEFECTS = frozenset(
    {
        errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC,
        errno.EROFS,
    }
)  # fmt: skip


class Exit(IntEnum):
    """Documented exit codes."""

    DONE = 0
    DEFECT = 1
    BAD_INPUT = 2
    INFEASIBLE = 3
    UNKNOWN = 4
    INTERRUPTED = 130


def exit_for(status: Status) -> Exit:
    """Exit code of a whole plan: its worst gang decides."""
    return {Status.INFEASIBLE: Exit.INFEASIBLE, Status.UNKNOWN: Exit.UNKNOWN}.get(status, Exit.DONE)


def guarded(body: Callable[[], int]) -> int:
    """Run a command and turn whatever it raises into an exit code and at most one line on stderr."""
    try:
        return body()
    except click.UsageError as error:
        return _complain(_with_hint(error), Exit.BAD_INPUT)
    except click.ClickException as error:
        return _complain(_one_line(error.format_message()), Exit.BAD_INPUT)
    except InternalError as error:
        return _defect(error)
    except HuddleError as error:
        return _complain(str(error), Exit.BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", Exit.INTERRUPTED)
    except ReaderGone:
        return Exit.DONE
    except OSError as error:
        return _refused(error)
    except Exception as error:
        return _defect(error)


def warn(notices: Iterable[Notice]) -> None:
    """Print warnings to stderr, each once, and those of many objects that are alike on one line."""
    for line in warning_lines(notices):
        tell(line)


def _with_hint(error: click.UsageError) -> str:
    """Click's message with the command it is about, and where to read more."""
    message = _one_line(error.format_message()).rstrip(".")
    path = error.ctx.command_path if error.ctx else "huddle"
    return f"{message} (see '{path} --help')"


def _refused(error: OSError) -> int:
    """What the machine has no room or no right for is no defect of Huddle's."""
    if error.errno not in _NO_DEFECTS:
        return _defect(error)
    what = f"{error.filename}: " if error.filename else "reading or writing failed: "
    return _complain(f"{what}{error.strerror}", Exit.BAD_INPUT)


def _defect(error: Exception) -> int:
    if os.environ.get("HUDDLE_TRACEBACK"):
        tell_trace(error)
    kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
    hint = "this is a defect of huddle; run with HUDDLE_TRACEBACK=1 for details"
    return _complain(f"{kind}{_one_line(str(error))}; {hint}", Exit.DEFECT)


def _complain(message: str, code: Exit) -> int:
    tell(f"huddle: {message}")
    return code


def _one_line(message: str) -> str:
    """The message of a library, which may have several lines."""
    return " ".join(message.split())
