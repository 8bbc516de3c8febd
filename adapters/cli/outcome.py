"""How a command ends: exit codes, and one line on stderr when it fails."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from enum import IntEnum

import click

from adapters.report.warnings import warning_lines
from solver.domain.errors import HuddleError, InternalError
from solver.domain.plan import Notice, Status


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
        return _complain(error.format_message(), Exit.BAD_INPUT)
    except InternalError as error:
        return _defect(error)
    except HuddleError as error:
        return _complain(str(error), Exit.BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        return Exit.DONE
    except Exception as error:
        return _defect(error)


def write_out(text: str) -> None:
    """Write the answer to stdout; a reader that went away is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()


def warn(notices: Iterable[Notice]) -> None:
    """Print warnings to stderr, each once, and those of many objects that are alike on one line."""
    for line in warning_lines(notices):
        click.echo(line, err=True)


def drop_stdout() -> None:
    """Send what is still buffered for stdout nowhere, so that closing it at exit stays quiet."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


def _with_hint(error: click.UsageError) -> str:
    """Click's message with the command it is about, and where to read more."""
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "huddle"
    return f"{message} (see '{path} --help')"


def _defect(error: Exception) -> int:
    if os.environ.get("HUDDLE_TRACEBACK"):
        traceback.print_exception(error)
    kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
    hint = "this is a defect of huddle; run with HUDDLE_TRACEBACK=1 for details"
    return _complain(f"{kind}{error}; {hint}", Exit.DEFECT)


def _complain(message: str, code: Exit) -> int:
    click.echo(f"huddle: {' '.join(message.split())}", err=True)
    return code
