"""The port through which people list what waits. `UnavailableError` means that nothing was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.life.listing import PlacePosition
from dispatcher.ports.replies import PlacePage


class Places(Protocol):
    """The places where notifications wait, each in a fixed order (`core.life.listing`)."""

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        """Look at the next `examine` notifications of a place behind the position `after`, and return them in order.

        `place` is queued, due, delayed, held or dead. `after` None begins at the start. A notification whose record is
        gone or cannot be read is left out.
        """
        ...

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        """Return the caller's name for the recipient of each notification, in the order of `ids`.

        None means that the caller gave no name, or that the record is gone.
        """
        ...
