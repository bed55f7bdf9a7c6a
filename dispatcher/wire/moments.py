"""Times for people: a program's milliseconds, and beside them the local time of the machine that answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def local(at_ms: int) -> str:
    """Return wall milliseconds as ISO 8601, in the local time of this machine and with its offset."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(timespec="seconds")


def moment(name: str, at_ms: int | None) -> dict[str, Any]:
    """Return the two fields of one moment: `name`_ms and `name`. Both are None when there is no such moment."""
    return {f"{name}_ms": at_ms, name: None if at_ms is None else local(at_ms)}
