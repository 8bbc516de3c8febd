"""Logs: JSON lines, each with the request id of the call it is about; never what the call holds."""

import logging
import sys
from typing import Any, TextIO

import structlog

from solver.service.config import Logs

#: Loggers of the standard library that belong into the log, with the least level each.
_LOGGERS = {
    "solver": logging.DEBUG,
    "huddle": logging.DEBUG,
    "grpc": logging.WARNING,
    "opentelemetry": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
    "kubernetes": logging.WARNING,
}

#: What every line passes, wherever it comes from. Tracebacks are plain text: richer ones show local variables.
_COMMON: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(logs: Logs, stream: TextIO | None = None) -> None:
    """Send all logs of this process to a stream, stderr unless told otherwise."""
    out = _Careful(stream or sys.stderr)
    level = logging.getLevelNamesMapping()[logs.level.upper()]
    structlog.configure(
        processors=[*_COMMON, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),  # type: ignore[arg-type]  # needs write and flush only
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_COMMON,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    for name, least in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(max(level, least))


def reset() -> None:
    """As if `configure` had never been called."""
    structlog.reset_defaults()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.setLevel(logging.NOTSET)


def always(event: str, **fields: object) -> None:
    """Log a line whatever the level: who starts the service waits for it."""
    everything = structlog.make_filtering_bound_logger(logging.INFO)
    logger = structlog.wrap_logger(structlog.get_config()["logger_factory"](), wrapper_class=everything)
    logger.info(event, **fields)


class _Careful:
    """A stream that a reader may leave: a call does not fail because nobody reads the log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do without."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        """Flush, or do without."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return
