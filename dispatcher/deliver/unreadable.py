"""Puts aside the records that this version cannot read, so that they stop nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from dispatcher.core.life.decide import Retry
from dispatcher.core.life.notification import Claim, State
from dispatcher.errors import UnavailableError
from dispatcher.ports import Store
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics

UNREADABLE_WAIT_MS = 30_000
"""The wait in milliseconds of a record that this version cannot read.

Such records exist during a roll-back, which lasts about as long.
"""


class UnreadableRecords:
    """Moves unreadable records to `due`. A version that can read them finds them there."""

    def __init__(self, store: Store, metrics: Metrics, vendor: str) -> None:
        self._store, self._metrics, self._vendor = store, metrics, vendor

    async def put_aside(self, me: str, unreadable: Sequence[Claim], now_ms: int) -> None:
        """Move these claims of the incarnation `me` to `due`, because this version of the program cannot read their
        records.

        Either a later version wrote the records, or the records are damaged. These notifications must not be sent or
        dropped, and they must not stop the other entries. A claim with the start mark of `hold` was maybe sent, so it
        stays pending for `me`, and becomes held later. If the store does not answer, all claims stay pending.
        """
        self._metrics.count("dispatcher_unreadable", self._vendor, by=len(unreadable))
        ids = [claim.notification.id for claim in unreadable]
        logger().error("records_unreadable", count=len(ids), vendor=self._vendor, notification=ids[0])
        waits = [
            (claim, Retry(UNREADABLE_WAIT_MS, claim.notification.trail, None, claim.notification.attempts))
            for claim in unreadable
            if claim.notification.state is not State.STARTED
        ]
        with contextlib.suppress(UnavailableError):
            await self._store.apply(me, waits, now_ms)
