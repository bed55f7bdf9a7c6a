"""Turns entries that Redis returned into claims.

A claim has the entry's record; an entry without a record is an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import Client, answered, of_a_key
from dispatcher.core.life.notification import Claim, Lane, trigger_of
from dispatcher.errors import UnreadableError
from dispatcher.ports import Claims, Orphan
from dispatcher.wire import records


class ClaimReader:
    """Reads the records of claimed entries. Its methods raise the errors of the Redis client."""

    def __init__(self, connection: Client, keys: Keys) -> None:
        self._redis, self._keys = connection, keys

    async def fetch(self, entries: Sequence[tuple[Lane, str]]) -> Claims:
        """Return the claims of `entries`, which are given by lane and entry id.

        An entry that is no longer stored is left out.
        """
        if not entries:
            return Claims(0, [], [])
        pipeline = self._redis.pipeline(transaction=False)
        for lane, entry_id in entries:
            pipeline.xrange(self._keys.lane(lane), entry_id, entry_id)
        found: Any = await pipeline.execute()
        return await self.load(
            [
                (self._keys.lane(lane), entry_id, body[0][1]["n"])
                for (lane, entry_id), body in zip(entries, found, strict=True)
                if body
            ]
        )

    async def load(self, rows: Sequence[tuple[str, str, str]]) -> Claims:
        """Return the claims of `rows`. Each row holds a stream's key, an entry's id and a notification's id."""
        if not rows:
            return Claims(0, [], [])
        pipeline = self._redis.pipeline(transaction=False)
        for _, _, nid in rows:
            i = nid.rpartition(".")[2]
            pipeline.hmget(
                self._keys.record(trigger_of(nid)),
                [name if name in records.WHOLE else f"{i}.{name}" for name in records.FIELDS],
            )
        pipeline.time()
        *fields, clock = await pipeline.execute(raise_on_error=False)
        seconds, micros = answered(clock, "time")
        now_ms = seconds * 1000 + micros // 1000
        return self.claims(now_ms, [[*row, _readable(field)] for row, field in zip(rows, fields, strict=True)])

    def claims(self, now_ms: int, rows: Sequence[Sequence[Any]], lost: int = 0) -> Claims:
        """Return the claims of `rows`.

        Each row has four values: the key of a stream, the id of an entry, the id of a notification, and the fields of
        its record. If the record is gone or names another entry, this entry is an orphan. If this release cannot read
        the record, the claim is unreadable. `lost` is the number of pending entries whose content is no longer stored.
        """
        claims: list[Claim] = []
        orphans: list[Orphan] = []
        unreadable: list[Claim] = []
        for lane_key, entry_id, nid, fields in rows:
            lane = self._keys.lane_of(lane_key)
            try:
                notification = records.decode_notification(nid, fields)
            except UnreadableError:
                unreadable.append(Claim(lane, entry_id, records.stub(nid, fields)))
                continue
            if notification is None or fields[9] != entry_id:
                orphans.append(Orphan(lane, entry_id, nid))
            else:
                claims.append(Claim(lane, entry_id, notification))
        return Claims(now_ms, claims, orphans, lost, unreadable)


def _readable(fields: Any) -> Any:
    """Return the fields of a record. If the record's key is no hash, return `BROKEN`, which stands for unreadable."""
    return records.BROKEN if of_a_key(fields) else answered(fields, "record")
