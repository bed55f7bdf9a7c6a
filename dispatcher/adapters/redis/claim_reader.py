"""Makes claims of the entries that Redis returned: with the record of each, or as an orphan without one."""

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
    """Reads the records of claimed entries. Raises what the client raises."""

    def __init__(self, connection: Client, keys: Keys) -> None:
        self._redis, self._keys = connection, keys

    async def fetch(self, entries: Sequence[tuple[Lane, str]]) -> Claims:
        """Return the claims of entries of which only the ids are known. An entry whose body is gone is left out."""
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
        """Return the claims of `rows`: stream key, entry id and notification id of each."""
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
        """Return the claims of `rows`: stream key, entry id, notification id and the fields of its record.

        An entry that its record does not name is an orphan. A record that this version cannot read makes its claim
        unreadable. `lost` is the number of pending entries whose body is gone.
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
    """Return a record's fields, or those of an unreadable record if its key is no hash."""
    return records.BROKEN if of_a_key(fields) else answered(fields, "record")
