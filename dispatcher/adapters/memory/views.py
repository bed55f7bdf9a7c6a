"""Triggers and dead letters as operators and callers see and change them, in memory.

`dispatcher.ports.trigger_views` and `dispatcher.ports.dead_letters` are the contracts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dispatcher.adapters.memory.cell import Cell, Record
from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.decide import waiting_reason
from dispatcher.core.life.notification import Notification, Trail, notification_id
from dispatcher.core.life.trigger_view import NotificationView, TriggerView
from dispatcher.ports import DeadPage, Grant, Redriven, Routing


class MemoryViews:
    """Reads triggers and dead letters for people, and redrives or discards dead letters."""

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
                reason=note.reason or (waiting_reason(note.trail) if note.state == "due" else None),
                attempts=tuple(note.history),
                generation=note.generation,
                template=note.template.name if note.template else new.template,
                template_version=note.template.version if note.template else new.template_version,
                until_ms=self._until_ms(notification_id(trigger_id, i)),
                sms=None if note.template else new.sms,
                fallback_for=None if new.follows is None else notification_id(trigger_id, new.follows.first),
                recipient=new.person if t.people else None,
                recipient_id=t.person_of(new).id if record.has_data else None,
            )
            for i, (new, note) in enumerate(zip(t.notifications, record.notes, strict=True))
        )
        return TriggerView(
            t.id, t.tenant, t.event, t.accepted_ms, record.expires_ms, t.body_hash, notifications, *_named(record)
        )

    def _until_ms(self, nid: str) -> int | None:
        cell, ahead_ms = self._cell, self._cell.delay_ms() - self._cell.clock.wall_ms()
        if nid in cell.delayed:
            return cell.delayed[nid]
        found = cell.due.get(nid, cell.held.get(nid))
        return None if found is None else found - ahead_ms

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage:
        rows = sorted(DeadPosition(at_ms, nid) for nid, at_ms in self._cell.dead.items())
        if wanted.ids:
            rows, examine = [at for at in rows if at.id in wanted.ids], len(rows) + 1
        start = DeadPosition(wanted.since_ms or 0, "") if after is None else after
        until_ms = wanted.until_ms
        rows = [at for at in rows if at > start and (until_ms is None or at.dead_ms <= until_ms)][:examine]
        letters = [letter for letter in map(self._letter, rows) if _matches(letter, wanted)]
        return DeadPage(letters, rows[-1] if len(rows) == examine else None)

    def _letter(self, at: DeadPosition) -> DeadLetter:
        record, note = self._cell.found(at.id)
        new = record.trigger.notifications[int(at.id.rpartition(".")[2])]
        reason, history = note.reason or "", tuple(note.history)
        t, key = record.trigger, record.trigger.idempotency_key
        whose = t.person_of(new).id if record.has_data else None
        return DeadLetter(at.id, t.tenant, t.event, new.channel, note.vendor, reason, at.dead_ms, history, key, whose)

    async def last_death(self) -> int:
        return max(self._cell.dead.values(), default=0)

    async def budget(self, mailbox: str, want: int, per_s: float) -> Grant:
        now_ms, each = self._cell.clock.wall_ms(), 1000 / per_s
        span = max(1000.0, each)
        paid = min(max(self._cell.budgets.get(mailbox, 0.0), now_ms), now_ms + span)
        granted = min(want, int((now_ms + span - paid) / each + 1e-6))
        paid = self._cell.budgets[mailbox] = paid + granted * each
        left = min(want - granted, int(span / each + 1e-6))
        return Grant(granted, max(1, math.ceil(paid + left * each - now_ms - span)) if left else 0)

    async def redrive(self, chosen: Sequence[Redriven]) -> int:
        done = 0
        for r in chosen:
            if self._cell.dead.get(r.letter.id) != r.letter.dead_ms:
                continue
            del self._cell.dead[r.letter.id]
            _, note = self._cell.found(r.letter.id)
            note.expires_ms = r.expires_ms
            note.chain = r.chain or note.chain
            note.template = r.template or note.template
            note.attempts, note.trail, note.reason, note.crashes, note.epoch = 0, Trail(), None, 0, 0
            note.generation += 1
            self._cell.enqueue(r.letter.id, r.mailbox)
            done += 1
        return done

    async def discard(self, letters: Sequence[DeadLetter]) -> int:
        done = 0
        for letter in letters:
            if self._cell.dead.get(letter.id) != letter.dead_ms:
                continue
            del self._cell.dead[letter.id]
            record, note = self._cell.found(letter.id)
            note.state, note.reason = "cancelled", "discarded"
            self._cell.finish(record, self._retention_ms)
            done += 1
        return done

    async def routing_of(self, ids: Sequence[str]) -> list[Routing]:
        result = []
        for nid in ids:
            record, note = self._cell.found(nid)
            t = record.trigger
            chain = note.chain or t.notifications[int(nid.rpartition(".")[2])].chain
            result.append(Routing(chain, t.priority, max(60_000, record.expires_ms - t.accepted_ms)))
        return result

    async def accepted_of(self, ids: Sequence[str]) -> list[Notification | None]:
        found = [(nid, self._cell.find(nid)) for nid in ids]
        return [at and self._cell.notification(nid, at[1].entry_id) for nid, at in found]


def _named(record: Record) -> tuple[str | None, str | None]:
    """Return a trigger's idempotency key and its recipient's id. The id is None once the data was removed."""
    return record.trigger.idempotency_key, record.trigger.recipient_id if record.has_data else None


def _matches(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    fields = ("tenant", "vendor", "channel", "reason")
    return all(getattr(wanted, name) in (None, getattr(letter, name)) for name in fields)
