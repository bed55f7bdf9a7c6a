"""Triggers as callers see and cancel them, and dead letters as operators see and change them, on Redis.

`dispatcher.ports.trigger_views` and `dispatcher.ports.dead_letters` are the contracts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import UNAVAILABLE, Call, Client, answered, of_a_key, run, run_one
from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.decide import waiting_reason
from dispatcher.core.life.notification import Lane, Notification, notification_id, trigger_of
from dispatcher.core.life.trigger_view import NotificationView, TriggerView
from dispatcher.errors import UnavailableError, UnreadableError
from dispatcher.ports import DeadPage, Grant, Redriven, Routing
from dispatcher.wire import records

NOWHERE = Routing((), "normal", 60_000)
"""The routing, without vendors, of a dead letter whose record is gone, damaged or written by a later release."""


class RedisViews:
    """Reads triggers and dead letters for people, and redrives or discards dead letters."""

    def __init__(self, connection: Client, keys: Keys | None = None, retention_ms: int = 86_400_000) -> None:
        self._redis = connection
        self._keys = keys or Keys()
        self._retention_ms = retention_ms

    async def trigger(self, trigger_id: str) -> TriggerView | None:
        record = await self._read(self._redis.hgetall(self._keys.record(trigger_id)))
        if not record or "m" not in record:
            return None
        meta = json.loads(record["m"])
        parts, data = records.parts_of(meta), record.get("d")
        templates = [
            records.template_of(part, record.get(f"{i}.tv"), record.get(f"{i}.td")) for i, part in enumerate(parts)
        ]
        until_ms = await self._until(trigger_id, [record.get(f"{i}.st", "") for i in range(len(parts))])
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
                    reason=_reason(record, i),
                    attempts=records.decode_history(record.get(f"{i}.h")),
                    generation=int(record.get(f"{i}.gen", 0)),
                    template=None if (pin := templates[i]) is None else pin.name,
                    template_version=None if pin is None else pin.version,
                    until_ms=until_ms.get(i),
                    sms=None if f"{i}.tv" in record else records.decode_sms(part),
                    fallback_for=notification_id(trigger_id, i - part["f"]) if "f" in part else None,
                    recipient=records.person_of(meta, i),
                    recipient_id=records.recipient_of(data, i),
                )
                for i, part in enumerate(parts)
            ),
            idempotency_key=meta.get("k"),
            recipient_id=records.recipient_of(data),
        )

    async def _until(self, trigger_id: str, states: Sequence[str]) -> dict[int, int]:
        """Return when each waiting notification's wait ends, by its index, in milliseconds since the epoch.

        A notification that does not wait for a point in time is left out.
        """
        k = self._keys
        sets = {"due": k.due, "held": k.held, "delayed": k.delayed, "standby": k.delayed}
        waiting = [i for i, state in enumerate(states) if state in sets]
        if not waiting:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(k.clock, "ahead")
        for i in waiting:
            pipeline.zscore(sets[states[i]], notification_id(trigger_id, i))
        ahead, *scores = await self._read(pipeline.execute())
        return {
            i: int(score) - (0 if sets[states[i]] == k.delayed else int(float(ahead or 0)))
            for i, score in zip(waiting, scores, strict=True)
            if score is not None
        }

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage:
        if wanted.ids:
            page, last = await self._named(wanted.ids, after), None
        else:
            page = await self._page(wanted, after, examine)
            nid, dead_ms = page[-1] if len(page) == examine else ("", 0)
            last = DeadPosition(dead_ms, nid) if nid else None
        return DeadPage(await self._named_by([le for le in await self._load(page) if _matches(le, wanted)]), last)

    async def _named_by(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        """Return the letters with their recipients' ids.

        The ids are in the triggers' data, which is read only for these letters.
        """
        found = []
        for start in range(0, len(letters), 100):
            some = letters[start : start + 100]
            pipeline = self._redis.pipeline(transaction=False)
            for letter in some:
                pipeline.hget(self._keys.record(trigger_of(letter.id)), "d")
            rows = await self._read(pipeline.execute(raise_on_error=False))
            for letter, row in zip(some, rows, strict=True):
                text = None if of_a_key(row) else answered(row, "dead")
                found.append(replace(letter, recipient_id=records.recipient_of(text, _index(letter.id))))
        return found

    async def last_death(self) -> int:
        last = await self._read(self._redis.zrevrange(self._keys.dead, 0, 0, withscores=True))
        return int(last[0][1]) if last else 0

    async def budget(self, mailbox: str, want: int, per_s: float) -> Grant:
        keys = [self._keys.redrive_budget(mailbox), self._keys.nil]
        granted, wait_ms = await run_one(self._redis, "budget", keys, [want, per_s])
        return Grant(int(granted), int(wait_ms))

    async def redrive(self, chosen: Sequence[Redriven]) -> int:
        k = self._keys
        calls = [
            Call(
                "redrive",
                [k.dead, k.record(trigger_of(le.id)), k.nil, k.lane(Lane(r.mailbox, r.priority)), k.mailboxes],
                [
                    *(le.id, le.id.rpartition(".")[2], r.mailbox, r.expires_ms, le.dead_ms, le.tenant),
                    " ".join(r.chain or ()),
                    *(records.encode_pin(r.template) if r.template else ("", "")),
                ],
            )
            for r, le in ((r, r.letter) for r in chosen)
        ]
        return await self._count(calls)

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        k = self._keys
        calls = [
            Call(
                "discard",
                [k.dead, k.record(trigger_of(letter.id)), k.nil],
                [letter.id, letter.id.rpartition(".")[2], self._retention_ms, letter.dead_ms],
            )
            for letter in letters
        ]
        return await self._count(calls)

    async def routing_of(self, ids: Sequence[str]) -> list[Routing]:
        pipeline = self._redis.pipeline(transaction=False)
        for nid in ids:
            pipeline.hmget(self._keys.record(trigger_of(nid)), ["m", "x", f"{_index(nid)}.ch"])
        rows = await self._read(pipeline.execute(raise_on_error=False))
        result: list[Routing] = []
        for nid, row in zip(ids, rows, strict=True):
            text, expires, own_chain = ("?", "", "") if of_a_key(row) else answered(row, "routing")
            if text is None:  # discarded meanwhile, and forgotten
                result.append(NOWHERE)
                continue
            try:
                meta = json.loads(text)
                chain = records.chain_of(records.part_of(meta, int(nid.rpartition(".")[2])), own_chain)
                result.append(Routing(chain, str(meta["p"]), max(60_000, int(expires) - int(meta["a"]))))
            except (LookupError, TypeError, ValueError):  # of a later version, or damaged: it has no chain for us
                result.append(NOWHERE)
        return result

    async def accepted_of(self, ids: Sequence[str]) -> list[Notification | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for nid in ids:
            i = nid.rpartition(".")[2]
            names = [name if name in records.WHOLE else f"{i}.{name}" for name in records.FIELDS]
            pipeline.hmget(self._keys.record(trigger_of(nid)), names)
        rows = await self._read(pipeline.execute(raise_on_error=False)) if ids else []
        found: list[Notification | None] = []
        for nid, row in zip(ids, rows, strict=True):
            try:
                fields = records.BROKEN if of_a_key(row) else answered(row, "accepted")
                found.append(records.decode_notification(nid, fields))
            except UnreadableError:
                found.append(None)
        return found

    async def _named(self, ids: Sequence[str], after: DeadPosition | None) -> list[tuple[str, int]]:
        scores = await self._read(self._redis.zmscore(self._keys.dead, list(ids)))
        found = {DeadPosition(int(score), nid) for nid, score in zip(ids, scores, strict=True) if score is not None}
        return [(at.id, at.dead_ms) for at in sorted(found) if after is None or at > after]

    async def _page(self, wanted: DeadLetterFilter, after: DeadPosition | None, count: int) -> list[tuple[str, int]]:
        since = "-inf" if wanted.since_ms is None else wanted.since_ms
        start = (since, "") if after is None else after
        until = "+inf" if wanted.until_ms is None else wanted.until_ms
        row = await run_one(self._redis, "timed_page", [self._keys.dead], [*start, until, count])
        return [(nid, int(score)) for nid, score in zip(row[::2], row[1::2], strict=True)]

    async def _load(self, page: Sequence[tuple[str, int]]) -> list[DeadLetter]:
        if not page:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for nid, _ in page:
            i = nid.rpartition(".")[2]
            pipeline.hmget(self._keys.record(trigger_of(nid)), ["m", f"{i}.vendor", f"{i}.r", f"{i}.h"])
        rows: list[Any] = await self._read(pipeline.execute(raise_on_error=False))
        letters = []
        for (nid, score), row in zip(page, rows, strict=True):
            text, vendor, reason, history = ("?", "", "", "") if of_a_key(row) else answered(row, "dead")
            try:
                meta: records.Meta = json.loads(text) if text else {"t": "", "e": "", "n": []}
                index = int(nid.rpartition(".")[2])
                channel = records.part_of(meta, index)["c"] if text else ""
                named, attempts = (meta["t"], meta["e"], channel), records.decode_history(history)
                key = meta.get("k")
            except (LookupError, TypeError, ValueError):  # of a later version, or damaged: its neighbours are shown
                named, attempts, key = ("", "", ""), (), None
            letters.append(DeadLetter(nid, *named, vendor or "", reason or "", score, attempts, key))
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


def _index(nid: str) -> int | None:
    tail = nid.rpartition(".")[2]
    return int(tail) if tail.isdecimal() else None


def _matches(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Return True if `letter` matches the filter `wanted`."""
    since_ms, until_ms = wanted.since_ms or 0, wanted.until_ms
    return (
        since_ms <= letter.dead_ms
        and (until_ms is None or letter.dead_ms <= until_ms)
        and all(
            expected is None or expected == found
            for expected, found in (
                (wanted.tenant, letter.tenant),
                (wanted.vendor, letter.vendor),
                (wanted.channel, letter.channel),
                (wanted.reason, letter.reason),
            )
        )
    )


def _reason(record: dict[str, str], i: int) -> str | None:
    """Return why notification `i` of the record has ended or waits, or None if no reason is stored."""
    waits = record.get(f"{i}.st") == "due"
    return record.get(f"{i}.r") or (waiting_reason(records.decode_trail(record.get(f"{i}.tr"))) if waits else None)
