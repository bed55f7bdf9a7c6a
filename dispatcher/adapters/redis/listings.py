"""Listings of notifications by place, on Redis. `dispatcher.ports.StateListings` is the contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dispatcher.adapters.redis.keys import FAIR, Keys, lanes_of
from dispatcher.adapters.redis.script_calls import UNAVAILABLE, Client, answered, of_a_key, run_one
from dispatcher.core.life.decide import waiting_reason
from dispatcher.core.life.listing import Placed, PlacePosition
from dispatcher.core.life.notification import trigger_of
from dispatcher.errors import UnavailableError
from dispatcher.ports import PlacePage
from dispatcher.wire import records

At = tuple[str, PlacePosition]
"""A notification's id, and its position in the listing."""


class RedisListings:
    """Reads pages of the mailboxes, and of the waiting, held and dead notifications in the order of their times.

    No page is read by searching all keys of Redis.
    """

    def __init__(self, connection: Client, keys: Keys | None = None) -> None:
        self._redis, self._keys = connection, keys or Keys()

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        found = await (self._queued(after, examine) if place == "queued" else self._timed(place, after, examine))
        last = found[-1][1] if len(found) == examine else None
        return PlacePage(await self._load(place, found), last)

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for nid in ids:
            pipeline.hget(self._keys.record(trigger_of(nid)), "d")
        rows = await self._read(pipeline.execute(raise_on_error=False)) if ids else []
        return [
            None if of_a_key(row) else records.recipient_of(answered(row, "listing"), int(nid.rpartition(".")[2]))
            for nid, row in zip(ids, rows, strict=True)
        ]

    async def _timed(self, place: str, after: PlacePosition | None, examine: int) -> list[At]:
        k = self._keys
        key = {"due": k.due, "delayed": k.delayed, "held": k.held, "dead": k.dead}[place]
        start = ("-inf", "") if after is None else (after.at, after.id)
        row = await run_one(self._redis, "timed_page", [key], [*start, "+inf", examine])
        return [(nid, PlacePosition("", str(int(score)), nid)) for nid, score in zip(row[::2], row[1::2], strict=True)]

    async def _queued(self, after: PlacePosition | None, examine: int) -> list[At]:
        """Read up to `examine` entries after the position `after`. The streams are read one after another, sorted by
        name.
        """
        prefix, found = self._keys.prefix + "mb:", list[At]()
        for name in await self._streams():
            if after is not None and name < after.stream:
                continue
            begin = f"({after.at}" if after is not None and name == after.stream else "-"
            entries = await self._read(self._redis.xrange(prefix + name, begin, "+", examine - len(found)))
            found += [(body["n"], PlacePosition(name, entry_id, "")) for entry_id, body in entries if "n" in body]
            if len(found) >= examine:
                break
        return found

    async def _streams(self) -> list[str]:
        """Return the names of all streams of mailboxes that have entries, sorted. The prefix that these names share is
        left out.
        """
        k = self._keys
        boxes = await self._read(self._redis.smembers(k.mailboxes))
        lanes = [k.lane(lane) for box in boxes for lane in lanes_of(box)]
        pipeline = self._redis.pipeline(transaction=False)
        for lane in lanes:
            pipeline.lrange(f"{lane}:turns", 0, -1)
        turns = await self._read(pipeline.execute()) if lanes else []
        streams = [
            stream
            for lane, waiting in zip(lanes, turns, strict=True)
            for stream in (lane, lane + FAIR, *(f"{lane}:of:{turn.partition(' ')[2]}" for turn in waiting))
        ]
        pipeline = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipeline.xlen(stream)
        lengths = await self._read(pipeline.execute()) if streams else []
        prefix = k.prefix + "mb:"
        return sorted({s.removeprefix(prefix) for s, length in zip(streams, lengths, strict=True) if length})

    async def _load(self, place: str, found: Sequence[At]) -> list[tuple[Placed, PlacePosition]]:
        if not found:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(self._keys.clock, "ahead")
        for nid, _ in found:
            i = nid.rpartition(".")[2]
            names = ["m", "x", *(f"{i}.{name}" for name in ("st", "vendor", "r", "h", "tr", "ex"))]
            pipeline.hmget(self._keys.record(trigger_of(nid)), names)
        ahead, *rows = await self._read(pipeline.execute(raise_on_error=False))
        ahead_ms = int(float(answered(ahead, "listing") or 0)) if place in ("due", "held") else 0
        shown = []
        for (nid, at), row in zip(found, rows, strict=True):
            until_ms = None if place in ("queued", "dead") else int(at.at) - ahead_ms
            one = None if of_a_key(row) else _placed(nid, answered(row, "listing"), until_ms)
            if one is not None:
                shown.append((one, at))
        return shown

    async def _read(self, awaitable: Any) -> Any:
        try:
            return await awaitable
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error


def _placed(nid: str, row: Sequence[str | None], until_ms: int | None) -> Placed | None:
    """Return a row of a listing, or None if the record is gone, damaged or written by a later release."""
    meta_text, expires, state, vendor, reason, history, trail, own_expiry = row
    try:
        meta: records.Meta = json.loads(meta_text or "")
        waits = waiting_reason(records.decode_trail(trail)) if state == "due" else None
        return Placed(
            id=nid,
            tenant=meta["t"],
            event=meta["e"],
            channel=records.part_of(meta, int(nid.rpartition(".")[2]))["c"],
            vendor=vendor or "",
            state=state or "",
            reason=reason or waits,
            accepted_ms=meta["a"],
            expires_ms=int(own_expiry or expires or 0),
            until_ms=until_ms,
            attempts=records.decode_history(history),
            idempotency_key=meta.get("k"),
        )
    except (LookupError, TypeError, ValueError):
        return None
