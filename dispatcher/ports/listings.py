"""The port through which people list what waits. `UnavailableError` means that nothing was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.life.listing import PlacePosition
from dispatcher.ports.replies import PlacePage


class StateListings(Protocol):
    """The places where notifications wait, each in a fixed order (`core.life.listing`)."""

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        """Return the next `examine` notifications of a place, in order, beginning behind the position `after`.

        `place` is queued, due, delayed, held or dead. With `after` None, begin at the start. A notification whose
        record is gone or cannot be read is left out.
        """
        ...

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        """Return the caller's name for the recipient of each notification, in the order of `ids`.

        None means that the caller gave no name, or that the record is gone.
        """
        ...
