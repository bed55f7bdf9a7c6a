"""Points in time for people. Beside the milliseconds stands a readable form, in the local time of this machine."""

from __future__ import annotations

from datetime import datetime

from dispatcher.core.json_object import JsonObject


def local(at_ms: int) -> str:
    """Return wall milliseconds as ISO 8601, in the local time of this machine and with its offset."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(timespec="seconds")


def moment(name: str, at_ms: int | None) -> JsonObject:
    """Return the two fields of a time: `name`_ms, and `name` in readable form.

    Both fields are None if `at_ms` is None.
    """
    return {f"{name}_ms": at_ms, name: None if at_ms is None else local(at_ms)}
