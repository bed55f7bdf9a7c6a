"""What operators and callers see, in memory. The docstrings of `adapters.redis.views` are the contract."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.adapters.memory.cell import Cell
from dispatcher.core.notification import (
    DeadLetter,
    DeadLetterFilter,
    NotificationView,
    TriggerView,
    notification_id,
)


class MemoryViews:
    """Read access for people, and the two changes they make to dead letters."""

    def __init__(self, cell: Cell, retention_ms: int = 86_400_000) -> None:
        self._cell, self._retention_ms = cell, retention_ms

    async def trigger(self, trigger_id: str) -> TriggerView | None:
        record = self._cell.record(trigger_id)
        if record is None:
            return None
        t = record.trigger
        notifications = tuple(
            NotificationView(
                id=notification_id(trigger_id, i),
                channel=new.channel,
                vendor=note.vendor,
                state=note.state,
                reason=note.reason,
                attempts=tuple(note.history),
                generation=note.generation,
                template=new.template,
                template_version=new.template_version,
            )
            for i, (new, note) in enumerate(zip(t.notifications, record.notes, strict=True))
        )
        return TriggerView(t.id, t.tenant, t.event, t.accepted_ms, record.expires_ms, t.body_hash, notifications)

    async def dead_letters(self, wanted: DeadLetterFilter) -> list[DeadLetter]:
        found = []
        for nid, at_ms in sorted(self._cell.dead.items(), key=lambda row: (row[1], row[0])):
            record, note = self._cell.found(nid)
            new = record.trigger.notifications[int(nid.rpartition(".")[2])]
            letter = DeadLetter(
                nid,
                record.trigger.tenant,
                record.trigger.event,
                new.channel,
                note.vendor,
                note.reason or "",
                at_ms,
                tuple(note.history),
            )
            if _matches(letter, wanted):
                found.append(letter)
        return found[: wanted.limit]

    async def redrive(self, chosen: Sequence[tuple[DeadLetter, str, str, int]]) -> int:
        done = 0
        for letter, mailbox, _, expires_ms in chosen:
            if self._cell.dead.pop(letter.id, None) is None:
                continue
            record, note = self._cell.found(letter.id)
            record.expires_ms = expires_ms
            note.attempts, note.tried, note.reason, note.crashes, note.epoch = 0, (), None, 0, 0
            note.generation += 1
            self._cell.enqueue(letter.id, mailbox)
            done += 1
        return done

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        done = 0
        for letter in letters:
            if self._cell.dead.pop(letter.id, None) is None:
                continue
            record, note = self._cell.found(letter.id)
            note.state, note.reason = "cancelled", "discarded"
            self._cell.finish(record, self._retention_ms)
            done += 1
        return done

    async def routing_of(self, ids: Sequence[str]) -> list[tuple[tuple[str, ...], str, int]]:
        result = []
        for nid in ids:
            record, _ = self._cell.found(nid)
            t = record.trigger
            chain = t.notifications[int(nid.rpartition(".")[2])].chain
            result.append((chain, t.priority, max(60_000, record.expires_ms - t.accepted_ms)))
        return result


def _matches(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    fields = ("tenant", "vendor", "channel", "reason")
    return (
        (not wanted.ids or letter.id in wanted.ids)
        and all(getattr(wanted, name) in (None, getattr(letter, name)) for name in fields)
        and (wanted.since_ms is None or letter.dead_ms >= wanted.since_ms)
        and (wanted.until_ms is None or letter.dead_ms <= wanted.until_ms)
    )
