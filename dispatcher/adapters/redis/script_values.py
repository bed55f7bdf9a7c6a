"""Builds the arguments of the scripts, and reads their replies."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

from redis.exceptions import OutOfMemoryError

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import Call, of_a_key
from dispatcher.core.accepting.caps import Cap
from dispatcher.core.life.decide import Dead, Decision, Drop, Hold, Move, Retry, Settle
from dispatcher.core.life.late_refusal import LastCall
from dispatcher.core.life.notification import Claim, Lane, NewNotification, NewTrigger, State, TemplatePin, trigger_of
from dispatcher.core.life.outcome import OutcomeKind
from dispatcher.core.limits.accept_rate import AcceptRate, Quota
from dispatcher.errors import UnreadableError
from dispatcher.ports import (
    CHARGE_KEPT_MS,
    AcceptReply,
    AcceptResult,
    Applied,
    Begun,
    Charged,
    ChargeResult,
    DueEntry,
    Held,
    Promoted,
    Withdrawal,
    WithdrawResult,
)
from dispatcher.templates.owned import pinned_until_ms
from dispatcher.wire import records

ACCEPTED = {
    "OK": AcceptResult.STORED,
    "REPLAY": AcceptResult.REPLAYED,
    "CONFLICT": AcceptResult.CONFLICT,
    "LIMITED": AcceptResult.LIMITED,
    "OUTDATED": AcceptResult.OUTDATED,
    "MOVED": AcceptResult.MOVED,
}


def accept_call(k: Keys, retention_ms: int, trigger: NewTrigger) -> Call:
    lanes = [k.lane(Lane(n.vendor, trigger.priority)) for n in trigger.notifications]
    keys = [k.record(trigger.id), k.mailboxes, k.delayed, k.ledger, k.rate(trigger.tenant), k.cells, *lanes]
    counted_here = trigger.suppressed is None
    args: list[Any] = [
        trigger.id,
        trigger.body_hash,
        records.encode_meta(trigger),
        records.encode_data(trigger),
        "" if trigger.send_at_ms is None else trigger.send_at_ms,
        trigger.on_unknown,
        trigger.expires_ms,
        secrets.token_hex(8),
        trigger.tenant,
        _rate(trigger.rate if counted_here else None),
        len(pins := pinned_until_ms(trigger)),
        " ".join(map(str, (trigger.cells, *sorted(trigger.suppressed or ())))),
        *map(_fields, trigger.notifications),
    ]
    caps = _caps(trigger) if counted_here else []
    if caps or trigger.suppressed:
        keys += [k.cap(cap.key) for _, cap in caps]
        args += [retention_ms, *_cap_args(caps)]
    return Call("accept", [*keys, *(k.template(pin.name) for pin in pins)], [*args, *starmap(_pinned, pins.items())])


def charge_call(k: Keys, trigger: NewTrigger) -> Call:
    """Return the call of charge.lua for a trigger that another cell stores."""
    caps = _caps(trigger)
    kept_ms = min((CHARGE_KEPT_MS, *(cap.per_ms for _, cap in caps)))
    keys = [k.charge(trigger.id), k.rate(trigger.tenant), *(k.cap(cap.key) for _, cap in caps)]
    return Call("charge", keys, [trigger.body_hash, _rate(trigger.rate), kept_ms, *_cap_args(caps)])


def _rate(rate: AcceptRate | None) -> str:
    return "" if rate is None else f"{rate.each_ms} {rate.burst}"


def _caps(trigger: NewTrigger) -> list[tuple[int, Cap]]:
    return [(i, cap) for i, n in enumerate(trigger.notifications) for cap in n.caps]


def _cap_args(caps: Sequence[tuple[int, Cap]]) -> list[int]:
    return [part for i, cap in caps for part in (i, cap.most, cap.per_ms)]


def _pinned(pin: TemplatePin, until_ms: int) -> str:
    return f"{pin.version} {pin.digest} {until_ms}"


def _fields(n: NewNotification) -> str:
    """Return what accept.lua gets about a notification, as one text.

    The text has the mailbox. If the notification has times of its own, they follow. If the notification is a fallback,
    its conditions follow too.
    """
    if n.expires_ms is None:
        return n.vendor
    timed = f"{n.vendor} {n.send_at_ms or 0} {n.expires_ms}"
    f = n.follows
    return timed if f is None else f"{timed} {f.first} {f.wait_for} {f.begin_ms or 0} {f.ttl_ms}"


def decision_call(k: Keys, retention_ms: int, me: str, claim: Claim, *, decision: Decision, now_ms: int) -> Call:
    n = claim.notification
    index = n.id.rpartition(".")[2]
    keys = [k.lane(claim.lane), k.record(trigger_of(n.id)), k.nil]
    if isinstance(decision, Drop):
        return Call("drop", keys, [claim.entry_id, me, index, "", 0, now_ms])
    args: list[Any] = [
        claim.entry_id,
        me,
        index,
        records.encode_attempt(decision.attempt),
        decision.attempts,
        now_ms,
    ]
    match decision:
        case Settle(attempt=attempt, reopens_ms=reopens_ms):
            vendor = attempt.vendor if attempt else claim.lane.mailbox
            kept = k.kept(trigger_of(n.id))
            return Call("settle", [*keys, k.delayed, kept], [*args, "settled", retention_ms, vendor, reopens_ms])
        case Dead(reason=reason, attempt=attempt):
            vendor = attempt.vendor if attempt else claim.lane.mailbox
            return Call("dead", [*keys, k.dead, k.delayed], [*args, n.id, reason, vendor])
        case Move(vendor=vendor, trail=trail, epoch=epoch):
            lane, trail_text = k.lane(Lane(vendor, n.priority)), records.encode_trail(trail)
            return Call("move", [*keys, lane, k.mailboxes], [*args, n.id, vendor, trail_text, epoch, n.tenant])
        case Retry(wait_ms=wait_ms, trail=trail):
            return Call("retry", [*keys, k.due, k.clock], [*args, n.id, wait_ms, records.encode_trail(trail)])
        case Hold(wait_ms=wait_ms):
            return Call("hold", [*keys, k.held, k.clock], [*args, n.id, wait_ms])
    raise AssertionError(decision)


def applied(reply: Any) -> Applied:
    if isinstance(reply, Exception):
        return Applied.REFUSED if of_a_key(reply) else Applied.ERROR
    return {"OK": Applied.DONE, "LOST": Applied.LOST}[reply]


def promoted(reply: Any) -> Promoted:
    if isinstance(reply, Exception):
        return Promoted.ERROR
    return {"OK": Promoted.DONE, "GONE": Promoted.GONE}[reply]


def begun(reply: Any) -> Begun:
    return Begun.ERROR if isinstance(reply, Exception) else Begun[str(reply)]


def withdrawal(reply: Any) -> Withdrawal | None:
    """Read the reply of withdraw.lua.

    Return None if the notification has moved meanwhile, so the caller tries again.
    """
    result, *state = reply
    if result == "STATE":
        return None if state[0] == "moved" else Withdrawal(WithdrawResult.ENDED, str(state[0]))
    return Withdrawal({"OK": WithdrawResult.DONE, "CLAIMED": WithdrawResult.CLAIMED}[result])


def accept_reply(reply: Any) -> AcceptReply:
    if isinstance(reply, Exception):
        return AcceptReply(AcceptResult.FULL if _out_of_memory(reply) else AcceptResult.ERROR)
    if not isinstance(reply, list):
        return AcceptReply(ACCEPTED[reply])
    if reply[0] == "MOVED":
        return AcceptReply(AcceptResult.MOVED, cells=int(reply[1]))
    quota, suppressed = (reply[1], []) if reply[0] == "LIMITED" else (reply[3], reply[4:])
    return AcceptReply(ACCEPTED[reply[0]], tuple(map(int, suppressed)), Quota(*quota) if quota else None)


def charged(reply: Any) -> Charged:
    """Read the reply of charge.lua."""
    if isinstance(reply, Exception):
        return Charged(ChargeResult.FULL if _out_of_memory(reply) else ChargeResult.ERROR)
    result, answer = reply
    if result == "LIMITED":
        return Charged(ChargeResult.LIMITED, quota=Quota(*answer))
    quota, _, suppressed = answer.partition("|")
    indices = tuple(sorted(map(int, suppressed.split())))
    return Charged(ChargeResult.CHARGED, indices, Quota(*map(int, quota.split())) if quota else None)


def _out_of_memory(error: Exception) -> bool:
    """Return True if Redis refused a write because it is full.

    Redis 6 wraps a script's error, so that only its text tells. Redis 7 passes it on as it is.
    """
    return isinstance(error, OutOfMemoryError) or "OOM" in str(error)


def held_of(nid: str, row: Any) -> Held | None:
    *fields, started, twin = row
    try:
        notification = records.decode_notification(nid, fields)
    except UnreadableError:
        return None
    if notification is None or notification.state is not State.HELD or not started:
        return None  # `started` is absent where an earlier version set the mark
    started_ms, _, me = started.partition(" ")
    return Held(notification, me.partition("/")[0], int(started_ms), twin is not None)


def last_call_of(nid: str, record: Mapping[str, str], kept: str | None) -> LastCall | None:
    """Return the last call of a settled or held notification.

    `kept` is the content of the notification. The store keeps the content apart when the record has lost it. Return
    None in any other state, or if the content is gone.
    """
    i = nid.rpartition(".")[2]
    fields = [record.get(name if name in records.WHOLE else f"{i}.{name}") for name in records.FIELDS]
    fields[records.FIELDS.index("d")] = record.get("d", kept)
    try:
        n = records.decode_notification(nid, fields)
        history = records.decode_history(record.get(f"{i}.h"))
    except (UnreadableError, TypeError, ValueError):
        return None
    if n is None:
        return None
    follower = record.get(f"{i}.fb")
    fallback = State(record.get(f"{follower.rpartition('.')[2]}.st", "skipped")) if follower else None
    started_ms, _, me = record.get(f"{i}.s", "").partition(" ")
    if n.state is State.HELD and started_ms:
        return LastCall(n, me.partition("/")[0], "", int(started_ms), fallback)
    if n.state is State.SETTLED and history and history[-1].outcome == OutcomeKind.ACCEPTED.value:
        return LastCall(n, history[-1].vendor, history[-1].vendor_message_id or "", history[-1].at_ms, fallback)
    return None


def due_entry(row: Sequence[Any]) -> DueEntry:
    """Return the `DueEntry` in a row of due.lua. A row that cannot be read gives an entry with `readable=False`."""
    nid, score, delayed, text, expires, tried, stands_by, own_chain = row
    try:
        meta: records.Meta = json.loads(text) if text else {"n": [], "p": "normal", "t": ""}
        index = int(nid.rpartition(".")[2])
        chain = records.chain_of(records.part_of(meta, index), own_chain) if text else ()
        priority, expires_ms, tenant = str(meta["p"]), int(expires or 0), str(meta["t"])
    except (LookupError, TypeError, ValueError):
        return DueEntry(nid, score, bool(delayed), (), (), "", 0, readable=False)
    entry = DueEntry(nid, score, bool(delayed), chain, records.decode_trail(tried).tried, priority, expires_ms)
    return replace(entry, tenant=tenant, stands_by=bool(stands_by))
