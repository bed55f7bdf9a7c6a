"""Asks the vendor about held notifications. The rules are in `core.life.look_up`.

Each call of `turn` reads a page of held notifications, and asks about those that are due for a look-up. The time of the
next look-up is remembered only in this process, so another actor starts again. Asking twice is safe, because the store
ends a notification only once. There is one question at a time, and at most `per_s` a second. So a vendor that hangs
costs only one connection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dispatcher.core.life.look_up import Verdict, again_s, decide_look_up, identify, window_of
from dispatcher.core.life.notification import LaterWord, State
from dispatcher.deadline import timeout
from dispatcher.deliver.attempt import OVERDUE_S
from dispatcher.deliver.courier import Courier
from dispatcher.errors import TemplateError, UnavailableError
from dispatcher.ports import Clock, Held, HeldUntil, LooksUp, Store
from dispatcher.telemetry.log import logger

PERIOD_S = 1.0
PAGE = 200
BATCH = 20
"""The most questions in one turn. The other notifications are asked about in later turns."""

PATIENCE_S_MAX = 60.0
"""The longest pause in seconds after a vendor did not answer. The pauses are 1 s, 2 s, 4 s … up to this."""


class LookUps:
    """Asks the vendor of one courier whether it has messages that are held."""

    def __init__(
        self,
        courier: Courier,
        vendor: LooksUp,
        store: Store,
        clock: Clock,
        *,
        timeout_s: float,
        per_s: float,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self._courier, self._vendor, self._store, self._clock = courier, vendor, store, clock
        self._timeout_s, self._pace_s, self._chance = timeout_s, 1 / per_s, chance
        self._turns: dict[tuple[str, int], tuple[int, float]] = {}  # id, deadline → look-ups so far, time of the next
        self._seen: set[tuple[str, int]] = set()
        self._cursor = 0
        self._patience_s = 0.0

    async def run(self) -> None:
        while True:
            await self._clock.sleep(PERIOD_S * (0.9 + 0.2 * self._chance()) + self._patience_s)
            try:
                await self.turn()
            except UnavailableError:
                continue
            except Exception as error:  # as in the caretaker: the next turn may succeed
                logger().error("look_up_failed", vendor=self._courier.vendor.name, error=type(error).__name__)

    async def turn(self) -> None:
        """Read the next page of held notifications, and ask the vendor about those that are due for a look-up."""
        c = self._courier
        if c.stopping or not c.me:
            return
        page = await self._store.held_ids(self._cursor, PAGE)
        c.link.replied()
        self._remember(page)
        now_s, now_ms = self._clock.now_s(), c.time.now_ms()
        due = [key for key in page if key[1] > now_ms and self._turns.get(key, (0, 0.0))[1] <= now_s][:BATCH]
        if not due:
            return
        found = {held.notification.id: held for held in await self._store.held([nid for nid, _ in due])}
        for key in due:
            held = found.get(key[0])
            if c.stopping:
                return
            if held is None or held.vendor != c.vendor.name or held.twin:
                self._turns[key] = 0, math.inf  # ended meanwhile, called at another vendor, or has a twin: do not ask
                continue
            if not await self._look(key, held):
                return
            await self._clock.sleep(self._pace_s)

    def _remember(self, page: Sequence[HeldUntil]) -> None:
        """Advance to the next page of the held notifications. After the last page, drop what is known about
        notifications that are not held any more.
        """
        self._seen.update(page)
        self._cursor += len(page)
        if len(page) < PAGE:
            self._turns = {key: turn for key, turn in self._turns.items() if key in self._seen}
            self._seen.clear()
            self._cursor = 0

    async def _look(self, key: tuple[str, int], held: Held) -> bool:
        """Ask the vendor about one notification, and end the notification if the answer allows it.

        Return False if the vendor did not answer. The caller then asks nothing for a while.
        """
        c = self._courier
        verdict = await self._ask(held)
        c.metrics.count("dispatcher_look_ups", c.vendor.name, verdict.answer if verdict else "unanswered")
        if verdict is None:
            self._patience_s = min(PATIENCE_S_MAX, max(1.0, 2 * self._patience_s))
            return False
        self._patience_s = 0.0
        looks = self._turns.get(key, (0, 0.0))[0] + 1
        self._turns[key] = looks, self._clock.now_s() + again_s(looks) * (0.9 + 0.2 * self._chance())
        end = decide_look_up(verdict)
        if end is not None and await self._store.held([key[0]]) == [held]:
            # Only if unchanged since the question: otherwise the vendor may have found a twin that started meanwhile.
            word = LaterWord(c.vendor.name, verdict.message_id, held.notification.mark)
            reply = await self._store.withdraw(key[0], *end, only=State.HELD, word=word)
            logger().info("looked_up", notification=key[0], vendor=c.vendor.name, reason=verdict.answer, state=reply)
        return True

    async def _ask(self, held: Held) -> Verdict | None:
        window = window_of(held.started_ms, self._timeout_s)
        try:
            message = await self._courier.delivery.render(held.notification)
        except TemplateError:
            return Verdict("unknown")  # rendering worked when it was sent, so this proves nothing
        async with timeout(self._timeout_s + OVERDUE_S):
            listing = await self._vendor.look_up(message, window.from_ms, self._timeout_s)
        return None if listing is None else identify(listing, message.text, window, self._courier.time.now_ms())
