"""Measures whether bytes and cost per notification grow with the backlog, the kept records or the number of vendors.

    python -m benchmarks.growth [--backlogs 1000,100000,1000000] [--retained 0,1000000] [--vendors 2,8,20] [--rounds 15]

Works directly on the store, without vendor calls. Each size has a Redis of its own, as `dispatcher up` starts it. A
trigger has two notifications. Large stores are filled with copies of what the store wrote (`benchmarks/filling.py`).

* bytes: how many bytes of Redis's memory a notification takes while it is queued, and while it is retained after it
  was settled. For all but the largest sizes, the growth of the append-only file per notification is measured too: as
  Redis writes it (accept, claim, settle), and after Redis has rewritten the file.
* backlog: the cost while many notifications are already queued.
* retained: the cost while many finished notifications are already kept.
* vendors: the cost while the notifications are spread over several mailboxes that are drained in turn.

A cost is the wall time and Redis's CPU time, in milliseconds. It is measured for each accepted trigger (64 triggers in
one round trip, like the group commit), and for each notification that is claimed and settled.

Each round measures all sizes of one of these questions, so that a noisy minute affects all sizes. Each cost should be
at most 10 % above its value at the cheapest size. The output names each cost that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import filling, results
from benchmarks.processes import cpu_s, private_redis, until, workspace
from benchmarks.triggers import TRIGGER_ID, checkout
from cluster.local.redis_server import RedisServer
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.keys import lanes_of
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import Attempt, Lane, NewNotification, NewTrigger
from dispatcher.ports import STORED, Applied, Claims

GROUP = 64
"""The number of triggers in a group commit and of entries in a claim: `intake.group_commit_max`, `concurrency_max`."""

MEASURED = 40
"""The number of round trips in one measurement."""

EACH = 2
"""The number of notifications of one trigger."""

COPIED_FROM = 10_000
"""A store with more notifications than this is filled by copying."""

WITHIN = 1.10
QUEUED_MAX, RETAINED_MAX = 1024, 600
"""The most bytes in Redis for a queued and for a retained notification."""

FIRST_COPY = 10_000_000
MEMORY_MAX = 4 << 30
WRITTEN_MAX = 100_000
"""Up to this number of notifications, every byte is measured by really accepting and settling them."""


def trigger(n: int, vendors: Sequence[str], now_ms: int) -> NewTrigger:
    """Return a checkout with an SMS and an e-mail. Consecutive numbers `n` use consecutive pairs of `vendors`."""
    sms, email = vendors_of(n, vendors)
    return checkout(
        n,
        now_ms,
        NewNotification("sms", f"+49151{10_000_000 + n}", (sms, "sms-z"), sms, "paid-sms", 1),
        NewNotification("email", f"customer-{n:08d}@example.com", (email, "email-z"), email, "paid-email", 1),
        id=TRIGGER_ID % n,
        recipient_id=f"cust-{n:08d}",
        locale="de-DE",
    )


def vendors_of(n: int, vendors: Sequence[str]) -> tuple[str, str]:
    return vendors[n * EACH % len(vendors)], vendors[(n * EACH + 1) % len(vendors)]


class Stand:
    """One store with several vendors, each with a live incarnation. Its methods fill it and measure it."""

    def __init__(self, server: RedisServer, vendors: int) -> None:
        pid = server.pid()
        assert pid is not None
        self._pid = pid
        self._connection = client(server.url, timeout_s=60.0)
        self._store = RedisStore(self._connection)
        self.vendors = [f"vendor-{n:02d}" for n in range(vendors)]
        self._me: dict[str, str] = {}
        self._numbers, self._copies = itertools.count(), itertools.count(FIRST_COPY)

    async def open(self) -> None:
        await self._connection.flushall()
        await self._connection.config_set("auto-aof-rewrite-percentage", 0)  # a rewrite would disturb a measurement
        control = RedisControl(self._connection)
        for vendor in self.vendors:
            self._me[vendor] = await control.register(vendor)

    async def close(self) -> None:
        await self._connection.aclose()

    # ---- filling

    async def queue(self, notifications: int) -> None:
        """Queue this many more notifications, spread evenly over the vendors' mailboxes."""
        if notifications <= COPIED_FROM:
            await self.accept(notifications)
            return
        pairs = len(self.vendors) // EACH
        await self.accept(pairs * EACH)
        count, first = notifications // EACH - pairs, next(self._numbers)  # that number is not used
        for n in range(pairs):
            lanes = [Lane(vendor, "normal") for vendor in vendors_of(n, self.vendors)]
            await self._copy(TRIGGER_ID % (first - pairs + n), lanes, count // pairs + (n < count % pairs))

    async def retain(self, notifications: int) -> None:
        """Add this many finished notifications that the store keeps."""
        if not notifications:
            return
        first = next(self._numbers) + 1
        await self.accept(EACH)
        assert await self.deliver(EACH) == EACH
        await self._copy(TRIGGER_ID % first, (), notifications // EACH - 1)

    async def _copy(self, trigger_id: str, lanes: Sequence[Lane], count: int) -> None:
        await filling.copy(self._connection, trigger_id, lanes, next(self._copies), count=count, form=TRIGGER_ID)
        for _ in range(count - 1):
            next(self._copies)

    # ---- doing

    async def accept(self, notifications: int) -> None:
        now_ms = int(time.time() * 1000)
        for group in _groups(notifications // EACH, GROUP):
            triggers = [trigger(next(self._numbers), self.vendors, now_ms) for _ in range(group)]
            replies = await self._store.accept(triggers)
            assert set(replies) == {STORED}, replies

    async def deliver(self, notifications: int) -> int:
        """Claim and settle notifications as a courier does, without calling a vendor. The mailboxes are drained in
        turn.

        Return how many notifications were settled. This is less than `notifications` if the mailboxes got empty.
        """
        done = idle = 0
        for vendor in itertools.cycle(self.vendors):
            if done >= notifications or idle > len(self.vendors):
                return done
            got = await self._store.claim(self._me[vendor], lanes_of(vendor), min(GROUP, notifications - done))
            assert not got.orphans, got.orphans
            idle = 0 if got.claims else idle + 1
            done += len(got.claims)
            await self._settle(vendor, got)
        return done

    async def _settle(self, vendor: str, got: Claims) -> None:
        if not got.claims:
            return
        attempt = Attempt(got.now_ms, vendor, "accepted", "accepted", 53, "SM0123456789abcdef0123456789abcdef")
        decided = [(claim, Settle(attempt, 1)) for claim in got.claims]
        assert set(await self._store.apply(self._me[vendor], decided, got.now_ms)) == {Applied.DONE}

    # ---- measuring

    async def cost(self, work: Any, units: int) -> dict[str, float]:
        """Await `work` and return the milliseconds per unit, as wall time and as CPU time of Redis."""
        cpu, began = cpu_s([self._pid]), time.perf_counter()
        await work
        wall = time.perf_counter() - began
        return {"wall_ms": wall * 1000 / units, "redis_cpu_ms": (cpu_s([self._pid]) - cpu) * 1000 / units}

    async def stretch(self, trips: int = MEASURED) -> dict[str, float]:
        """Accept some triggers, then claim and settle as many notifications as these triggers have. Return what that
        costs.

        `trips` is the number of round trips in which the triggers are accepted. The costs of accepting are per trigger,
        and the costs of delivering are per notification. Afterwards the backlog is as large as before.
        """
        triggers = GROUP * trips
        accept = await self.cost(self.accept(triggers * EACH), triggers)
        deliver = await self.cost(self.deliver(triggers * EACH), triggers * EACH)
        return {
            **{f"accept_{name}": value for name, value in accept.items()},
            **{f"deliver_{name}": value for name, value in deliver.items()},
        }

    async def memory(self) -> int:
        """Return the bytes of the data and its index, without the buffers of clients and of the append-only file."""
        info = await self._connection.info("memory")
        return int(info["used_memory"] - info["mem_clients_normal"] - info["mem_aof_buffer"])

    async def aof(self) -> int:
        """Return the size of the append-only file, in bytes."""
        return int((await self._connection.info("persistence"))["aof_current_size"])

    async def rewrite(self) -> int:
        """Rewrite the append-only file and return its new size, in bytes."""
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
    """Return how many bytes one notification takes, by the name of the place.

    One trigger is accepted and delivered first, as the scripts that Redis then keeps are no part of a notification.
    `queued` and `retained` are bytes of memory, while it waits and after it has ended. `aof_written` is what the
    append-only file grew by. The sizes of that file after a rewrite have names that begin with `aof_kept`.
    """
    stand = Stand(server, 2)
    await stand.open()
    await stand.accept(EACH)
    await stand.deliver(EACH)
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
    await stand.close()
    found = {
        "queued": queued - empty,
        "retained": retained - empty,
        "aof_written": accepted_aof - began_aof + delivered_aof - before_aof,
        "aof_kept_queued": queued_disk - empty_aof,
        "aof_kept_retained": retained_disk - empty_aof,
    }
    return {name: round(size / notifications, 1) for name, size in found.items()}


Fill = Callable[[Stand, int], Awaitable[None]]


async def nothing(stand: Stand, size: int) -> None:
    """Fill nothing into the store. `costs` gets this function for a question whose sizes are not numbers of
    notifications, but for example of vendors.
    """


async def costs(
    stands: Mapping[int, Stand], fill: Fill, queued: int, rounds: int, *, trips: int
) -> tuple[dict[str, dict[str, results.Spread]], dict[int, float]]:
    """Fill each stand to its size, queue `queued` more notifications in its mailboxes, and measure it.

    In each round, one stand is measured after another. Return two dicts by size: the costs, and the bytes of Redis
    memory that each notification of the filling has used.
    """
    filled: dict[int, float] = {}
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in stands}
    for size, stand in stands.items():
        await stand.open()
        empty = await stand.memory()
        await fill(stand, size)
        filled[size] = round((await stand.memory() - empty) / size, 1) if size else 0.0
        await stand.queue(queued)
        await stand.stretch(trips)  # warm
    for _ in range(rounds):
        for size, stand in stands.items():
            runs[size].append(await stand.stretch(trips))
    for stand in stands.values():
        await stand.close()
    return {str(size): results.spreads(found, 4) for size, found in runs.items()}, filled


def over_least(by_size: Mapping[str, Mapping[str, results.Spread]]) -> dict[str, float]:
    """Return how much each cost grows with the size: its greatest median divided by its smallest median.

    `by_size` maps each size to the costs that were measured at this size.
    """
    names = next(iter(by_size.values()))
    medians = {name: [found[name]["median"] for found in by_size.values()] for name in names}
    return {name: round(max(values) / min(values), 3) for name, values in medians.items()}


class Servers:
    """Starts private Redis servers when they are first needed. Each question of the benchmark uses the same servers."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._servers, self._stack = folder, list[RedisServer](), contextlib.ExitStack()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, n: int) -> RedisServer:
        while n >= len(self._servers):
            folder = self._folder / str(len(self._servers))
            folder.mkdir()
            self._servers.append(self._stack.enter_context(private_redis(folder, MEMORY_MAX)))
            assert until(self._servers[-1].client().ping, 10.0)
        return self._servers[n]

    def stands(self, sizes: Sequence[int], vendors: Callable[[int], int] = lambda size: EACH) -> dict[int, Stand]:
        return {size: Stand(self.get(n), vendors(size)) for n, size in enumerate(sizes)}


async def measure(
    servers: Servers, sizes: Sequence[int], kept: Sequence[int], counts: Sequence[int], *, rounds: int, trips: int
) -> JsonObject:
    few = min(sizes)
    of_each = {size: await bytes_each(servers.get(0), size) for size in sizes if size <= WRITTEN_MAX}
    backlog, queued = await costs(servers.stands(sizes), Stand.queue, 0, rounds, trips=trips)
    retained, finished = await costs(servers.stands(kept), Stand.retain, few, rounds, trips=trips)
    vendors, _ = await costs(servers.stands(counts, lambda count: count), nothing, few, rounds, trips=trips)
    for kind, filled in (("queued", queued), ("retained", finished)):
        for size in (size for size in filled if size > WRITTEN_MAX):
            of_each.setdefault(size, {})[kind] = filled[size]
    found = {"backlog": backlog, "retained": retained, "vendors": vendors}
    return {
        "bytes": {str(size): values for size, values in of_each.items()},
        **found,
        "most_over_least": {by: over_least(by_size) for by, by_size in found.items()},
    }


def verdicts(figures: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure above its limit.

    A cost may be at most 10 % above its smallest value. A notification may take 1 KiB while it is queued, and 600 bytes
    while it is retained.
    """
    missed = [
        f"{cost} by {by}: × {ratio:.2f}, more than {WITHIN:.2f}"
        for by, ratios in figures["most_over_least"].items()
        for cost, ratio in ratios.items()
        if ratio > WITHIN
    ]
    for kind, most in (("queued", QUEUED_MAX), ("retained", RETAINED_MAX)):
        for size, values in figures["bytes"].items():
            if values.get(kind, 0) > most:
                missed.append(f"bytes {kind} of {int(size):,}: {values[kind]:.0f}, more than {most}")
    return missed


@click.command(help=__doc__)
@click.option("--backlogs", default="1000,100000,1000000", show_default=True)
@click.option("--retained", "kept", default="0,1000000", show_default=True)
@click.option("--vendors", default="2,8,20", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@results.options
def main(*, backlogs: str, kept: str, vendors: str, rounds: int, quick: bool, results_: Path | None) -> None:
    sizes, many, counts = ([int(text) for text in texts.split(",")] for texts in (backlogs, kept, vendors))
    trips = MEASURED
    if quick:
        sizes, many, counts, rounds, trips = [200, 20_000], [0, 20_000], [2, 8], 1, 8
    with workspace() as folder, Servers(folder) as servers:
        figures = uvloop.run(measure(servers, sizes, many, counts, rounds=rounds, trips=trips))
    figures["missed"] = verdicts(figures)
    show(figures)
    results.report("growth", figures, results_, quick)


def show(figures: Mapping[str, Any]) -> None:
    names = next(iter(figures["bytes"].values()))
    rows = [["bytes a notification", *(f"{int(size):,}" for size in figures["bytes"])]]
    rows += [[n, *(f"{v[n]:.0f}" if n in v else "" for v in figures["bytes"].values())] for n in names]
    results.table(rows)
    for by, unit in (("backlog", "queued"), ("retained", "retained"), ("vendors", "vendors")):
        ratios = figures["most_over_least"][by]
        rows = [[f"ms, by {by}", *(f"{int(size):,} {unit}" for size in figures[by]), "most ÷ least", ""]]
        for cost, ratio in ratios.items():
            medians = [f"{found[cost]['median']:.4f}" for found in figures[by].values()]
            rows.append([cost, *medians, f"{ratio:.2f}", "within 10 %" if ratio <= WITHIN else "MISSED"])
        click.echo()
        results.table(rows)
    click.echo()
    for line in figures["missed"] or ["every cost is within 10 % of its smallest, every size within its bound"]:
        click.echo(f"MISSED: {line}" if figures["missed"] else line)


if __name__ == "__main__":
    main()
