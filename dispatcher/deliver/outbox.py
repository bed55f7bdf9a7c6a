"""The outbox keeps a courier's decisions until they are written to the store: many in one round trip, and each claim
exactly once.

With "fsync always" each such round trip costs an fsync on Redis's single thread and delays accepts. So plain successes
wait up to `interval_s` for others. After a kill, the sends of that interval may be repeated. Urgent decisions (moves,
dead letters, held) are written at once. If nothing else is in flight, every decision is written at once, so a single
message is not delayed.

The store may refuse one decision, because a record or key has another type. Such a refusal must not stop the other
decisions, and the message must not be sent again. So the decision stays here, the claim stays pending, and the decision
is tried again every few seconds. If the actor dies before the decision is stored, the notification becomes a dead
letter with the reason `poison`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.life.decide import Decision
from dispatcher.core.life.notification import Claim
from dispatcher.errors import UnavailableError
from dispatcher.ports import Applied, Clock, Store
from dispatcher.waiting import rung

Item = tuple[str, Claim, Decision]
"""The incarnation that claimed, the claim, and the decision about it."""

BATCH_MAX = 256

REFUSED_AGAIN_S = 5.0
REFUSED_MAX = 100
"""If more decisions than this are refused, the fault is not in a few records. Then claiming stops."""


class Outbox:
    """Keeps the decisions about claimed notifications until the store has carried them out.

    The outbox calls `on_done(item, reply)` once for each item: DONE if the store has carried out the decision, LOST if
    the claim is no longer ours. If the store refuses an item because of its record, the outbox first calls
    `on_refused(item)` once.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        now_ms: Callable[[], int],
        *,
        interval_s: float,
        idle: Callable[[], bool],
        on_done: Callable[[Item, Applied], None],
        on_refused: Callable[[Item], None] = lambda item: None,
    ) -> None:
        self._store, self._clock, self._now_ms = store, clock, now_ms
        self._interval_s, self._idle, self._on_done, self._on_refused = interval_s, idle, on_done, on_refused
        self._items: list[tuple[float, Item]] = []
        self._refused: list[tuple[float, Item]] = []  # with the time of the refusal, for the next try
        self._told: set[int] = set()  # ids of refused items that `on_refused` got; each is in one of the lists
        self._changed = asyncio.Event()
        self._urgent = False
        self._flushing = asyncio.Lock()

    def put(self, item: Item) -> None:
        self._items.append((self._clock.now_s(), item))
        if item[2].urgent:
            self._urgent = True
        self._changed.set()

    def nudge(self) -> None:
        """Check again whether calls are in flight. If there are none, the decisions that wait are written to the store
        at once.
        """
        self._changed.set()

    def __len__(self) -> int:
        return len(self._items)

    def oldest_age_s(self) -> float:
        """Return the age in seconds of the oldest decision that the store does not have; 0 if there is none.

        Refused decisions are left out while they are few.
        """
        waiting = self._items + self._refused if len(self._refused) > REFUSED_MAX else self._items
        return self._clock.now_s() - min(since_s for since_s, _ in waiting) if waiting else 0.0

    async def run(self) -> None:
        """Write decisions until cancelled. After a cancellation the unwritten decisions are still in the outbox."""
        while True:
            self._try_refused_again()
            if not self._items:
                self._changed.clear()
                await rung(self._changed, REFUSED_AGAIN_S) if self._refused else await self._changed.wait()
                continue
            wait_s = self._interval_s - self.oldest_age_s()
            if wait_s > 0 and not self._urgent and not self._idle():
                self._changed.clear()
                await rung(self._changed, wait_s)
                continue
            if not await self.flush():
                await self._clock.sleep(0.1)

    async def flush(self) -> bool:
        """Write up to `BATCH_MAX` decisions in one round trip. Return False if the store failed at a decision.

        Only one flush runs at a time. Otherwise `run` and a draining courier could settle and report an item twice.
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
                # Maybe done: if it was, the repeat answers LOST, which means "done or taken".
                return False
            answered = [(item, reply) for item, reply in zip(mine, replies, strict=True) if reply is not Applied.ERROR]
            all_applied = all_applied and len(answered) == len(mine)
            gone = {id(item) for item, _ in answered}
            self._items = [pair for pair in self._items if id(pair[1]) not in gone]
            for item, reply in answered:
                if reply is Applied.REFUSED:
                    self._stand_aside(item)
                else:
                    self._told.discard(id(item))
                    self._on_done(item, reply)
        return all_applied

    def _stand_aside(self, item: Item) -> None:
        self._refused.append((self._clock.now_s(), item))
        if id(item) not in self._told:
            self._told.add(id(item))
            self._on_refused(item)

    def _try_refused_again(self) -> None:
        due_s = self._clock.now_s() - REFUSED_AGAIN_S
        again = [pair for pair in self._refused if pair[0] <= due_s]
        if again:
            self._refused = [pair for pair in self._refused if pair[0] > due_s]
            self._items += [(self._clock.now_s(), item) for _, item in again]
