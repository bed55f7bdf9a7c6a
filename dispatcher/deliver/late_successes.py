"""Handles late successes: a vendor accepts a message after another incarnation has already taken the claim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import Notification
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

TRIES = 5

REMEMBERED = 1000
"""How many late successes are remembered. A fast vendor gives this number in about two seconds."""


class LateSuccesses:
    """Ends notifications that a vendor accepted after another incarnation had taken their claims.

    The store is told in the background, and the courier does not wait for the store.
    """

    def __init__(self, store: Store, clock: Clock, chance: Callable[[], float]) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[tuple[str, int], Settle] = {}

    def tell(self, n: Notification, settle: Settle) -> None:
        """Settle a notification that the vendor accepted, although another incarnation has taken the claim.

        If the notification is held or waits unclaimed, the store settles it. If another actor has claimed the
        notification, that actor is not stopped, and sends the message a second time, as after a kill. A later
        incarnation of this same actor does not send it again, because it asks `known` first.

        While the store does not answer, the call is repeated for some seconds. After that the store is not told any
        more. When the actor ends, the success is forgotten.
        """
        self._remembered[n.id, n.generation] = settle
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        said = settle.attempt.vendor_message_id if settle.attempt else ""
        task = asyncio.ensure_future(self._tell(n.id, f"late: {said}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def known(self, n: Notification) -> Settle | None:
        """Return the decision to settle if this actor remembers that the vendor accepted the notification.

        Otherwise return None.
        """
        return self._remembered.get((n.id, n.generation))

    async def _tell(self, nid: str, reason: str) -> None:
        for _ in range(TRIES):
            try:
                await self._store.withdraw(nid, "settled", reason)
                return
            except UnavailableError:
                await self._clock.sleep(0.5 + self._chance())
