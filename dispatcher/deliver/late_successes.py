"""Successes of a vendor that came when another incarnation had the claim already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import Notification
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

TRIES = 5

REMEMBERED = 1000
"""The limit covers about two seconds of a fast vendor."""


class LateSuccesses:
    """Ends in the store what a vendor accepted after another incarnation had taken the claim.

    The courier does not wait for it.
    """

    def __init__(self, store: Store, clock: Clock, chance: Callable[[], float]) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[tuple[str, int], Settle] = {}

    def tell(self, n: Notification, settle: Settle) -> None:
        """End a notification that the vendor accepted, though another incarnation took the claim meanwhile.

        The store ends it if it is held or waits unclaimed. If another actor has claimed it (CLAIMED), that actor is not
        stopped and sends it twice, as after a kill. Only this actor's next incarnation avoids that: it asks `known`.
        While the store is away, the call is repeated for some seconds. After that, or when the actor ends, the success
        is forgotten.
        """
        self._remembered[n.id, n.generation] = settle
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        said = settle.attempt.vendor_message_id if settle.attempt else ""
        task = asyncio.ensure_future(self._tell(n.id, f"late: {said}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def known(self, n: Notification) -> Settle | None:
        """Return the outcome if this actor itself received the vendor's acceptance, else None."""
        return self._remembered.get((n.id, n.generation))

    async def _tell(self, nid: str, reason: str) -> None:
        for _ in range(TRIES):
            try:
                await self._store.withdraw(nid, "settled", reason)
                return
            except UnavailableError:
                await self._clock.sleep(0.5 + self._chance())
