"""The ports to the providers: send a message, and ask what became of one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dispatcher.core.life.look_up import Listing
from dispatcher.core.life.message import Message
from dispatcher.core.life.outcome import Outcome


class Vendor(Protocol):
    """One configured account at a provider."""

    name: str
    channel: str

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        """Send once and return what came of it. It never sends again by itself.

        `send` never raises for something that the vendor or the network did: it returns an `Outcome`. It enforces
        `timeout_s` as a total deadline itself, and limits the size of the answer that it reads. Only a cancellation
        leaves it as an exception.
        """
        ...

    async def close(self) -> None:
        """Close the connections. No `send` may follow."""
        ...


@runtime_checkable
class LooksUp(Protocol):
    """A vendor that can be asked about a message whose outcome is unknown. Most vendors cannot."""

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None:
        """Return all messages that the vendor has for the recipient since `since_ms`, wall milliseconds.

        Earlier ones do no harm. `core.life.look_up` decides what they mean. None means no answer, or an unreliable one.
        It never raises for something that the vendor or the network did.
        """
        ...
