"""Measures whether a flood of one tenant leaves another tenant's times unchanged.

    python -m benchmarks.fair_tenants [--messages 1000000] [--rounds 3] [--seconds 60]

The service has the default configuration and the sandbox's vendors. Tenant B posts 10 checkouts a second, open-loop.
Its accept time and its delivery time (from the due time to the vendor's answer, SMS and e-mail) are measured twice.
First there is nothing else to do. Then a million notifications of tenant A wait in the same lanes and are sent as fast
as the service can.

A's notifications, half SMS and half e-mail, are put into the store directly, as copies of what the store itself wrote
(`benchmarks/filling.py`). So tenant A makes no requests, and the figures show only how the queue is shared. Redis may
use 4 GiB here, which is more than `up` gives its own Redis.

B's p99 should be at most twice its p99 without the flood. A service that stopped A would reach this too, so the number
of A's notifications that were sent meanwhile is printed as well.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import uvloop

from benchmarks import filling, results
from benchmarks.backlog import repeated
from benchmarks.processes import until
from benchmarks.triggers import TRIGGER_ID, checkout
from benchmarks.whole_service import bodies, drained, hold_all, release_all, running, vendors
from cluster.local.service import Service
from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.load import REFUSED_MS, first_try, percentile, post_steadily, waited_ms
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.life.notification import Lane, NewNotification, NewTrigger
from dispatcher.core.limits.turns import DIRECT
from dispatcher.ports import STORED

FLOOD, SMS, EMAIL = "tenant-a", ("sms-a", "sms-b"), ("email-a", "email-b")
B_PER_S = 10.0
MEMORY_MAX = 4 << 30
WITHIN = 2.0
ORDER_OF, FIRST = "N%08d", 60_000_000
EACH = 2
"""The number of notifications of one checkout."""


def flood(n: int, now_ms: int) -> NewTrigger:
    """Return one checkout of tenant A, as intake would have expanded it."""
    return checkout(
        n,
        now_ms,
        NewNotification("sms", f"+49151{10_000_000 + n}", SMS, SMS[0], "paid-sms", 1),
        NewNotification("email", f"customer-{n:08d}@example.com", EMAIL, EMAIL[0], "paid-email", 1),
        order=ORDER_OF % n,
        tenant=FLOOD,
    )


async def fill(service: Service, messages: int) -> None:
    """Queue `messages` notifications of tenant A.

    The first triggers go through the store's accept script. This makes A the owner of the backlog in both lanes: its
    entries stay in the lane, and the entries of other tenants wait in queues of their own. The remaining notifications
    are copies of the last trigger.
    """
    connection = client(f"unix://{service.state.runtime_dir() / 'redis.sock'}", timeout_s=30.0)
    try:
        await connection.config_set("maxmemory", MEMORY_MAX)
        now_ms, first = int(time.time() * 1000), DIRECT + 1
        triggers = [flood(FIRST + n, now_ms) for n in range(first)]
        assert await RedisStore(connection).accept(triggers) == [STORED] * first
        last = FIRST + first - 1
        lanes, token = [Lane(SMS[0], "normal"), Lane(EMAIL[0], "normal")], (ORDER_OF % last, ORDER_OF)
        copies = messages // EACH - first
        await filling.copy(
            connection, triggers[-1].id, lanes, FIRST + first, count=copies, form=TRIGGER_ID, token=token
        )
    finally:
        await connection.aclose()


def times_ms(service: Service, first: int, seconds: float) -> tuple[list[float], list[float], float]:
    """Return the accept times and the delivery times of tenant B, in milliseconds, and the share of first tries that
    were accepted. The times are counted from the time at which a trigger was due, and a refused trigger counts as 15 s.

    Tenant B is the tenant that shares the service with the flood of tenant A.
    """
    posted = uvloop.run(post_steadily(service.api, bodies(int(B_PER_S * seconds), first), B_PER_S, give_up_s=0.0))
    found = drained(service, posted)
    assert not found.lost, found
    channels, at = set(CHANNELS.values()), found.delivered_at
    deliveries = [
        1000 * (at[name] - p.due_s) if (name := f"{p.key}/{channel}") in at else REFUSED_MS
        for p in posted
        for channel in channels
    ]
    return waited_ms(posted), deliveries, first_try(posted)


def one_round(messages: int, seconds: float) -> dict[str, float]:
    with running() as (service, _):
        idle = times_ms(service, 0, seconds)
        hold_all(service)
        uvloop.run(fill(service, messages))
        release_all(service)
        assert until(lambda: all(v["state"] == "closed" for v in vendors(service).values()), 60.0), "no way back"
        before, began_s = _queued(service), time.monotonic()
        during = times_ms(service, 100_000, seconds)
        left, duration_s = _queued(service), time.monotonic() - began_s
        found: dict[str, float] = {"queued": before, "left": left, "flood_sent_per_s": (before - left) / duration_s}
        found["first_try"] = min(idle[2], during[2])
        for name, calm, busy in (("accept", idle[0], during[0]), ("delivery", idle[1], during[1])):
            for part in (0.5, 0.99):
                label = f"{name}_p{part * 100:.0f}"
                found[f"{label}_idle_ms"] = percentile(calm, part)
                found[f"{label}_flood_ms"] = percentile(busy, part)
            found[f"{name}_p99_ratio"] = found[f"{name}_p99_flood_ms"] / found[f"{name}_p99_idle_ms"]
        # `times_ms` asserts that all of B's messages arrived. No vendor failed, so nothing of the flood may come twice.
        return {**found, "lost": 0, "unexplained": repeated(service)}


def _queued(service: Service) -> int:
    return sum(vendor["queued"] for vendor in vendors(service).values())


def verdicts(rows: list[dict[str, float]]) -> list[str]:
    """Return a sentence for each rule that the measured rounds break.

    The first rule is that tenant B's p99 with the flood is at most twice B's p99 without the flood, in the median
    round. This rule is checked for the accept time and for the delivery time. The second rule is that tenant A's flood
    was still waiting when B's last message was sent.
    """
    figures = results.spreads(rows)
    missed = [
        f"{name} p99: × {figures[f'{name}_p99_ratio']['median']:.2f} of idle, more than {WITHIN:.1f}"
        for name in ("accept", "delivery")
        if figures[f"{name}_p99_ratio"]["median"] > WITHIN
    ]
    if min(row["left"] for row in rows) == 0:
        missed.append("the flood was over before B's last message: the figures are not of a flood")
    return missed


@click.command(help=__doc__)
@click.option("--messages", default=1_000_000, show_default=True, help="of tenant A, waiting")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="of tenant B's messages in each situation")
@results.options
def main(*, messages: int, rounds: int, seconds: float, quick: bool, results_: Path | None) -> None:
    if quick:
        messages, rounds, seconds = 400, 1, 1.0
    rows = [one_round(messages, seconds) for _ in range(rounds)]
    spreads, missed = results.spreads(rows), verdicts(rows)
    results.spread_table(spreads)
    for line in missed or [f"B's p99 is within {WITHIN:.0f} times its idle value"]:
        click.echo(f"MISSED: {line}" if missed else line)
    results.report("fair_tenants", {**spreads, "missed": missed}, results_, quick)
    results.convict(rows)


if __name__ == "__main__":
    main()
