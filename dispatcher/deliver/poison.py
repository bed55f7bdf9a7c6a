"""Finds claims that are suspected of crashing their actors, and marks each in the store before it is sent alone."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.core.life.decide import goes_alone
from dispatcher.core.life.notification import Claim
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Store


def next_suspect(waiting: list[tuple[str, Claim]]) -> tuple[str, Claim] | None:
    """Remove the first claim that must be sent alone from `waiting`, and return it with its incarnation.

    Return None if `waiting` has no such claim.
    """
    for n, (_, claim) in enumerate(waiting):
        if goes_alone(claim.notification):
            return waiting.pop(n)
    return None


class Suspects:
    """Sends suspected notifications alone, and tells the store which one is sent now.

    If the actor dies meanwhile, only that notification is suspected of the crash.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: Callable[[], float],
        works: Callable[[str], bool],
        *,
        replied: Callable[[], None],
    ) -> None:
        """Prepare to mark suspects in `store`. `works` returns True while an incarnation is the present one and is not
        stopping.

        `replied` is called for each answer of the store.
        """
        self._store, self._clock, self._chance, self._works, self._replied = store, clock, chance, works, replied

    async def single_out(self, me: str, nid: str | None) -> bool:
        """Mark in the store that this actor sends the notification `nid` alone, or remove the mark if `nid` is None.

        Wait until the store answers. Return False if this incarnation ends before the answer, or is not live. Then the
        caller must send nothing.
        """
        while self._works(me):
            try:
                done = await self._store.single_out(me, nid)
            except UnavailableError:
                await self._clock.sleep(0.1 + 0.2 * self._chance())
                continue
            self._replied()
            return done
        return False
