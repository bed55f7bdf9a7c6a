"""The durable mailboxes on Redis. `dispatcher.ports.store` is the contract.

Each change of a notification is one call of a script. A script is atomic, and checks the owner, the state or the score
before it writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import ResponseError

from dispatcher.adapters.redis.claim_reader import ClaimReader
from dispatcher.adapters.redis.keys import Keys, streams_of
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.script_calls import UNAVAILABLE, Call, Client, answered, of_a_key, reached, run, run_one
from dispatcher.adapters.redis.script_values import (
    accept_call,
    accept_reply,
    applied,
    begun,
    charge_call,
    charged,
    decision_call,
    due_entry,
    held_of,
    last_call_of,
    promoted,
    withdrawal,
)
from dispatcher.core.life.decide import Decision
from dispatcher.core.life.fallback import LOOK_AGAIN_MS, LOOK_AT_HELD_AGAIN_MS
from dispatcher.core.life.late_refusal import REOPENS_MS, LastCall, Reopen, accepted_later
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import CallMark, Claim, Lane, LaterWord, NewTrigger, State, trigger_of
from dispatcher.core.store.continuity import Break, Continuity, Mark
from dispatcher.core.store.delay_time import DelayTime
from dispatcher.errors import FencedError, UnavailableError
from dispatcher.ports import (
    AcceptReply,
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
from dispatcher.wire import records

UNREAD_MAX = 100
"""The most entries of a fair stream that an audit claims if no actor has read them."""

NO_GROUP_MS = 200

MOVES_FOLLOWED = 5
"""How often a withdrawal looks for the mailbox again, if the notification has moved before the script ran."""


class RedisStore:
    """The mailboxes and records of a cell. `waiting` is a separate client for the reads in which a courier blocks."""

    def __init__(
        self,
        connection: Client,
        waiting: Client | None = None,
        keys: Keys | None = None,
        retention_ms: int = 86_400_000,
        *,
        hold_ms: int = 3_600_000,
        replicated: ReplicatedWrites | None = None,
        continuity: Continuity | None = None,
        on_break: Callable[[Break], None] = lambda found: None,
        on_set_back: Callable[[int], None] = lambda by_ms: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a store; nothing is connected.

        Args:
            connection: the client for everything except blocking reads.
            waiting: a client for blocking reads alone.
            replicated: if given, accepts, cancels and start marks count only when replicas have them on disk.
            continuity: compares each accept with what the store had accepted before.
            on_break: is called if the store has lost accepts.
            on_set_back: is called if the store's clock was set back, with the number of ms. Notifications that wait
                are not delayed by this.
        """
        self._redis = connection
        self._waiting, self._replicated = waiting, replicated
        self._keys = keys or Keys()
        self._claim_reader = ClaimReader(connection, self._keys)
        self._retention_ms = retention_ms
        self._hold_ms = hold_ms
        self._continuity, self._on_break = continuity or Continuity(), on_break
        self._blocked_id: int | None = None
        self._on_set_back, self._monotonic_s = on_set_back, monotonic_s
        self._delay_time = DelayTime()

    # ---- accept

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[AcceptReply]:
        before = self._continuity.mark
        replies = await self._run([accept_call(self._keys, self._retention_ms, trigger) for trigger in triggers])
        for reply in (reply for reply in replies if isinstance(reply, list) and reply[0] == "OK"):
            found = self._continuity.compare(before, Mark(reply[1], reply[2]))
            if found is not None:
                self._on_break(found)
        return [accept_reply(reply) for reply in replies]

    async def known(self, trigger_ids: Sequence[str], cells: int) -> Known:
        k = self._keys
        count, *hashes = await self._run_one("known", [k.cells, k.ledger, k.nil, *map(k.record, trigger_ids)], [cells])
        return Known(int(count), tuple(hashes))

    async def charge(self, triggers: Sequence[NewTrigger]) -> list[Charged]:
        return [charged(reply) for reply in await self._run([charge_call(self._keys, it) for it in triggers])]

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls that must survive the loss of the primary.

        With `replicated`, wait until replicas have them on disk.
        """
        return await (run(self._redis, calls) if self._replicated is None else self._replicated.run(calls))

    async def _run_one(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        (reply,) = await self._run([Call(name, keys, args)])
        return answered(reply, name)

    async def synced(self) -> None:
        if self._replicated is not None:
            await self._replicated.run([])

    # ---- claim

    async def claim(self, me: str, lanes: Sequence[Lane], want: int) -> Claims:
        k = self._keys
        keys = [k.actors, k.nil, k.weights, *(k.lane(lane) for lane in lanes)]
        reply = await run_one(self._redis, "claim", keys, [me, want, k.record_prefix])
        if reply[0] == "FENCED":
            raise FencedError(me)
        return self._claim_reader.claims(int(reply[1]), reply[2])

    async def wait(self, me: str, lanes: Sequence[Lane], want: int, timeout_ms: int) -> Claims:
        # COUNT is per lane, so the reply may have a few entries more than wanted.
        waiting = self._waiting or self._redis
        streams: Any = {self._keys.lane(lane): ">" for lane in lanes}
        try:
            if self._blocked_id is None:
                self._blocked_id = await waiting.client_id()
            reply: Any = await waiting.xreadgroup(
                "g", me, streams, count=max(1, want // len(streams)), block=timeout_ms
            )
            rows = [(key, entry_id, body["n"]) for key, entries in (reply or []) for entry_id, body in entries]
            return await self._claim_reader.load(rows)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise UnavailableError(f"redis: {error}") from error
            await asyncio.sleep(min(timeout_ms, NO_GROUP_MS) / 1000)  # claim makes the group; do not spin meanwhile
            return Claims(0, [], [])
        except UNAVAILABLE as error:
            self._blocked_id = None
            raise UnavailableError(f"redis: {type(error).__name__}") from error
        except asyncio.CancelledError:
            self._blocked_id = None  # the next read has another connection
            raise

    async def wake(self) -> None:
        if self._blocked_id is not None:
            await reached(self._redis.client_unblock(self._blocked_id))

    async def own(self, me: str, lanes: Sequence[Lane], known: Collection[tuple[Lane, str]]) -> Claims:
        # A claim reads from a fair stream only the entries that it has just put there. An entry that was not read
        # then (for example because the stream's group was made again) is claimed here.
        lanes = streams_of(lanes)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for key in (self._keys.lane(lane) for lane in lanes if lane.fair):
                pipeline.xgroup_create(key, "g", "0")  # an error where there is no such stream, or the group is there
                pipeline.xreadgroup("g", me, {key: ">"}, count=UNREAD_MAX)
            begin = len(pipeline.command_stack)
            for lane in lanes:
                # Not as a raw XPENDING: redis-py would read the reply as the summary's, fail half-way through the
                # pipeline and leave unread replies on the connection.
                pipeline.xpending_range(self._keys.lane(lane), "g", "-", "+", 1000, me)
            pages = (await pipeline.execute(raise_on_error=False))[begin:]
            missing = [
                (lane, entry["message_id"])
                for lane, page in zip(lanes, pages, strict=True)
                if isinstance(page, list)
                for entry in page
                if (lane, entry["message_id"]) not in known
            ]
            return await self._claim_reader.fetch(missing)
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error

    # ---- take

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims:
        k = self._keys
        streams = [k.lane(lane) for lane in streams_of(lanes)]
        calls = [
            Call(
                "take",
                [stream, k.actors, k.held, k.nil, k.singled, k.clock],
                [name, me, k.record_prefix, self._hold_ms, at_most],
            )
            for stream, *names in await run_one(self._redis, "left", [k.actors, *streams], [])
            for name in names
            if name != me
        ]
        if not calls:
            return Claims(0, [], [])
        taken = await run(self._redis, calls)
        replies = [reply for reply in taken if not isinstance(reply, Exception)]
        refused = [f"{call.keys[0]}: {it}" for call, it in zip(calls, taken, strict=False) if isinstance(it, Exception)]
        rows = [row for reply in replies for row in reply[2]]
        lost = sum(int(reply[1]) for reply in replies)
        got = self._claim_reader.claims(max((int(reply[0]) for reply in replies), default=0), rows, lost)
        return replace(got, refused=refused)

    # ---- the final outcome

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[Applied]:
        replies = await run(
            self._redis,
            [
                decision_call(self._keys, self._retention_ms, me, claim, decision=d, now_ms=now_ms)
                for claim, d in decided
            ],
        )
        return [applied(reply) for reply in replies]

    async def drop(self, me: str, orphans: Sequence[Orphan]) -> None:
        k = self._keys
        await run(
            self._redis,
            [
                Call("drop", [k.lane(lane), k.record(trigger_of(nid)), k.nil], [entry_id, me, "0", "", 0, 0])
                for lane, entry_id, nid in orphans
            ],
        )

    async def start(self, me: str, claim: Claim, print_: Fingerprint | None = None) -> bool:
        k, n = self._keys, claim.notification
        keys = [k.lane(claim.lane), k.record(trigger_of(n.id)), k.nil, k.actors]
        args: list[Any] = [claim.entry_id, me, n.id.rpartition(".")[2]]
        if print_ is not None:
            keys.append(k.twin(print_.key))
            args += [n.id, print_.ttl_ms, k.record_prefix]
        return bool(await self._run_one("start", keys, args) == "OK")

    async def single_out(self, me: str, nid: str | None) -> bool:
        k = self._keys
        reply = await run_one(self._redis, "single_out", [k.actors, k.singled, k.nil], [me, nid or ""])
        return bool(reply == "OK")

    # ---- what waits for its time

    async def due(self, limit: int = 100) -> Due:
        k = self._keys
        for _ in range(2):
            asked_s = self._monotonic_s()
            reply = await run_one(self._redis, "due", [k.due, k.delayed, k.clock], [limit, k.record_prefix])
            now_ms, delay_ms, dated_ms, rows = reply
            least_ms = self._delay_time.correction(int(delay_ms), int(dated_ms), asked_s, self._monotonic_s())
            if least_ms is None:
                break
            if by_ms := int(await run_one(self._redis, "keep_time", [k.clock, k.nil], [least_ms])):
                self._on_set_back(by_ms)
        return Due(int(now_ms), [due_entry(row) for row in rows])

    async def promote(self, chosen: Sequence[tuple[DueEntry, str]]) -> list[Promoted]:
        k = self._keys
        calls = [
            Call(
                "promote",
                [
                    k.delayed if entry.delayed else k.due,
                    k.record(trigger_of(entry.id)),
                    k.nil,
                    k.lane(Lane(mailbox, entry.priority)),
                    k.mailboxes,
                ],
                [entry.id, entry.score, entry.id.rpartition(".")[2], mailbox, entry.tenant],
            )
            for entry, mailbox in chosen
        ]
        return [promoted(reply) for reply in await run(self._redis, calls)]

    async def begin(self, entries: Sequence[DueEntry]) -> list[Begun]:
        k = self._keys
        waits = [self._retention_ms, LOOK_AGAIN_MS, LOOK_AT_HELD_AGAIN_MS]
        calls = [
            Call(
                "begin",
                [k.delayed, k.record(trigger_of(entry.id)), k.nil, k.due],
                [entry.id, entry.score, entry.id.rpartition(".")[2], *waits],
            )
            for entry in entries
        ]
        return [begun(reply) for reply in await run(self._redis, calls)]

    async def note_receipt(self, nid: str, word: str) -> bool:
        k = self._keys
        seconds, micros = await reached(self._redis.time())
        args = [nid.rpartition(".")[2], word, seconds * 1000 + micros // 1000]
        reply = await run_one(self._redis, "receipt", [k.record(trigger_of(nid)), k.nil, k.delayed], args)
        return bool(reply == "OK")

    async def last_call(self, nid: str) -> LastCall | None:
        k, trigger = self._keys, trigger_of(nid)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(k.record(trigger))
        pipeline.get(k.kept(trigger))
        rows = await reached(pipeline.execute(raise_on_error=False))
        record, kept = (answered(row, "last_call") for row in rows)
        return last_call_of(nid, record, kept)

    async def reopen(self, last: LastCall, how: Reopen) -> bool:
        k, n = self._keys, last.notification
        trigger = trigger_of(n.id)
        keys = [k.record(trigger), k.kept(trigger), k.nil, k.due, k.held, k.clock, k.delayed]
        read = [n.state.value, n.attempts, n.generation]
        args = [n.id, n.id.rpartition(".")[2], how.wait_ms, records.encode_trail(how.trail), *read, LOOK_AGAIN_MS]
        return bool(await run_one(self._redis, "reopen", keys, args) == "OK")

    async def postpone(self, entries: Sequence[DueEntry], wait_ms: int) -> None:
        k = self._keys
        places = [(k.delayed, "delayed") if entry.delayed else (k.due, "due") for entry in entries]
        calls = [
            Call("postpone", [key, k.nil, k.clock], [entry.id, entry.score, wait_ms, name])
            for entry, (key, name) in zip(entries, places, strict=True)
        ]
        await run(self._redis, calls)

    async def overdue_held(self, limit: int = 100) -> list[str]:
        return list(await run_one(self._redis, "overdue_held", [self._keys.held, self._keys.clock], [limit]))

    async def held_ids(self, begin: int, count: int) -> list[HeldUntil]:
        page: Any = await reached(self._redis.zrange(self._keys.held, begin, begin + count - 1, withscores=True))
        return [HeldUntil(nid, int(score)) for nid, score in page]

    async def held(self, ids: Sequence[str]) -> list[Held]:
        pipeline = self._redis.pipeline(transaction=False)
        for nid in ids:
            i = nid.rpartition(".")[2]
            names = [n if n in records.WHOLE else f"{i}.{n}" for n in (*records.FIELDS, "s", "tw")]
            pipeline.hmget(self._keys.record(trigger_of(nid)), names)
        rows = await reached(pipeline.execute(raise_on_error=False))
        readable = ((nid, answered(row, "held")) for nid, row in zip(ids, rows, strict=True) if not of_a_key(row))
        return [found for nid, row in readable if (found := held_of(nid, row)) is not None]

    async def expired(self, lane: Lane, cursor: str, page: int = 200) -> ExpiredPage:
        reply = await run_one(self._redis, "expired", [self._keys.lane(lane)], [cursor, page, self._keys.record_prefix])
        return ExpiredPage(str(reply[1]), list(reply[2]))

    async def withdraw(
        self, nid: str, to: str, reason: str, *, only: State | None = None, word: LaterWord | None = None
    ) -> Withdrawal:
        for _ in range(MOVES_FOLLOWED):
            answer = await self._withdraw(nid, to, reason, only=only, word=word)
            if answer is not None:
                return answer
        return Withdrawal(WithdrawResult.CLAIMED)  # it moved at each try, so an actor is at work on it

    async def sending(self, nid: str) -> tuple[str, CallMark] | None:
        i = nid.rpartition(".")[2]
        record = self._keys.record(trigger_of(nid))
        names = [f"{i}.{name}" for name in ("lane", "eid", "gen", "ro")]
        lane, entry_id, generation, reopened = await reached(self._redis.hmget(record, names))
        if not lane or not entry_id:
            return None
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xpending_range(lane, "g", entry_id, entry_id, 1)
        (pending,) = await reached(pipeline.execute(raise_on_error=False))
        if isinstance(pending, Exception) or not pending:  # an error: the mailbox has no claims yet
            return None
        return pending[0]["consumer"].rpartition("/")[0], CallMark(int(generation or 0), int(reopened or 0))

    async def _withdraw(
        self, nid: str, to: str, reason: str, *, only: State | None, word: LaterWord | None
    ) -> Withdrawal | None:
        """Try once to end a notification that nobody has claimed. `to` is its new state, and `reason` is noted with it.

        Return None if the notification moved to another mailbox during the call. The caller then tries again.
        """
        k = self._keys
        i = nid.rpartition(".")[2]
        record = k.record(trigger_of(nid))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(record, f"{i}.lane")
        pipeline.time()
        found = await reached(pipeline.execute(raise_on_error=False))
        lane, (seconds, micros) = (answered(it, "withdraw") for it in found)
        now_ms = seconds * 1000 + micros // 1000
        keys = [record, lane or k.nil, k.nil, k.due, k.delayed, k.held, k.dead, k.kept(trigger_of(nid))]
        args = [nid, i, to, reason, self._retention_ms, now_ms, "" if only is None else only.value]
        args += _of_a_word(word, to, reason, now_ms)
        if to == State.CANCELLED:  # the caller is told, so this must be as durable as an accept
            return withdrawal(await self._run_one("withdraw", keys, args))
        return withdrawal(await run_one(self._redis, "withdraw", keys, args))


def _of_a_word(word: LaterWord | None, to: str, reason: str, now_ms: int) -> list[str | int]:
    """Return the arguments of withdraw.lua about a vendor's word: mark, line of history, vendor, and the time for which
    the content is kept.
    """
    if word is None:
        return ["", "", "", 0]
    mark = "" if word.call is None else f"{word.call.generation}.{word.call.reopened}"
    line = records.encode_attempt(accepted_later(word, reason, now_ms)) if to == State.SETTLED else ""
    return [mark, line, word.vendor, REOPENS_MS]
