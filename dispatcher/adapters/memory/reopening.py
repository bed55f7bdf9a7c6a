"""Reopening in the memory store: finds a notification's last call, and puts the notification back into `due`.

This happens after the vendor has refused the notification by a receipt.
"""

from __future__ import annotations

from dispatcher.adapters.memory.cell import Cell, Record
from dispatcher.adapters.memory.fallbacks import stand_by_again
from dispatcher.core.life.late_refusal import LastCall, Reopen
from dispatcher.core.life.notification import State
from dispatcher.core.life.outcome import OutcomeKind


def last_call(cell: Cell, nid: str) -> LastCall | None:
    """Return a settled or held notification with its last call, so that it can be reopened.

    Return None if the notification cannot be reopened, for example because its content is gone.
    """
    found = cell.find(nid)
    if found is None or not _has_content(cell, found[0]):
        return None
    record, note = found
    had, record.has_data = record.has_data, True
    notification = cell.notification(nid, note.entry_id)
    record.has_data = had
    assert notification is not None
    follower = cell.find(note.fallback) if note.fallback else None
    fallback = None if follower is None else State(follower[1].state)
    if note.state == "held" and note.started is not None:
        return LastCall(notification, note.started[1].partition("/")[0], "", note.started[0], fallback)
    last = note.history[-1] if note.history else None
    if note.state == "settled" and last is not None and last.outcome == OutcomeKind.ACCEPTED.value:
        return LastCall(notification, last.vendor, last.vendor_message_id or "", last.at_ms, fallback)
    return None


def reopen(cell: Cell, last: LastCall, how: Reopen) -> bool:
    """Make the notification due again. Return False if it has changed since `last` was read."""
    nid, n, found = last.notification.id, last.notification, cell.find(last.notification.id)
    if found is None or not _has_content(cell, found[0]):
        return False
    record, note = found
    follower = cell.find(note.fallback) if note.fallback else None
    begun = follower is not None and follower[1].state not in ("standby", "skipped")
    if begun or (note.state, note.attempts, note.generation) != (n.state.value, n.attempts, n.generation):
        return False
    if note.fallback and follower is not None and follower[1].state == "skipped":
        stand_by_again(cell, note.fallback)
    if note.state == "settled":
        record.open, record.gone_ms = record.open + 1, None
    record.has_data = True
    note.state, note.trail, note.reason, note.receipt = "due", how.trail, None, None
    note.reopened += 1
    cell.held.pop(nid, None)
    cell.due[nid] = cell.delay_ms() + how.wait_ms
    return True


def _has_content(cell: Cell, record: Record) -> bool:
    return record.has_data or cell.clock.wall_ms() < record.kept_ms
