"""A vendor's success that came when the claim was somebody else's already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import Notification
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

TRIES = 5

REMEMBERED = 1000
"""As many as two seconds of a fast vendor."""


class LateSuccesses:
    """Tells the store of each, beside the courier's work."""

    def __init__(self, store: Store, clock: Clock, chance: Callable[[], float]) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[tuple[str, int], Settle] = {}

    def tell(self, n: Notification, settle: Settle) -> None:
        """The vendor took what others have taken over meanwhile: where it is held, or waits unclaimed, it ends there.

        Whoever has claimed it is not stopped: CLAIMED, and it is sent twice, as a kill's repeat is; unless that is this
        actor under its next name, which asks for what is `known`. While the store is away it is asked again, for some
        seconds; after that, or when the actor ends, it is as if it had not come.
        """
        self._remembered[n.id, n.generation] = settle
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        said = settle.attempt.vendor_message_id if settle.attempt else ""
        task = asyncio.ensure_future(self._tell(n.id, f"late: {said}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def known(self, n: Notification) -> Settle | None:
        """The end of it, where this actor heard the vendor's yes itself."""
        return self._remembered.get((n.id, n.generation))

    async def _tell(self, nid: str, reason: str) -> None:
        for _ in range(TRIES):
            try:
                await self._store.withdraw(nid, "settled", reason)
                return
            except UnavailableError:
                await self._clock.sleep(0.5 + self._chance())
