"""The durable mailboxes in memory. `dispatcher.ports.store` is the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from dispatcher.adapters.memory.cell import Cell, LaneState, Note, Record, page, rang, sequence, shortened
from dispatcher.adapters.memory.counting import charge, granted_now, let_through
from dispatcher.adapters.memory.fallbacks import begin_fallback, stand_by
from dispatcher.adapters.memory.reopening import last_call, reopen
from dispatcher.core.life.decide import Dead, Decision, Drop, Hold, Move, Retry, Settle
from dispatcher.core.life.late_refusal import REOPENS_MS, LastCall, Reopen, accepted_later
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import (
    Attempt,
    CallMark,
    Claim,
    Lane,
    LaterWord,
    NewTrigger,
    State,
    Trail,
    notification_id,
)
from dispatcher.errors import FencedError
from dispatcher.ports import (
    AcceptReply,
    AcceptResult,
    Applied,
    Begun,
    Charged,
    Claims,
    Due,
    DueEntry,
    ExpiredPage,
    Held,
    HeldUntil,
    Known,
    Orphan,
    Promoted,
    Withdrawal,
    WithdrawResult,
)
from dispatcher.templates.owned import pinned_until_ms
from dispatcher.templates.store import MemoryTemplateStore


class MemoryStore:
    """The store of an installation in memory (`Cell`).

    Several stores may use the same cell. Each method is atomic, because no method awaits anything while it changes the
    cell.
    """

    def __init__(
        self,
        cell: Cell,
        retention_ms: int = 86_400_000,
        hold_ms: int = 3_600_000,
        *,
        templates: MemoryTemplateStore | None = None,
    ) -> None:
        """Make a store for `cell`.

        A trigger names the template versions that it uses. `templates` is where the store looks for these versions at
        an accept. Without `templates` the versions are not checked.
        """
        self._templates = templates
        self._cell, self._retention_ms, self._hold_ms = cell, retention_ms, hold_ms
        self._bell: asyncio.Future[bool] | None = None

    # ---- accept

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[AcceptReply]:
        return [self._accept(trigger) for trigger in triggers]

    async def synced(self) -> None:
        """Return at once, because no data is on a disk."""

    def _accept(self, trigger: NewTrigger) -> AcceptReply:
        known = self._cell.record(trigger.id)
        if known is not None:
            same = known.trigger.body_hash == trigger.body_hash
            return AcceptReply(AcceptResult.REPLAYED if same else AcceptResult.CONFLICT)
        if self._cell.count > trigger.cells:
            return AcceptReply(AcceptResult.MOVED, cells=self._cell.count)
        if self._templates is not None and not self._templates.keep(pinned_until_ms(trigger)):
            return AcceptReply(AcceptResult.OUTDATED)
        if self._cell.full:
            return AcceptReply(AcceptResult.FULL)
        counted_here = trigger.suppressed is None
        granted, quota = granted_now(self._cell, trigger) if counted_here else (True, None)
        if not granted:
            return AcceptReply(AcceptResult.LIMITED, quota=quota)
        self._cell.raise_to(trigger.cells)
        self._cell.accepted += 1
        notes = [Note("delayed", new.vendor, expires_ms=new.expires_ms) for new in trigger.notifications]
        record = Record(trigger, trigger.expires_ms, notes, len(notes))
        self._cell.records[trigger.id] = record
        suppressed: list[int] = []
        for i, new in enumerate(trigger.notifications):
            nid = notification_id(trigger.id, i)
            if i in (trigger.suppressed or ()) or (counted_here and not let_through(self._cell, new.caps)):
                notes[i].state, notes[i].reason = "suppressed", "recipient_cap"
                suppressed.append(i)
                self._cell.finish(record, self._retention_ms)
            elif new.follows is not None:
                stand_by(self._cell, nid, new.follows, self._retention_ms)
            elif (at_ms := new.send_at_ms or trigger.send_at_ms) is not None:
                self._cell.delayed[nid] = at_ms
            else:
                self._cell.enqueue(nid, new.vendor)
        return AcceptReply(AcceptResult.STORED, tuple(suppressed), quota)

    async def known(self, trigger_ids: Sequence[str], cells: int) -> Known:
        self._cell.raise_to(cells)
        records = map(self._cell.record, trigger_ids)
        return Known(self._cell.count, tuple(record.trigger.body_hash if record else None for record in records))

    async def charge(self, triggers: Sequence[NewTrigger]) -> list[Charged]:
        return [charge(self._cell, trigger) for trigger in triggers]

    # ---- claim

    async def claim(self, me: str, lanes: Sequence[Lane], want: int) -> Claims:
        if self._cell.actors.get(me) != "live":
            raise FencedError(me)
        rows: list[tuple[Lane, str]] = []
        for lane in lanes:
            if len(rows) >= want:
                break
            got = self._cell.lane(lane).claim(me, want - len(rows), self._cell.weights)
            rows += [(lane, entry_id) for entry_id in got]
        return self._claims(rows)

    async def wait(self, me: str, lanes: Sequence[Lane], want: int, timeout_ms: int) -> Claims:
        got = self._read(me, lanes, want)
        if not got.claims and not got.orphans:
            bell: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._bell = bell
            self._cell.bells[bell] = None
            try:
                until_s = self._cell.clock.now_s() + timeout_ms / 1000
                while await rang(bell, until_s - self._cell.clock.now_s()) and bell.result():
                    got = self._read(me, lanes, want)
                    if got.claims or got.orphans:
                        break
                    self._cell.bells.pop(bell, None)  # another mailbox's entry: wait on
                    bell = self._bell = asyncio.get_running_loop().create_future()
                    self._cell.bells[bell] = None
            finally:
                self._cell.bells.pop(bell, None)
                self._bell = None
        return got

    async def wake(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(False)

    async def own(self, me: str, lanes: Sequence[Lane], known: Collection[tuple[Lane, str]]) -> Claims:
        return self._claims(
            [
                (lane, entry_id)
                for lane in lanes
                for entry_id, owner in self._cell.lane(lane).pending.items()
                if owner == me and (lane, entry_id) not in known and entry_id in self._cell.lane(lane).entries
            ]
        )

    def _read(self, me: str, lanes: Sequence[Lane], want: int) -> Claims:
        each = max(1, want // len(lanes))
        return self._claims([(lane, e) for lane in lanes for e in self._cell.lane(lane).read(me, each)])

    def _claims(self, rows: Sequence[tuple[Lane, str]], lost: int = 0) -> Claims:
        claims: list[Claim] = []
        orphans: list[Orphan] = []
        for lane, entry_id in rows:
            nid = self._cell.lane(lane).entries[entry_id]
            notification = self._cell.notification(nid, entry_id)
            if notification is None:
                orphans.append(Orphan(lane, entry_id, nid))
            else:
                claims.append(Claim(lane, entry_id, notification))
        return Claims(self._cell.clock.wall_ms(), claims, orphans, lost)

    # ---- take

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims:
        cell, rows, lost = self._cell, list[tuple[Lane, str]](), 0
        if cell.actors.get(me) != "live":
            return self._claims([])
        for lane in lanes:
            state = cell.lane(lane)
            for gone in sorted(name for name in state.consumers if name != me and cell.actors.get(name) != "live"):
                left = [entry_id for entry_id, owner in state.pending.items() if owner == gone][:at_most]
                if not left:
                    state.consumers.discard(gone)
                for entry_id in left:
                    lost += entry_id not in state.entries
                    if self._take(state, entry_id, gone, me):
                        rows.append((lane, entry_id))
        return self._claims(rows, lost)

    def _take(self, state: LaneState, entry_id: str, gone: str, me: str) -> bool:
        nid = state.entries.get(entry_id)
        if nid is None:
            state.remove(entry_id)
            return False
        found = self._cell.find(nid)
        if found is not None:
            record, note = found
            if record.trigger.on_unknown == "hold" and note.state == "started":
                now_ms = self._cell.clock.wall_ms()
                left_ms = max(0, (note.expires_ms or record.expires_ms) - now_ms)
                self._cell.held[nid] = self._cell.delay_ms() + min(self._hold_ms, left_ms)
                note.history.append(Attempt(now_ms, gone.rpartition("/")[0], "unknown", "actor_ended", 0))
                note.state = "held"
                state.remove(entry_id)
                return False
            if self._cell.actors.get(gone) != "stopped" and self._cell.singled.get(gone, nid) == nid:
                note.crashes += 1
        state.pending[entry_id] = me
        state.consumers.add(me)
        return True

    # ---- the final outcome

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[Applied]:
        return [self._decide(me, claim, decision, now_ms) for claim, decision in decided]

    def _decide(self, me: str, claim: Claim, decision: Decision, now_ms: int) -> Applied:
        if not self._mine(me, claim.lane, claim.entry_id):
            return Applied.LOST
        nid = claim.notification.id
        if not isinstance(decision, Drop):
            record, note = self._cell.found(nid)
            note.attempts = decision.attempts
            if decision.attempt is not None:
                note.history = shortened([*note.history, decision.attempt], now_ms)
            if isinstance(decision, (Settle, Dead)):
                note.vendor = decision.attempt.vendor if decision.attempt else claim.lane.mailbox
            self._place(nid, record, note, decision, now_ms=now_ms)
        self._cell.lane(claim.lane).remove(claim.entry_id)  # last, as in the scripts: an error before it loses nothing
        return Applied.DONE

    def _mine(self, me: str, lane: Lane, entry_id: str) -> bool:
        """Return True if the incarnation `me` has claimed this entry and not settled it."""
        return self._cell.lane(lane).pending.get(entry_id) == me

    def _place(self, nid: str, record: Record, note: Note, decision: Decision, *, now_ms: int) -> None:
        match decision:
            case Settle(reopens_ms=reopens_ms):
                self._wake(note, now_ms)
                record.kept_ms = max(record.kept_ms, self._cell.clock.wall_ms() + reopens_ms)
                note.state, note.lane, note.entry_id, note.trail, note.epoch = "settled", None, "", Trail(), 0
                self._cell.finish(record, self._retention_ms)
            case Dead(reason=reason):
                self._wake(note, now_ms)
                note.state, note.reason = "dead", reason
                self._cell.dead[nid] = now_ms
            case Move(vendor=vendor, trail=trail, epoch=epoch):
                note.trail, note.epoch = trail, epoch
                self._cell.enqueue(nid, vendor)
            case Retry(wait_ms=wait_ms, trail=trail):
                note.state, note.trail = "due", trail
                self._cell.due[nid] = self._cell.delay_ms() + wait_ms
            case Hold(wait_ms=wait_ms):
                note.state = "held"
                self._cell.held[nid] = self._cell.delay_ms() + wait_ms

    async def drop(self, me: str, orphans: Sequence[Orphan]) -> None:
        for lane, entry_id, _ in orphans:
            if self._mine(me, lane, entry_id):
                self._cell.lane(lane).remove(entry_id)

    async def start(self, me: str, claim: Claim, print_: Fingerprint | None = None) -> bool:
        cell, nid = self._cell, claim.notification.id
        if cell.actors.get(me) != "live" or not self._mine(me, claim.lane, claim.entry_id):
            return False
        note, now_ms = cell.found(nid)[1], cell.clock.wall_ms()
        if print_ is not None:
            other, until_ms = cell.twins.get(print_.key, (nid, 0))
            if other != nid and now_ms < until_ms:
                note.twin = True
                if (found := cell.find(other)) is not None:
                    found[1].twin = True
            cell.twins[print_.key] = nid, now_ms + print_.ttl_ms
        note.state, note.started = "started", (now_ms, me)
        return True

    async def single_out(self, me: str, nid: str | None) -> bool:
        if self._cell.actors.get(me) != "live":
            return False
        if nid is None:
            self._cell.singled.pop(me, None)
        else:
            self._cell.singled[me] = nid
        return True

    # ---- what waits for its time

    async def due(self, limit: int = 100) -> Due:
        now_ms = self._cell.clock.wall_ms()
        entries = []
        for scores, until_ms in ((self._cell.due, self._cell.delay_ms()), (self._cell.delayed, now_ms)):
            for nid, score in page(scores, until_ms, limit):
                found, delayed = self._cell.find(nid), scores is self._cell.delayed
                if found is None:
                    entries.append(DueEntry(nid, str(score), delayed, (), (), "normal", 0))
                    continue
                record, note = found
                chain = note.chain or record.trigger.notifications[int(nid.rpartition(".")[2])].chain
                priority, expires_ms = record.trigger.priority, note.expires_ms or record.expires_ms
                entry = DueEntry(nid, str(score), delayed, chain, note.trail.tried, priority, expires_ms)
                stands_by = note.state == "standby"
                entries.append(replace(entry, tenant=record.trigger.tenant, stands_by=stands_by))
        return Due(now_ms, entries)

    async def promote(self, chosen: Sequence[tuple[DueEntry, str]]) -> list[Promoted]:
        return [self._promote(entry, mailbox) for entry, mailbox in chosen]

    def _promote(self, entry: DueEntry, mailbox: str) -> Promoted:
        scores = self._cell.delayed if entry.delayed else self._cell.due
        if str(scores.get(entry.id, "")) != entry.score:
            return Promoted.GONE
        self._cell.enqueue(entry.id, mailbox)
        del scores[entry.id]
        return Promoted.DONE

    def _wake(self, note: Note, now_ms: int) -> None:
        """If a fallback waits for this notification's end, make the fallback due now."""
        if note.fallback in self._cell.delayed:
            self._cell.delayed[note.fallback] = now_ms

    async def begin(self, entries: Sequence[DueEntry]) -> list[Begun]:
        return [begin_fallback(self._cell, entry, self._retention_ms) for entry in entries]

    async def note_receipt(self, nid: str, word: str) -> bool:
        found = self._cell.find(nid)
        if found is None or found[1].fallback is None or (word == "undelivered" and found[1].state != "settled"):
            return False
        found[1].receipt = word
        self._wake(found[1], self._cell.clock.wall_ms())
        return True

    async def last_call(self, nid: str) -> LastCall | None:
        return last_call(self._cell, nid)

    async def reopen(self, last: LastCall, how: Reopen) -> bool:
        return reopen(self._cell, last, how)

    async def postpone(self, entries: Sequence[DueEntry], wait_ms: int) -> None:
        for entry in entries:
            scores = self._cell.delayed if entry.delayed else self._cell.due
            if str(scores.get(entry.id, "")) == entry.score:
                now_ms = self._cell.clock.wall_ms() if entry.delayed else self._cell.delay_ms()
                scores[entry.id] = max(scores[entry.id], now_ms) + wait_ms

    async def overdue_held(self, limit: int = 100) -> list[str]:
        return [nid for nid, _ in page(self._cell.held, self._cell.delay_ms(), limit)]

    async def held_ids(self, begin: int, count: int) -> list[HeldUntil]:
        last_ms = max(self._cell.held.values(), default=0)
        return [HeldUntil(*row) for row in page(self._cell.held, last_ms, begin + count)[begin:]]

    async def held(self, ids: Sequence[str]) -> list[Held]:
        result = []
        for nid in ids:
            found = self._cell.find(nid)
            if found is None or found[1].state != "held" or found[1].started is None:
                continue
            notification = self._cell.notification(nid, found[1].entry_id)
            assert notification is not None
            started_ms, me = found[1].started
            result.append(Held(notification, me.partition("/")[0], started_ms, found[1].twin))
        return result

    async def expired(self, lane: Lane, cursor: str, page: int = 200) -> ExpiredPage:
        now_ms, after = self._cell.clock.wall_ms(), sequence(cursor) if cursor else -1
        entries = [(e, nid) for e, nid in self._cell.lane(lane).entries.items() if sequence(e) > after][:page]
        known = [(nid, found) for _, nid in entries if (found := self._cell.find(nid))]
        over = [nid for nid, (record, note) in known if (note.expires_ms or record.expires_ms) <= now_ms]
        return ExpiredPage(entries[-1][0] if len(entries) == page else "", over)

    async def sending(self, nid: str) -> tuple[str, CallMark] | None:
        found = self._cell.find(nid)
        note = None if found is None else found[1]
        owner = None if note is None or note.lane is None else self._cell.lane(note.lane).pending.get(note.entry_id)
        return None if note is None or owner is None else (owner.rpartition("/")[0], _mark(note))

    async def withdraw(
        self, nid: str, to: str, reason: str, *, only: State | None = None, word: LaterWord | None = None
    ) -> Withdrawal:
        cell, found = self._cell, self._cell.find(nid)
        waiting = (cell.due, cell.delayed, cell.held)
        if found is None:
            for scores in waiting:
                scores.pop(nid, None)
            return Withdrawal(WithdrawResult.ENDED, "absent")
        record, note = found
        if only is not None and note.state != only:
            return Withdrawal(WithdrawResult.ENDED, note.state)
        if word is not None and word.call not in (None, _mark(note)):
            return Withdrawal(WithdrawResult.ENDED, note.state)
        if note.state in ("queued", "started"):
            assert note.lane is not None
            if note.entry_id in cell.lane(note.lane).pending:
                return Withdrawal(WithdrawResult.CLAIMED)
            cell.lane(note.lane).remove(note.entry_id)
        elif note.state not in ("due", "delayed", "held", "standby"):
            return Withdrawal(WithdrawResult.ENDED, note.state)
        note.state, note.reason = to, reason
        self._wake(note, cell.clock.wall_ms())
        for scores in waiting:
            scores.pop(nid, None)
        if to == "dead":
            cell.dead[nid] = cell.clock.wall_ms()
        else:
            if to == "settled" and word is not None:
                now_ms = cell.clock.wall_ms()
                note.history.append(accepted_later(word, reason, now_ms))
                note.vendor, record.kept_ms = word.vendor, max(record.kept_ms, now_ms + REOPENS_MS)
            cell.finish(record, self._retention_ms)
        return Withdrawal(WithdrawResult.DONE)


def _mark(note: Note) -> CallMark:
    return CallMark(note.generation, note.reopened)
