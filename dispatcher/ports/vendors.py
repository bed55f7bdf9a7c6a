"""The ports to the providers. One port sends a message, and the other asks a vendor whether it has a message."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dispatcher.core.life.look_up import Listing
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message


class Vendor(Protocol):
    """One configured account at a provider."""

    name: str
    channel: str

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        """Send the message once, and return the outcome. `send` never tries a second time.

        The call never raises for something that the vendor or the network did, because that is an `Outcome` too. The
        whole call takes at most `timeout_s` seconds, and reads only a limited part of the vendor's answer. Only a
        cancellation leaves the call as an exception.
        """
        ...

    async def close(self) -> None:
        """Close the connections. No `send` may follow."""
        ...


@runtime_checkable
class LooksUp(Protocol):
    """A vendor that can be asked whether it has a message. Most vendors cannot be asked."""

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None:
        """Return the messages that the vendor has created for the recipient since `since_ms`, in wall milliseconds.

        Older messages in the answer do no harm: `core.life.look_up` decides what the list means. None means that no
        answer came, or that it cannot be trusted. The call never raises for something that the vendor or the network
        did.
        """
        ...
