"""Do bytes and cost per notification grow with what is queued, what is retained and how many vendors there are?

    python -m benchmarks.growth [--backlogs 1000,100000] [--vendors 2,8,20] [--rounds 5]

Straight on the store, against a Redis as `dispatcher up` starts it: no vendor calls. A trigger means two notifications.

* memory: Redis's own count per notification while queued, and while retained after it was settled; and the append-only
  file's growth, as written (accept, claim, settle) and after a rewrite.
* backlog: with so many notifications queued beforehand, milliseconds per trigger accepted (64 in a round trip, as the
  group commit does) and per notification claimed and settled, wall time and Redis's CPU time.
* vendors: the same with the notifications spread over so many mailboxes, each drained in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.processes import cpu_s, private_redis, until, workspace
from cluster.redis_server import RedisServer
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.keys import lanes_of
from dispatcher.adapters.redis.scripts import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.life import Settle
from dispatcher.core.notification import Attempt, NewNotification, NewTrigger
from dispatcher.ports import Claims

GROUP = 64
"""Triggers in a group commit, and entries in a claim: `intake.group_commit_max`, `concurrency_max`."""

MEASURED = 40
"""Round trips of a measured stretch."""

EACH = 2
"""Notifications of a trigger."""


def trigger(n: int, vendors: list[str], now_ms: int) -> NewTrigger:
    """A checkout's SMS and e-mail; the pair of vendors moves on with each trigger."""
    sms = vendors[n * EACH % len(vendors)]
    email = vendors[(n * EACH + 1) % len(vendors)]
    return NewTrigger(
        id=f"0-{n:026d}",
        tenant="public",
        event="checkout.completed",
        body_hash=f"{n:064x}",
        accepted_ms=now_ms,
        expires_ms=now_ms + 86_400_000,
        priority="normal",
        on_unknown="resend",
        data={"order": f"N{n:08d}", "total": f"{n % 90 + 9}.90", "currency": "EUR", "name": f"Ada {n}"},
        notifications=(
            NewNotification("sms", f"+49151{10_000_000 + n}", (sms, "sms-z"), sms, "paid-sms", 1),
            NewNotification("email", f"customer-{n}@example.com", (email, "email-z"), email, "paid-email", 1),
        ),
        recipient_id=f"cust-{n}",
        locale="de-DE",
        idempotency_key=f"N{n:08d}",
    )


