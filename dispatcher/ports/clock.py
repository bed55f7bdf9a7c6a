"""The port through which code reads the time and sleeps."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Local time. Every wait and threshold uses the monotonic time; the wall time is only for people to read."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds. Only differences mean anything, and only within one process."""
        ...

    def wall_ms(self) -> int:
        """Return this machine's wall time in milliseconds since 1970. Wall time may jump, also backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` of monotonic time have passed."""
        ...
