"""The control channel on Redis. `dispatcher.ports.control` is the contract.

All messages go through Redis and none through Ray, so they also arrive while Ray's control plane is away. Beats,
reports and totals are published: this needs no fsync and works when Redis is full. The plan is stored in a key as well,
because a published message is lost for a process that does not listen.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dispatcher.adapters.redis.keys import Keys, lanes_of, streams_of
from dispatcher.adapters.redis.script_calls import UNAVAILABLE, Client, ask, run_one
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.backlog import Backlog, MailboxDepth, portions
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane
from dispatcher.core.plan.messages import Message, Statement, Sums, read_message
from dispatcher.core.plan.values import Beat, Override, Plan, Report
from dispatcher.core.store.continuity import Lineage, Mark
from dispatcher.errors import StaleTermError, UnavailableError
from dispatcher.ports import Incarnation, Memory, Remembered, Term

PLANS_KEPT = 1000
LOOKED_AT = 100
"""The most notifications that a measurement of the backlog reads of each set: due, held and delayed."""
_PROCESS = re.compile("([0-9]{0,15}) ?([0-9]{0,15}) ?(.*)", re.DOTALL)

QUIET_S, PING_S, DEAF_S = 0.5, 1.0, 3.0
"""A quiet subscription yields None every `QUIET_S` seconds. After `PING_S` without a message a PING is sent.