class Stand:
    """A store, a number of vendors with a live incarnation each, and what was measured on them."""

    def __init__(self, server: RedisServer, vendors: int) -> None:
        self._server = server
        pid = server.pid()
        assert pid is not None
        self._pid = pid
        self._connection = client(server.url, timeout_s=30.0)
        self._store = RedisStore(self._connection)
        self.vendors = [f"vendor-{n:02d}" for n in range(vendors)]
        self._me: dict[str, str] = {}
        self._numbers = itertools.count()

    async def open(self) -> None:
        await self._connection.flushall()
        control = RedisControl(self._connection)
        for vendor in self.vendors:
            self._me[vendor] = await control.register(vendor)

    async def close(self) -> None:
        await self._connection.aclose()

    # ---- doing

    async def accept(self, notifications: int) -> None:
        now_ms = int(time.time() * 1000)
        for group in _groups(notifications // EACH, GROUP):
            triggers = [trigger(next(self._numbers), self.vendors, now_ms) for _ in range(group)]
            replies = await self._store.accept(triggers)
            assert set(replies) == {"OK"}, replies

    async def deliver(self, notifications: int) -> int:
        """Claim and settle as a courier does, without a call between; vendors in turn. Answers how many it were."""
        done = 0
        for vendor in itertools.cycle(self.vendors):
            if done >= notifications:
                return done
            got = await self._store.claim(self._me[vendor], lanes_of(vendor), min(GROUP, notifications - done))
            if not got.claims and done == 0 and vendor == self.vendors[-1]:
                return done
            done += len(got.claims)
            await self._settle(vendor, got)
        return done

    async def _settle(self, vendor: str, got: Claims) -> None:
        if not got.claims:
            return
        attempt = Attempt(got.now_ms, vendor, "accepted", "accepted", 53, "SM0123456789abcdef0123456789abcdef")
        decided = [(claim, Settle(attempt, 1)) for claim in got.claims]
        assert set(await self._store.apply(self._me[vendor], decided, got.now_ms)) == {"OK"}

    # ---- measuring

    async def cost(self, work: Any, units: int) -> dict[str, float]:
        """Milliseconds per unit: wall time, and CPU time of Redis."""
        cpu, began = cpu_s([self._pid]), time.perf_counter()
        await work
        wall = time.perf_counter() - began
        return {"wall_ms": wall * 1000 / units, "redis_cpu_ms": (cpu_s([self._pid]) - cpu) * 1000 / units}

    async def stretch(self) -> dict[str, float]:
        """Accept as much as is then claimed and settled, so that the backlog stays as it is."""
        triggers = GROUP * MEASURED
        accept = await self.cost(self.accept(triggers * EACH), triggers)
        deliver = await self.cost(self.deliver(triggers * EACH), triggers * EACH)
        return {
            **{f"accept_{name}": value for name, value in accept.items()},
            **{f"deliver_{name}": value for name, value in deliver.items()},
        }

    async def memory(self) -> int:
        """Bytes of the data and its index, without buffers of clients and of the append-only file."""
        info = await self._connection.info("memory")
        return int(info["used_memory"] - info["mem_clients_normal"] - info["mem_aof_buffer"])

    async def aof(self) -> int:
        """Bytes of the append-only file."""
        return int((await self._connection.info("persistence"))["aof_current_size"])

    async def rewrite_by_itself(self, yes: bool) -> None:
        """A rewrite in the middle would hide what was written."""
        await self._connection.config_set("auto-aof-rewrite-percentage", 100 if yes else 0)

    async def rewrite(self) -> int:
        """Bytes of the append-only file after a rewrite."""
        await self._connection.bgrewriteaof()
        while True:
            await asyncio.sleep(0.1)
            info = await self._connection.info("persistence")
            if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
                return int(info["aof_current_size"])


def _groups(count: int, size: int) -> Iterator[int]:
    for first in range(0, count, size):
        yield min(size, count - first)


async def bytes_each(server: RedisServer, notifications: int) -> dict[str, float]:
    """Bytes per notification: queued, retained, written to disk, kept on disk."""
    stand = Stand(server, 2)
    await stand.open()
    await stand.rewrite_by_itself(False)
    empty, empty_aof = await stand.memory(), await stand.rewrite()
    began_aof = await stand.aof()
    await stand.accept(notifications)
    queued, accepted_aof = await stand.memory(), await stand.aof()
    queued_disk = await stand.rewrite()
    before_aof = await stand.aof()
    done = await stand.deliver(notifications)
    assert done == notifications, done
    retained, delivered_aof = await stand.memory(), await stand.aof()
    retained_disk = await stand.rewrite()
    await stand.rewrite_by_itself(True)
    await stand.close()
    each = 1 / notifications
    return {
        "queued": (queued - empty) * each,
        "retained": (retained - empty) * each,
        "aof_written": (accepted_aof - began_aof + delivered_aof - before_aof) * each,
        "aof_kept_queued": (queued_disk - empty_aof) * each,
        "aof_kept_retained": (retained_disk - empty_aof) * each,
    }


async def costs(server: RedisServer, backlog: int, vendors: int, rounds: int) -> dict[str, Any]:
    stand = Stand(server, vendors)
    await stand.open()
    await stand.accept(backlog)
    await stand.stretch()  # warm
    runs = [await stand.stretch() for _ in range(rounds)]
    await stand.close()
    return {name: results.spread([run[name] for run in runs], 4) for name in runs[0]}


@click.command(help=__doc__)
@click.option("--backlogs", default="1000,100000,1000000", show_default=True)
@click.option("--vendors", default="2,8,20", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@results.options
def main(backlogs: str, vendors: str, rounds: int, quick: bool, results_: Path | None) -> None:
    sizes, counts = [int(text) for text in backlogs.split(",")], [int(text) for text in vendors.split(",")]
    if quick:
        sizes, counts, rounds = [200, 2000], [2, 8], 1
    with workspace() as folder, private_redis(folder, 4 << 30) as server:
        assert until(lambda: server.client().ping(), 10.0)
        figures = {
            "bytes": {str(size): uvloop.run(bytes_each(server, size)) for size in sizes},
            "backlog": {str(size): uvloop.run(costs(server, size, 2, rounds)) for size in sizes},
            "vendors": {str(count): uvloop.run(costs(server, sizes[0], count, rounds)) for count in counts},
        }
    for values in figures["bytes"].values():
        values.update({name: round(value, 1) for name, value in values.items()})
    show(figures)
    results.report("growth", figures, results_, quick)


def show(figures: dict[str, Any]) -> None:
    rows: list[list[Any]] = [["bytes per notification", *figures["bytes"]]]
    names = next(iter(figures["bytes"].values()))
    rows += [[name, *(f"{values[name]:.0f}" for values in figures["bytes"].values())] for name in names]
    results.table(rows)
    for heading, unit in (("backlog", "queued"), ("vendors", "vendors")):
        click.echo()
        rows = [[f"ms, by {heading}", *(f"{size} {unit}" for size in figures[heading])]]
        for name in next(iter(figures[heading].values())):
            rows.append([name, *(f"{values[name]['median']:.4f}" for values in figures[heading].values())])
        results.table(rows)
    last = list(figures["backlog"].values())
    click.echo()
    for name in last[0]:
        click.echo(f"{name}: × {last[-1][name]['median'] / last[0][name]['median']:.2f} from least to most backlog")


if __name__ == "__main__":
    main()
