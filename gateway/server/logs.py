"""The log: one JSON object a line, or text for people, on standard error or output.

For everything that is not a request; the line of a request is the edge's own. A log may be lost:
evidence is the audit trail's business.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import orjson
import structlog

from gateway.server.settings import Logging

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(settings: Logging, process: str) -> None:
    """Send this process's log where the settings say; `process` stands in every line.

    Libraries that use the standard library's logging are heard from `warning` on.
    """
    stream = sys.stderr if settings.output == "stderr" else sys.stdout
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *([structlog.processors.format_exc_info] if settings.format == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    root = logging.getLogger()
    root.handlers = [_ForeignHandler()]
    root.setLevel(logging.WARNING)


class _ForeignHandler(logging.Handler):
    """Passes what libraries log on to our log, as one event with their text as a value."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, "library.logged", library=record.name, text=record.getMessage(), exc_info=exc_info)


def _to_json(value: Any, default: Any) -> str:
    return orjson.dumps(value, default=default).decode()