After `DEAF_S` seconds without any answer the subscription raises `UnavailableError`.
"""


class RedisControl:
    """The control channel on Redis. Each process has a `RedisControl` of its own."""

    def __init__(self, connection: Client, keys: Keys | None = None) -> None:
        self._redis = connection
        self._keys = keys or Keys()

    # ---- actors

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str:
        # The tail is random, because a store that was emptied counts from the beginning again.
        k = self._keys
        keys = [k.actors, k.incarnations, k.nil, k.processes]
        return str(await run_one(self._redis, "register", keys, [vendor, pid, node, secrets.token_hex(4)]))

    async def renew(self, incarnation: str) -> bool:
        k = self._keys
        return str(await run_one(self._redis, "renew", [k.actors, k.processes, k.nil], [incarnation])) == "OK"

    async def bury(self, verdicts: Mapping[str, int], term: int) -> list[str]:
        k = self._keys
        arguments = [part for verdict in verdicts.items() for part in verdict]
        reply = await run_one(self._redis, "bury", [k.actors, k.plan, k.nil, k.processes], [term, *arguments])
        if reply == "STALE":
            raise StaleTermError
        return list(reply)

    async def stopped(self, incarnation: str) -> None:
        await run_one(self._redis, "stopped", [self._keys.actors, self._keys.nil], [incarnation])

    async def remember(self, vendor: str, breaker: JsonObject) -> None:
        k = self._keys
        text = json.dumps(breaker, separators=(",", ":"))
        await run_one(self._redis, "remember", [k.breakers, k.nil], [vendor, text])

    async def recall(self, vendor: str) -> Remembered | None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hget(self._keys.breakers, vendor)
        (seconds, micros), text = await self._read(pipeline.execute())
        if text is None:
            return None
        at_ms, _, body = text.partition(" ")
        return Remembered(json.loads(body), max(0, seconds * 1000 + micros // 1000 - int(at_ms)))

    async def live(self) -> dict[str, Incarnation]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self._keys.actors)
        pipeline.hgetall(self._keys.processes)
        actors, processes = await self._read(pipeline.execute())
        return {name: _incarnation(processes.get(name, "")) for name, state in actors.items() if state == "live"}

    async def forget(self, incarnations: Sequence[str]) -> None:
        if incarnations:
            await self._read(self._redis.hdel(self._keys.singled, *incarnations))
            await self._read(self._redis.hdel(self._keys.processes, *incarnations))
            await self._read(self._redis.hdel(self._keys.actors, *incarnations))

    async def ended(self) -> list[str]:
        k = self._keys
        actors = _mapping(await ask(self._redis, "HGETALL", k.actors))
        gone = {name for name, state in actors.items() if state != "live"}
        if not gone:
            return []
        mailboxes = await self._read(self._redis.smembers(k.mailboxes))
        streams = [k.lane(stream) for mailbox in mailboxes for stream in streams_of(lanes_of(mailbox))]
        left = await run_one(self._redis, "left", [k.actors, *streams], [])
        listed = {name for _, *names in left for name in names}
        return sorted(gone - listed)

    # ---- messages

    async def beat(self, beat: Beat) -> None:
        await self._publish(self._keys.beat_channel, beat.to_dict())

    async def report(self, report: Report | Statement) -> None:
        await self._publish(self._keys.report_channel, report.to_dict())

    async def totals(self, sums: Sums) -> None:
        await self._publish(self._keys.totals_channel, sums.to_dict())

    async def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        names = {
            {
                "beat": self._keys.beat_channel,
                "report": self._keys.report_channel,
                "plan": self._keys.plan_channel,
                "totals": self._keys.totals_channel,
            }[kind]: kind
            for kind in kinds
        }
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(*names)
            heard_s, asked = time.monotonic(), False
            while True:
                message = await pubsub.get_message(timeout=QUIET_S)
                quiet_s = time.monotonic() - heard_s
                if self._redis.finder.stale(pubsub.connection):  # what others publish, they publish at the new primary
                    raise UnavailableError("redis: another server is the primary")
                if message is not None:
                    heard_s, asked = time.monotonic(), False
                elif quiet_s > DEAF_S:
                    raise UnavailableError("redis: a subscription does not answer")
                elif quiet_s > PING_S and not asked:
                    asked = True
                    await pubsub.ping()
                if message is None or message["type"] == "pong":
                    yield None
                else:
                    yield read_message(names[message["channel"]], json.loads(message["data"]))
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    # ---- plan

    async def begin_term(self) -> Term:
        term, epoch, text = await run_one(self._redis, "begin_term", [self._keys.plan, self._keys.nil], [])
        return Term(int(term), Plan.from_dict(json.loads(text)) if text else Plan(epoch=int(epoch)))

    async def publish(self, plan: Plan, term: int) -> None:
        k = self._keys
        text = json.dumps(plan.to_dict(), separators=(",", ":"))
        reply = await run_one(
            self._redis,
            "publish_plan",
            [k.plan, k.plan_history, k.nil],
            [term, plan.epoch, text, k.plan_channel, PLANS_KEPT],
        )
        if reply == "STALE":
            raise StaleTermError
        if reply == "OLD":
            raise UnavailableError("a later plan is in force")

    async def plan(self) -> Plan | None:
        text = await ask(self._redis, "HGET", self._keys.plan, "plan")
        return Plan.from_dict(json.loads(text)) if text else None

    async def plan_history(self, limit: int = 100) -> list[JsonObject]:
        return [
            json.loads(text) for text in await self._read(self._redis.lrange(self._keys.plan_history, 0, limit - 1))
        ]

    async def overrides(self) -> dict[str, Override]:
        rows = _mapping(await ask(self._redis, "HGETALL", self._keys.overrides))
        return {vendor: Override.from_dict(json.loads(text)) for vendor, text in rows.items()}

    async def set_override(self, vendor: str, override: Override | None) -> None:
        text = "" if override is None else json.dumps(asdict(override), separators=(",", ":"))
        await run_one(self._redis, "override", [self._keys.overrides, self._keys.nil], [vendor, text])

    async def weigh(self, weights: Mapping[str, int]) -> None:
        """Set the weights of tenants.

        A tenant that is not in `weights` gets 1. Nothing is written if nothing changes.
        """
        k, wanted = self._keys, {tenant: str(weight) for tenant, weight in weights.items() if weight != 1}
        if _mapping(await ask(self._redis, "HGETALL", k.weights)) != wanted:
            arguments = [part for pair in sorted(wanted.items()) for part in pair]
            await run_one(self._redis, "weigh", [k.weights, k.nil], arguments)

    # ---- mailboxes

    async def depths(self) -> dict[str, MailboxDepth]:
        k = self._keys
        now_ms, *rows = await run_one(self._redis, "depths", [k.mailboxes], [f"{k.prefix}mb:", *PRIORITIES])
        result = {}
        for name, *lanes in sorted(rows):
            depth = result[name] = MailboxDepth(name)
            for priority, (entries, claimed, came_ms) in zip(PRIORITIES, lanes, strict=True):
                depth.queued[priority] = entries
                depth.claimed += claimed
                if came_ms:
                    depth.oldest_age_ms = max(depth.oldest_age_ms, now_ms - came_ms)
        return result

    async def waiting(self, lane: Lane) -> dict[str, int]:
        key = self._keys.lane(lane)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(key + ":owner")
        pipeline.lrange(key + ":turns", 0, -1)
        pipeline.xlen(key)
        pipeline.xpending(key, "g")
        state, turns, length, pending = await self._read(pipeline.execute(raise_on_error=False))
        if not isinstance(state, str):
            return {}
        tenants = [turn.partition(" ")[2] for turn in turns]
        for tenant in tenants:
            pipeline.xlen(f"{key}:of:{tenant}")
        found = dict(zip(tenants, await self._read(pipeline.execute()), strict=True)) if tenants else {}
        old, _, owner = state.partition(" ")
        if owner != "-":
            claimed = int(pending["pending"]) if isinstance(pending, dict) else 0
            found[owner[1:]] = max(0, length - claimed - int(old))
        return found

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]:
        k = self._keys
        found: dict[str, Backlog] = {}
        if depths is None:
            depths = await self.depths()
        lanes = [k.lane(Lane(name, priority)) for name in depths for priority in PRIORITIES]
        reply = await run_one(
            self._redis, "backlog", [k.due, k.held, k.delayed, k.clock, *lanes], [k.record_prefix, LOOKED_AT]
        )
        now_ms, delay_ms, places, heads = int(reply[0]), int(reply[1]), reply[2], iter(reply[3])
        for name, depth in depths.items():
            box = found[name] = Backlog(name)
            box.counts["queued"] = depth.total
            for head in (next(heads) for _ in PRIORITIES):
                if head:
                    box.saw("queued", max(0, now_ms - int(head[0])))
                    box.ready_ms = max(box.ready_ms, now_ms - int(head[1]))
        for place, (total, *rows) in zip(("due", "held", "delayed"), places, strict=True):
            for name, count in portions(int(total), Counter(row[0] for row in rows)).items():
                found.setdefault(name, Backlog(name)).counts[place] = count
            for name, since, score in rows:
                found[name].saw(place, max(0, now_ms - int(since)))
                if place == "due":
                    found[name].wakes(int(float(score)), now_ms, delay_ms)
        return found

    async def counts(self) -> dict[str, int]:
        k = self._keys
        pipeline = self._redis.pipeline(transaction=False)
        for key in (k.due, k.delayed, k.held, k.dead):
            pipeline.zcard(key)
        return dict(zip(("due", "delayed", "held", "dead"), await self._read(pipeline.execute()), strict=True))

    async def now_ms(self) -> int:
        seconds, micros = await ask(self._redis, "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def memory(self) -> Memory:
        info = await self._info("memory")
        return Memory(int(info["used_memory"]), int(info["maxmemory"]))

    async def log_faults(self) -> tuple[str, ...]:
        info = await self._info("persistence")
        fields = {"rewrite": "aof_last_bgrewrite_status", "write": "aof_last_write_status"}
        return tuple(name for name, field in fields.items() if info.get(field, "ok") != "ok")

    async def ledger(self) -> Mark | None:
        life, accepted = await ask(self._redis, "HMGET", self._keys.ledger, "life", "n")
        return Mark(life, int(accepted)) if life and accepted else None

    async def lineage(self) -> Lineage | None:
        info = await self._info("replication")
        if info.get("role") != "master" or "master_replid" not in info:
            return None
        # The first byte that it did not have of the stream that it followed; -1: it has followed none since its start.
        first_missed = int(info.get("second_repl_offset", -1))
        return Lineage(
            str(info["master_replid"]),
            int(info["master_repl_offset"]),
            int(info.get("connected_slaves", 0)),
            str(info["master_replid2"]) if first_missed >= 0 else None,
            max(0, first_missed - 1),
        )

    async def _publish(self, channel: str, body: JsonObject) -> None:
        await ask(self._redis, "PUBLISH", channel, json.dumps(body, separators=(",", ":")))

    async def _info(self, section: str) -> dict[str, str]:
        """Return a section of Redis' INFO. Each value is a text."""
        lines = (line.partition(":") for line in (await ask(self._redis, "INFO", section)).splitlines())
        return {name: value for name, colon, value in lines if colon}

    async def _read(self, awaitable: Any) -> Any:
        try:
            return await awaitable
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error


def _mapping(flat: Sequence[str]) -> dict[str, str]:
    """Return a Redis hash as a dict. `flat` is the raw reply: name, value, name, value and so on."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _incarnation(text: str) -> Incarnation:
    """Return the incarnation that `text` describes. Every text is accepted, and what is missing in it becomes 0 or "".

    No text is refused, because an incarnation is live even if its process is not known.
    """
    renewed, pid, node = _PROCESS.fullmatch(text).groups()  # type: ignore[union-attr]  # it matches everything
    return Incarnation(int(renewed or 0), int(pid or 0), node)
