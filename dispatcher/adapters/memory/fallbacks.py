"""Fallbacks in memory. A fallback waits until the first notification's state shows whether the fallback is needed."""

from __future__ import annotations

from dispatcher.adapters.memory.cell import Cell
from dispatcher.core.life.fallback import (
    NEEDED_NOT,
    OVERTAKEN,
    WAITING,
    Fate,
    First,
    decide_fallback,
    look_again_ms,
)
from dispatcher.core.life.notification import Follows, State, notification_id
from dispatcher.ports import Begun, DueEntry


def stand_by(cell: Cell, nid: str, follows: Follows, retention_ms: int) -> None:
    """Let the fallback `nid` of a new trigger wait for its first notification.

    If the first notification is suppressed, the fallback is skipped at once.
    """
    (record, note), index = cell.found(nid), int(nid.rpartition(".")[2])
    first, at_ms = record.notes[follows.first], record.trigger.notifications[index].send_at_ms
    if first.state == "suppressed":
        note.state, note.reason = "skipped", "suppressed"
        cell.finish(record, retention_ms)
        return
    assert at_ms is not None, nid
    note.state, first.fallback = "standby", nid
    cell.delayed[nid] = at_ms


def stand_by_again(cell: Cell, nid: str) -> None:
    """Let a skipped fallback wait again (state `standby`), because its first notification is sent again.

    `nid` is the id of the fallback.
    """
    (record, note), index = cell.found(nid), int(nid.rpartition(".")[2])
    follows, now_ms = record.trigger.notifications[index].follows, cell.clock.wall_ms()
    assert follows is not None
    ends_ms = record.notes[follows.first].expires_ms or record.expires_ms
    first = First(State.DUE)
    note.state, note.reason = "standby", None
    cell.delayed[nid] = look_again_ms(first, now_ms, begin_ms=follows.begin_ms, expires_ms=ends_ms)
    record.open += 1


def begin_fallback(cell: Cell, entry: DueEntry, retention_ms: int) -> Begun:
    """Decide whether a waiting fallback begins, still waits or is skipped. Make the change and return the decision.

    GONE means that `entry` is out of date. Nothing was changed then.
    """
    found = cell.find(entry.id)
    if str(cell.delayed.get(entry.id, "")) != entry.score or found is None or found[1].state != "standby":
        return Begun.GONE
    (record, note), index = found, int(entry.id.rpartition(".")[2])
    follows, now_ms = record.trigger.notifications[index].follows, cell.clock.wall_ms()
    assert follows is not None
    nid, before = notification_id(record.trigger.id, follows.first), record.notes[follows.first]
    claimed = before.lane is not None and before.entry_id in cell.lane(before.lane).pending
    first = First(State(before.state), claimed and before.state in ("queued", "started"), before.receipt)
    is_late = follows.begin_ms is not None and now_ms >= follows.begin_ms
    fate = decide_fallback(first, "delivered" if follows.wait_for == "delivered" else "accepted", is_late)
    if fate is Fate.WAIT:
        ends_ms = before.expires_ms or record.expires_ms
        cell.delayed[entry.id] = look_again_ms(first, now_ms, begin_ms=follows.begin_ms, expires_ms=ends_ms)
        return Begun.WAITS
    if fate is Fate.SKIP:
        note.state, note.reason = "skipped", NEEDED_NOT if before.state == "settled" else before.state
        del cell.delayed[entry.id]
        cell.finish(record, retention_ms)
        return Begun.SKIPPED
    note.state, note.expires_ms, cell.delayed[entry.id] = "delayed", now_ms + follows.ttl_ms, now_ms
    if first.state in WAITING:
        before.state, before.reason = "cancelled", OVERTAKEN
        cell.due.pop(nid, None)
        cell.delayed.pop(nid, None)
        if before.lane is not None:
            cell.lane(before.lane).remove(before.entry_id)
        cell.finish(record, retention_ms)
    return Begun.BEGUN
