"""Stores a vendor's breaker state, so that a new actor does not flood a vendor that is down."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import MS_NS
from dispatcher.core.breaker.initial_state import decide_beginning
from dispatcher.core.breaker.values import BreakerSnapshot
from dispatcher.ports import Clock, Control
from dispatcher.waiting import until_available


class BreakerMemory:
    """Restores the breaker state of the vendor's previous actor, and stores this actor's state at each change."""

    def __init__(
        self, vendor: str, breaker: Breaker, control: Control, clock: Clock, *, chance: Callable[[], float]
    ) -> None:
        self._vendor, self._breaker, self._control = vendor, breaker, control
        self._clock, self._chance = clock, chance
        self._written = 0  # the generation that was written last

    async def restore(self, planned: str | None) -> None:
        """Restore the stored breaker state of the vendor, corrected by the plan (`core.breaker.initial_state`).

        `planned` is the vendor's state in the plan, or None without a plan. The call waits while the store does not
        answer.
        """
        written, age_ms, lives = None, 0, False
        found = await until_available(lambda: self._control.recall(self._vendor), self._chance)
        if found is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # another version wrote it: ignore it
                written, age_ms = BreakerSnapshot.from_dict(found.breaker["breaker"]), found.age_ms
                lives = found.breaker["incarnation"] in await until_available(self._control.live, self._chance)
        was = decide_beginning(written, lives, planned)
        if was is not None:
            self._breaker.restore(was, age_ms * MS_NS, self._now_ns())

    async def remember(self, incarnation: str, always: bool = False) -> None:
        """Store the breaker's state if it has changed since the last call, or in any case if `always` is True.

        The state is not stored with every report, because each write slows accepts. Raises UnavailableError.
        """
        generation = self._breaker.generation
        if generation == self._written and not always:
            return
        snapshot = self._breaker.snapshot(self._now_ns()).to_dict()
        await self._control.remember(self._vendor, {"incarnation": incarnation, "breaker": snapshot})
        self._written = generation

    def _now_ns(self) -> int:
        return int(self._clock.now_s() * 1e9)
