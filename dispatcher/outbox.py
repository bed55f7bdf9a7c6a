"""Outcomes on their way to the store: many in one round trip, each exactly once per claim.

With fsync always each settling round trip costs an fsync on Redis's one thread and delays accepts, so plain successes
wait up to `interval_s` for company; a kill can repeat what was sent in that interval. Urgent decisions (moves, dead
letters, held) go at once, and so does everything when nothing else is in flight: a lone message is not delayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life import Decision
from dispatcher.core.notification import Claim
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store

Item = tuple[str, Claim, Decision]
"""Incarnation that claimed it, the claim, its decision."""

BATCH_MAX = 256


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """`bell` is set, or `seconds` have passed. A cancellation always ends it.

    Not `wait_for`: before Python 3.12 that one swallows a cancellation which comes together with what it waits for, and
    a loop that is told to stop just when its last work is done would never end.
    """
    waiting = asyncio.ensure_future(bell.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class Outbox:
    """Holds decisions until the store has them. `on_done(item, reply)` is called once per item: OK or LOST."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        now_ms: Callable[[], int],
        interval_s: float,
        idle: Callable[[], bool],
        on_done: Callable[[Item, str], None],
    ) -> None:
        self._store, self._clock, self._now_ms = store, clock, now_ms
        self._interval_s, self._idle, self._on_done = interval_s, idle, on_done
        self._items: list[tuple[float, Item]] = []
        self._changed = asyncio.Event()
        self._urgent = False
        self._flushing = asyncio.Lock()

    def put(self, item: Item) -> None:
        self._items.append((self._clock.now_s(), item))
        if item[2].urgent:
            self._urgent = True
        self._changed.set()

    def nudge(self) -> None:
        """Something that may make it idle has happened."""
        self._changed.set()

    def __len__(self) -> int:
        return len(self._items)

    def oldest_age_s(self) -> float:
        return self._clock.now_s() - self._items[0][0] if self._items else 0.0

    async def run(self) -> None:
        """Flush for ever; ends by cancellation only, and loses nothing then: unflushed items stay here."""
        while True:
            if not self._items:
                self._changed.clear()
                await self._changed.wait()
                continue
            wait_s = self._interval_s - self.oldest_age_s()
            if wait_s > 0 and not self._urgent and not self._idle():
                self._changed.clear()
                await rung(self._changed, wait_s)
                continue
            if not await self.flush():
                await self._clock.sleep(0.1)

    async def flush(self) -> bool:
        """One round trip for up to `BATCH_MAX`; False when the store did not answer (all stay) or refused some.

        One at a time: `run` and a draining courier may both ask, and an item must not be sent, and told, twice.
        """
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        batch = [item for _, item in self._items[:BATCH_MAX]]
        self._urgent = False
        all_applied = True
        for me in dict.fromkeys(item[0] for item in batch):
            mine = [item for item in batch if item[0] == me]
            try:
                replies = await self._store.apply(me, [item[1:] for item in mine], self._now_ms())
            except UnavailableError:
                # Maybe done: the repeat answers LOST for what was, which means "done or taken".
                return False
            answered = [(item, reply) for item, reply in zip(mine, replies, strict=True) if reply != "ERROR"]
            all_applied = all_applied and len(answered) == len(mine)
            gone = {id(item) for item, _ in answered}
            self._items = [pair for pair in self._items if id(pair[1]) not in gone]
            for item, reply in answered:
                self._on_done(item, reply)
        return all_applied
