"""The port through which people work on dead letters. `UnavailableError` means "maybe done"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.notification import Notification
from dispatcher.ports.replies import DeadPage, Grant, Redriven, Routing


class DeadLetterQueue(Protocol):
    """The dead letters, ordered by the time at which each of them died."""

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage:
        """Look at the next `examine` dead letters behind the position `after`, and return those that match `wanted`.

        `after` None begins at the start. The limit of `wanted` is not applied. If a letter is redriven or discarded
        between two pages, the next page still neither skips nor repeats another letter.
        """
        ...

    async def last_death(self) -> int:
        """Return when a notification died last, in wall milliseconds. Return 0 if there is no dead letter."""
        ...

    async def routing_of(self, ids: Sequence[str]) -> list[Routing]:
        """Return, for each notification of `ids` in order, its chain, priority and time to live, for a redrive.

        The chain is empty if the record is gone.
        """
        ...

    async def accepted_of(self, ids: Sequence[str]) -> list[Notification | None]:
        """Return each notification with its content, in the order of `ids`.

        None stands for a record that is gone, damaged, or written by a later version.
        """
        ...

    async def budget(self, mailbox: str, want: int, per_s: float) -> Grant:
        """Return how many of `want` redrives into a mailbox may start now.

        All callers together get at most `per_s` a second.
        """
        ...

    async def redrive(self, chosen: Sequence[Redriven]) -> int:
        """Queue each of these dead letters again. Return how many left the dead letters.

        A redrive begins a new generation of the notification, in which no vendor counts as tried. A letter is redriven
        only once for each time it died, even if the call is repeated.
        """
        ...

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        """End each of these dead letters forever. Return how many left the dead letters.

        If a letter was redriven and has died again since it was read, it is not ended.
        """
        ...
