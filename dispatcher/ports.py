"""What the three loops need from the world: a clock, vendors, a store, a control channel.

Nothing here knows Redis, Ray or HTTP.
"""

from __future__ import annotations

from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome


class Clock(Protocol):
    """Local time: monotonic for every wait and threshold, wall only to show people."""

    def now_s(self) -> float: ...

    def wall_ms(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class Vendor(Protocol):
    """One configured account at a provider.

    `send` never raises for something the vendor or the network did: it answers with an `Outcome`. It enforces
    `timeout_s` as a total deadline itself and caps the answer it reads. Only cancellation leaves it as an exception.
    """

    name: str
    channel: str

    async def send(self, message: Message, timeout_s: float) -> Outcome: ...

    async def close(self) -> None: ...
