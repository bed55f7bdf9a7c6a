"""Structured logs: one JSON object a line on stderr, with ids and never an address, a phone number or a body.

Events are past tense and spelled as in metrics and API. Fields come from `ALLOWED`; anything else is dropped, so that
a careless keyword cannot leak what a customer wrote.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

ALLOWED = frozenset(
    (
        *("event", "level", "timestamp", "exception", "trigger", "notification", "vendor", "channel", "mailbox", "to"),
        *("incarnation", "replica", "pid", "node", "version", "term", "epoch", "state", "outcome", "reason", "attempt"),
        *("count", "took_ms", "age_ms", "seconds", "error", "port", "path", "url", "name", "value"),
    )
)


def _allow(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if name in ALLOWED}


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
        logger_factory=structlog.WriteLoggerFactory(file=sys.__stderr__),
        cache_logger_on_first_use=True,
    )


def logger() -> Any:
    return structlog.get_logger()
