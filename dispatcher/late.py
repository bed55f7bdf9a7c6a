"""A vendor's success that came when the claim was somebody else's already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.notification import Attempt
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

TRIES = 5


class LateSuccesses:
    """Tells the store of each, beside the courier's work."""

    def __init__(self, store: Store, clock: Clock, chance: Callable[[], float]) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, nid: str, attempt: Attempt | None) -> None:
        """The vendor took what others have taken over meanwhile: where it is held, or waits unclaimed, it ends there.

        Whoever has claimed it is not stopped: CLAIMED, and it is sent twice, as a kill's repeat is. While the store is
        away it is asked again, for some seconds; after that, or when the actor ends, it is as if it had not come.
        """
        task = asyncio.ensure_future(self._tell(nid, f"late: {attempt.vendor_message_id if attempt else ''}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, nid: str, reason: str) -> None:
        for _ in range(TRIES):
            try:
                await self._store.withdraw(nid, "settled", reason)
                return
            except UnavailableError:
                await self._clock.sleep(0.5 + self._chance())
