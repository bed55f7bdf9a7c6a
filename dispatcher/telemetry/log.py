"""Structured logs: one JSON object a line on stderr, with ids and never an address, a phone number or a body.

Events are past tense and spelled as in metrics and API. Fields come from `ALLOWED`; anything else is dropped, so that
a careless keyword cannot leak what a customer wrote.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

ALLOWED = frozenset(
    (
        *("event", "level", "timestamp", "exception", "trigger", "notification", "vendor", "channel", "mailbox", "to"),
        *("incarnation", "replica", "pid", "node", "version", "term", "epoch", "state", "outcome", "reason", "attempt"),
        *("count", "took_ms", "age_ms", "by_ms", "seconds", "error", "port", "path", "url", "name", "value"),
        *("country", "template", "lanes", "unheard", "kind", "known", "life"),
    )
)


def _allow(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if name in ALLOWED}


class BestEffort:
    """A stream that loses what cannot be written: disk full, reader gone, closed, none.

    A line is logged during a delivery or a loop, and none of them knows what to do with a log that is broken: an
    OSError from there ended loops, and a dispatcher whose log was full did not start.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, text: str) -> int:
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.write(text)
        return len(text)

    def flush(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.flush()


def configure(level: str = "INFO") -> None:
    """Configure this process. Call once, in a composition root."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _allow,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, BestEffort(sys.__stderr__))),
        cache_logger_on_first_use=True,
    )


def logger() -> Any:
    return structlog.get_logger()
