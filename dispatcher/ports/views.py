"""The ports for people: reading triggers, and the work on dead letters. `UnavailableError` means "maybe done"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.life.listing import PlacePosition
from dispatcher.core.life.notification import DeadLetter, DeadLetterFilter, DeadPosition, Notification, TriggerView
from dispatcher.ports.replies import DeadPage, Grant, PlacePage, Redriven, Routing


class Views(Protocol):
    """Read access to triggers."""

    async def trigger(self, trigger_id: str) -> TriggerView | None:
        """Return a trigger with its notifications and attempts. None: it is not stored, or its record has expired."""
        ...


class Graveyard(Protocol):
    """The dead letters, in the order of their deaths."""

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage:
        """Return the dead letters that match among the next `examine` after a position, whatever their limit.

        Positions survive removals: whatever is redriven or discarded meanwhile, no letter is skipped or met twice.
        """
        ...

    async def last_death(self) -> int:
        """Return the time of the latest death in wall milliseconds; 0 if nothing is dead."""
        ...

    async def routing_of(self, ids: Sequence[str]) -> list[Routing]:
        """Return how each notification may be routed again, in order. A record that is gone has an empty chain."""
        ...

    async def accepted_of(self, ids: Sequence[str]) -> list[Notification | None]:
        """Return each notification whole, in order; None for one that is gone, damaged or of a later version."""
        ...

    async def budget(self, mailbox: str, want: int, per_s: float) -> Grant:
        """Grant up to `want` redrives into a mailbox, at most `per_s` a second over all callers together."""
        ...

    async def redrive(self, chosen: Sequence[Redriven]) -> int:
        """Queue each letter as a new generation, once for this death of it. Return how many left the dead letters."""
        ...

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        """End each letter forever, unless it died again meanwhile. Return how many left the dead letters."""
        ...


class Places(Protocol):
    """The places that hold notifications, each in one order (`core.life.listing`)."""

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        """Return what is among the next `examine` of a place after a position, in order.

        `place` is queued, due, delayed, held or dead. A record that is gone or cannot be read is left out.
        """
        ...

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        """Return the callers' names for the recipients of notifications, in order; None: not given, or gone."""
        ...
