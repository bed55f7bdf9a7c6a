"""The structured log: one JSON object per line on stderr, with ids but no addresses, phone numbers or message texts.

An event's name is a verb in the past tense, and is spelled as in the metrics and the API. Only fields in `ALLOWED` are
written. Any other field is dropped, so that a careless keyword argument cannot leak a customer's data.
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
    """A text stream that drops what cannot be written, for example because the disk is full or the reader has gone.

    `file` may be None or closed; then everything is dropped. No error is raised, because deliveries and loops write log
    lines and cannot do anything about a broken log. An OSError from a log call would end the loop.
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
    """Configure the log of this process. A composition root calls this once. `level` is a name such as `INFO`."""
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
