"""Defines `World`, on which the contract tests run: a store, its control channel and its views, on Redis or in
memory.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter
from dispatcher.core.life.decide import Dead, Drop, Hold, Move, Retry, Settle
from dispatcher.core.life.notification import Attempt, Claim, Lane, NewNotification, NewTrigger, Trail
from dispatcher.core.plan.sharing import Share
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.ports import STORED, AcceptReply, AcceptResult, Applied, Withdrawal, WithdrawResult

DAY_MS = 86_400_000
RETENTION_MS = 60_000
_ids = itertools.count(1)

REPLAYED, CONFLICT = AcceptReply(AcceptResult.REPLAYED), AcceptReply(AcceptResult.CONFLICT)
FULL, FAILED = AcceptReply(AcceptResult.FULL), AcceptReply(AcceptResult.ERROR)
CAPPED = AcceptReply(AcceptResult.STORED, (0,))
"""The reply for a trigger that was stored while a cap of its recipient suppressed the first notification."""
WITHDRAWN, CLAIMED = Withdrawal(WithdrawResult.DONE), Withdrawal(WithdrawResult.CLAIMED)


@dataclass
class World:
    """One implementation of the ports `store` and `control`, with the `views` that people see.

    On Redis and in memory, a world must give the same answers.
    """

    store: Any
    control: Any
    views: Any

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def actor(self, vendor: str = "a") -> str:
        me: str = await self.control.register(vendor)
        return me

    async def bury(self, *incarnations: str) -> None:
        term, _ = await self.control.begin_term()
        await self.control.bury(dict.fromkeys(incarnations, 0), term)

    async def queued(self, count: int = 1, **changes: Any) -> list[str]:
        """Accept `count` triggers of one notification each. Return the notification ids."""
        triggers = [trigger(**changes) for _ in range(count)]
        assert await self.store.accept(triggers) == [STORED] * count
        return [f"{t.id}.0" for t in triggers]

    async def claimed(self, me: str, count: int = 1, **changes: Any) -> list[Claim]:
        """Accept `count` triggers of one notification each and claim them for `me`. Return the claims."""
        await self.queued(count, **changes)
        claims: list[Claim] = (await self.store.claim(me, lanes("a"), count)).claims
        assert len(claims) == count
        return claims

    async def letters(self, wanted: DeadLetterFilter | None = None) -> list[DeadLetter]:
        """Return the dead letters that match, the oldest first."""
        page = await self.views.dead_page(wanted or DeadLetterFilter(), None, 10_000)
        found: list[DeadLetter] = page.letters
        return found[: wanted.limit] if wanted else found

    async def died(self, me: str, times_ms: Sequence[int], **changes: Any) -> list[str]:
        """Make one dead letter for each time in `times_ms`, and return the ids of the letters."""
        claims = await self.claimed(me, len(times_ms), **changes)
        for claim, at_ms in zip(claims, times_ms, strict=True):
            assert await self.store.apply(me, [(claim, dead())], at_ms) == [Applied.DONE]
        return [claim.notification.id for claim in claims]

    async def state(self, nid: str) -> str:
        view = await self.views.trigger(nid.rpartition(".")[0])
        found: str = view.notifications[int(nid.rpartition(".")[2])].state
        return found


def lanes(*mailboxes: str) -> list[Lane]:
    return [Lane(mailbox, priority) for priority in ("high", "normal", "bulk") for mailbox in mailboxes]


def trigger(vendor: str = "a", chain: tuple[str, ...] = ("a", "b"), channels: int = 1, **changes: Any) -> NewTrigger:
    """Return a trigger with `channels` notifications, all for the mailbox of `vendor`. `changes` may set any field."""
    now_ms = time.time_ns() // 1_000_000
    fields: dict[str, Any] = {
        "id": f"0-t{next(_ids)}",
        "tenant": "shop",
        "event": "checkout.completed",
        "body_hash": "h1",
        "accepted_ms": now_ms,
        "expires_ms": now_ms + DAY_MS,
        "priority": "normal",
        "on_unknown": "resend",
        "data": {"order": "1234", "name": "Ädä"},
        "notifications": tuple(
            NewNotification("sms", f"+4915112345{n:03}", chain, vendor, "receipt", 3) for n in range(channels)
        ),
    }
    return NewTrigger(**{**fields, **changes})


def attempt(vendor: str = "a", outcome: str = "accepted", message_id: str | None = "v-1") -> Attempt:
    return Attempt(1_700_000_000_000, vendor, outcome, outcome, 12, message_id)


def settle(n: int = 1) -> Settle:
    return Settle(attempt(), n)


def dead(reason: str = "rejected") -> Dead:
    return Dead(reason, attempt(outcome="rejected", message_id=None), 1)


def move(to: str = "b", tried: tuple[str, ...] = ("a",), epoch: int = 0) -> Move:
    return Move(to, Trail(tried), attempt(outcome="failed", message_id=None), 1, epoch)


def retry(wait_ms: int, tried: tuple[str, ...] = ()) -> Retry:
    return Retry(wait_ms, Trail(tried), attempt(outcome="failed", message_id=None), 1)


def hold(wait_ms: int) -> Hold:
    return Hold(wait_ms, attempt(outcome="unknown", message_id=None), 1)


ENDINGS = {
    "settle": settle(),
    "dead": dead(),
    "move": move(),
    "retry": retry(1),
    "hold": hold(1),
    "drop": Drop("orphan"),
}


def plan(epoch: int, **changes: Any) -> Plan:
    vendors = {
        "a": VendorPlan("a", "closed", True, ("a", "b"), None, {"a/1": Share(7.5, 12.5)}, 2, None, ""),
        "b": VendorPlan("b", "half_open", False, ("b",), "b/7", None, 1, "open", "Störung"),
    }
    values = {"epoch": epoch, "at_ms": 5, "vendors": vendors, "undrained": {"c": "removed"}, "reason": "t", **changes}
    return Plan(**values)


@contextlib.asynccontextmanager
async def full(connection: redis.asyncio.Redis) -> AsyncIterator[None]:
    """Limit Redis's memory inside the `with` block to less than it already uses."""
    await connection.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await connection.config_set("maxmemory", "256mb")
