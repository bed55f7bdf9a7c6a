"""An intake replica learns the store's time from the loop that looks at the store anyway."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest import mock

from actors.intake import IntakeActor
from dispatcher.accept.intake import Headroom
from dispatcher.core.life.notification import Lane, MailboxDepth
from dispatcher.core.store.continuity import Mark
from dispatcher.store_clock import StoreTime
from tests.virtual import VirtualClock, virtual


class Skewed:
    """A control channel of a store whose clock is a minute ahead of this host's."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def ledger(self) -> Mark | None:
        return None

    async def now_ms(self) -> int:
        return self._clock.wall_ms() + 60_000

    async def memory(self) -> tuple[int, int]:
        return 1, 100

    async def depths(self) -> dict[str, Any]:
        queued = {"high": 5, "normal": 0, "bulk": 400_000}
        return {"a": MailboxDepth("a", queued=queued)}


@virtual
async def test_a_replica_knows_the_stores_clock_and_what_is_full() -> None:
    """Within a second of its start, and before it says that it is ready. A long bulk run is in nobody's way."""
    clock = VirtualClock()
    actor = IntakeActor({}, {}, {})
    actor.intake = SimpleNamespace(time=StoreTime(clock), headroom=Headroom())  # type: ignore[assignment]
    actor.control = Skewed(clock)  # type: ignore[assignment]
    with mock.patch("actors.intake.time", mock.Mock(monotonic=clock.now_s)):
        watching = asyncio.ensure_future(actor._watch_headroom())
        await asyncio.sleep(0.5)
        assert actor._store_ok_s > 0
        assert actor.intake.headroom.full == {Lane("a", "bulk")}
        assert abs(actor.intake.time.now_ms() - clock.wall_ms() - 60_000) <= 1
        watching.cancel()
