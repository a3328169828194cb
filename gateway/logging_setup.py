"""How log lines look: one place, called once by every process of the program.

One line an event on standard error: key=value for people (a terminal, or `GATEWAY_LOG_FORMAT=text`), JSON otherwise.
A traceback names files and lines, never the values of variables: those are request bodies, labels and credentials.
Text from outside (labels, paths, error messages) cannot break a line or send control characters to a terminal, as both
forms escape them; long texts are cut.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_MAX_TEXT: Final = 2000
_MAX_TRACEBACK: Final = 8000


def configure_logging(role: str, *, level: int = logging.INFO) -> None:
    """Configure structlog and the standard library's logging for this process. role: stands in every line."""
    given = os.environ.get("GATEWAY_LOG_FORMAT", "")
    text = given == "text" or (given != "json" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_role(role),
        structlog.processors.format_exc_info,
        _cut,
    ]
    last: Any = (
        structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "role", "event"])
        if text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries (aiohttp, grpc, asyncio) log through the standard library; their lines take the same way.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:4], structlog.processors.format_exc_info, _cut],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_bad_requests_are_debug)


def _bad_requests_are_debug(record: logging.LogRecord) -> bool:
    """Bytes that are no HTTP are their sender's doing: aiohttp answers 400, and the log need not hold a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    # By name, as processes that serve no HTTP need not load aiohttp.
    if not any(
        kind.__module__ == "aiohttp.http_exceptions" and kind.__name__ == "HttpProcessingError"
        for kind in type(error).__mro__
    ):
        return True
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def _with_role(role: str) -> Any:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("role", role)
        return event

    return add


def _cut(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        limit = _MAX_TRACEBACK if key == "exception" else _MAX_TEXT
        if isinstance(value, str) and len(value) > limit:
            event[key] = f"{value[:limit]}… ({len(value)} characters)"
        elif isinstance(value, bytes):
            event[key] = f"<{len(value)} bytes>"
    return event
