"""Handles late successes: a vendor accepts a message after another incarnation has already taken the claim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import CallMark, LaterWord, Notification
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

TRIES = 5

_Life = tuple[str, int, CallMark]
"""A notification between two redrives or reopenings. Its id alone may come again with another trigger: the caller may
use the key again when the record has expired.
"""

REMEMBERED = 1000
"""How many late successes are remembered. A fast vendor gives this number in about two seconds."""


class LateSuccesses:
    """Ends notifications that a vendor accepted after another incarnation had taken their claims.

    The store is told in the background, and the courier does not wait for the store.
    """

    def __init__(self, store: Store, clock: Clock, chance: Callable[[], float]) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[_Life, Settle] = {}

    def tell(self, n: Notification, settle: Settle) -> None:
        """Settle a notification that the vendor accepted, although another incarnation has taken the claim.

        If the notification is held or waits unclaimed, the store settles it. If another actor has claimed the
        notification, that actor is not stopped, and sends the message a second time, as after a kill. A later
        incarnation of this same actor does not send it again, because it asks `known` first.

        While the store does not answer, the call is repeated for some seconds. After that the store is not told any
        more. When the actor ends, the success is forgotten.
        """
        self._remembered[_life(n)] = settle
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        said = (settle.attempt.vendor_message_id if settle.attempt else None) or ""
        word = LaterWord(settle.attempt.vendor if settle.attempt else "", said, n.mark)
        task = asyncio.ensure_future(self._tell(n.id, f"late: {said}", word))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def known(self, n: Notification) -> Settle | None:
        """Return the decision to settle if this actor remembers that the vendor accepted the notification.

        Otherwise return None.
        """
        return self._remembered.get(_life(n))

    async def _tell(self, nid: str, reason: str, word: LaterWord) -> None:
        for _ in range(TRIES):
            try:
                await self._store.withdraw(nid, "settled", reason, word=word)
                return
            except UnavailableError:
                await self._clock.sleep(0.5 + self._chance())


def _life(n: Notification) -> _Life:
    return n.id, n.accepted_ms, n.mark
