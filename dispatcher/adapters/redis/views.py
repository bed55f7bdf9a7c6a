"""What operators and callers see: triggers, dead letters. Reads, redrive and discard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.scripts import UNAVAILABLE, Call, run
from dispatcher.core.notification import (
    DeadLetter,
    DeadLetterFilter,
    Lane,
    NotificationView,
    TriggerView,
    notification_id,
    trigger_of,
)
from dispatcher.errors import UnavailableError
from dispatcher.wire import records

PAGE = 200


class RedisViews:
    """Read access for people, and the two changes they make to dead letters."""

    def __init__(self, connection: redis.Redis, keys: Keys | None = None, retention_ms: int = 86_400_000) -> None:
        self._redis = connection
        self._keys = keys or Keys()
        self._retention_ms = retention_ms

    async def trigger(self, trigger_id: str) -> TriggerView | None:
        record = await self._read(self._redis.hgetall(self._keys.record(trigger_id)))
        if not record or "m" not in record:
            return None
        meta = json.loads(record["m"])
        return TriggerView(
            id=trigger_id,
            tenant=meta["t"],
            event=meta["e"],
            accepted_ms=meta["a"],
            expires_ms=int(record["x"]),
            body_hash=record["hash"],
            notifications=tuple(
                NotificationView(
                    id=notification_id(trigger_id, i),
                    channel=part["c"],
                    vendor=record.get(f"{i}.vendor", ""),
                    state=record.get(f"{i}.st", ""),
                    reason=record.get(f"{i}.r"),
                    attempts=records.decode_history(record.get(f"{i}.h")),
                    generation=int(record.get(f"{i}.gen", 0)),
                    template=part["t"],
                    template_version=part["v"],
                )
                for i, part in enumerate(meta["n"])
            ),
        )

    async def dead_letters(self, wanted: DeadLetterFilter) -> list[DeadLetter]:
        """Dead letters that match, oldest first, at most `limit`."""
        found: list[DeadLetter] = []
        offset = 0
        while len(found) < wanted.limit:
            page = await self._page(wanted, offset)
            if not page:
                break
            found += [letter for letter in await self._load(page) if _matches(letter, wanted)]
            if wanted.ids:
                break
            offset += PAGE
        return found[: wanted.limit]

    async def redrive(self, chosen: Sequence[tuple[DeadLetter, str, str, int]]) -> int:
        """Try each again: (letter, mailbox, priority, new expiry ms). Answers how many left the dead letters."""
        k = self._keys
        calls = [
            Call(
                "redrive",
                [k.dead, k.record(trigger_of(letter.id)), k.nil, k.lane(Lane(mailbox, priority)), k.mailboxes],
                [letter.id, letter.id.rpartition(".")[2], mailbox, expires_ms],
            )
            for letter, mailbox, priority, expires_ms in chosen
        ]
        return await self._count(calls)

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        k = self._keys
        calls = [
            Call(
                "discard",
                [k.dead, k.record(trigger_of(letter.id)), k.nil],
                [letter.id, letter.id.rpartition(".")[2], self._retention_ms],
            )
            for letter in letters
        ]
        return await self._count(calls)

    async def routing_of(self, ids: Sequence[str]) -> list[tuple[tuple[str, ...], str, int]]:
        """For redrive: (chain, priority, time to live ms) of each notification."""
        pipeline = self._redis.pipeline(transaction=False)
        for nid in ids:
            pipeline.hmget(self._keys.record(trigger_of(nid)), ["m", "x"])
        rows = await self._read(pipeline.execute())
        result = []
        for nid, (text, expires) in zip(ids, rows, strict=True):
            meta = json.loads(text)
            chain = tuple(meta["n"][int(nid.rpartition(".")[2])]["ch"])
            result.append((chain, str(meta["p"]), max(60_000, int(expires) - int(meta["a"]))))
        return result

    async def _page(self, wanted: DeadLetterFilter, offset: int) -> list[tuple[str, float]]:
        key = self._keys.dead
        if wanted.ids:
            scores = await self._read(self._redis.zmscore(key, list(wanted.ids)))
            return [(nid, score) for nid, score in zip(wanted.ids, scores, strict=True) if score is not None]
        low = wanted.since_ms if wanted.since_ms is not None else "-inf"
        high = wanted.until_ms if wanted.until_ms is not None else "+inf"
        page: list[tuple[str, float]] = await self._read(
            self._redis.zrangebyscore(key, low, high, start=offset, num=PAGE, withscores=True)
        )
        return page

    async def _load(self, page: Sequence[tuple[str, float]]) -> list[DeadLetter]:
        pipeline = self._redis.pipeline(transaction=False)
        for nid, _ in page:
            i = nid.rpartition(".")[2]
            pipeline.hmget(self._keys.record(trigger_of(nid)), ["m", f"{i}.vendor", f"{i}.r", f"{i}.h"])
        rows: list[list[Any]] = await self._read(pipeline.execute())
        letters = []
        for (nid, score), (text, vendor, reason, history) in zip(page, rows, strict=True):
            meta: dict[str, Any] = json.loads(text) if text else {"t": "", "e": "", "n": []}
            index = int(nid.rpartition(".")[2])
            channel = meta["n"][index]["c"] if index < len(meta["n"]) else ""
            letters.append(
                DeadLetter(
                    nid,
                    meta["t"],
                    meta["e"],
                    channel,
                    vendor or "",
                    reason or "",
                    int(score),
                    records.decode_history(history),
                )
            )
        return letters

    async def _count(self, calls: Sequence[Call]) -> int:
        done = 0
        for start in range(0, len(calls), 100):  # 100 a round trip: a bulk redrive must not stall the accepts
            done += sum(reply == "OK" for reply in await run(self._redis, calls[start : start + 100]))
        return done

    async def _read(self, awaitable: Any) -> Any:
        try:
            return await awaitable
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error


def _matches(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    return all(
        expected is None or expected == found
        for expected, found in (
            (wanted.tenant, letter.tenant),
            (wanted.vendor, letter.vendor),
            (wanted.channel, letter.channel),
            (wanted.reason, letter.reason),
        )
    )
