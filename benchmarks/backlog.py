"""Measures whether an urgent code passes a long bulk run, and how soon the fallback delivers from a long backlog.

    python -m benchmarks.backlog [--messages 1000000] [--rounds 5]

The first SMS vendor has a contract of 100 messages a second. Checkouts of priority `high` come at 10 a second. The
delay of their SMS, from the due time to the vendor's answer, is measured in three situations:

* there is nothing else to do;
* a bulk run waits in the same mailbox;
* the vendor fails, and its fallback drains the rest of the bulk run as fast as it can.

When the vendor begins to fail, the time from its first failure to the fallback's first delivery of a bulk message is
measured. No SMS may be received twice. The fallback's own mailbox shows that no message was copied there.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click
import uvloop

from benchmarks import filling, results
from benchmarks.processes import until
from benchmarks.triggers import TRIGGER_ID, checkout
from benchmarks.whole_service import bodies, drained, hold_all, release_all, running, vendors
from cluster.local.service import Service
from cluster.rehearsal.demo import outage_of
from cluster.rehearsal.load import percentile, post_steadily
from cluster.rehearsal.verdict import ORDER
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.life.notification import Lane, NewNotification, NewTrigger
from dispatcher.errors import DispatcherError
from dispatcher.ports import STORED

SICK, FALLBACK = "sms-a", "sms-b"
CONTRACT_PER_S = 100.0
URGENT_PER_S = 10.0
MEMORY_MAX = 4 << 30
"""Bytes that Redis may use here. `up` gives its own Redis less."""

ORDER_OF = "N%08d"
FIRST_BULK = 50_000_000
"""The first order number of the bulk run. All higher numbers belong to it too."""


def bulk(n: int, now_ms: int) -> NewTrigger:
    """Return the trigger of the SMS number `n` of the backlog, as intake would store it. Its priority is `bulk`."""
    sms = NewNotification("sms", f"+49151{10_000_000 + n}", (SICK, FALLBACK), SICK, "paid-sms", 1)
    return checkout(n, now_ms, sms, order=ORDER_OF % n, priority="bulk")


async def fill(service: Service, count: int) -> None:
    connection = client(f"unix://{service.state.runtime_dir() / 'redis.sock'}", timeout_s=30.0)
    try:
        await connection.config_set("maxmemory", MEMORY_MAX)
        trigger = bulk(FIRST_BULK, int(time.time() * 1000))
        assert await RedisStore(connection).accept([trigger]) == [STORED]
        lane, token = Lane(SICK, "bulk"), (ORDER_OF % FIRST_BULK, ORDER_OF)
        await filling.copy(
            connection, trigger.id, [lane], FIRST_BULK + 1, count=count - 1, form=TRIGGER_ID, token=token
        )
    finally:
        await connection.aclose()


def urgent_ms(service: Service, first: int, seconds: float) -> list[float]:
    """Post urgent checkouts for `seconds` and return each SMS's delay from due time to the vendor's answer, in ms.

    `first` is the first order number.
    """
    checkouts = bodies(int(URGENT_PER_S * seconds), first)
    posted = uvloop.run(
        post_steadily(service.api, [(key, {**body, "priority": "high"}) for key, body in checkouts], URGENT_PER_S)
    )
    found = drained(service, posted)
    assert not found.lost and all(p.accepted_s is not None for p in posted), (found, posted[0])
    return [1000 * (found.delivered_at[f"{p.key}/sms"] - p.due_s) for p in posted]


def failover_s(service: Service, failing_s: float) -> float:
    """Return the seconds from the sick vendor's first failure to the fallback's first delivery of a bulk message.

    Raises DispatcherError if the fallback delivers no bulk message within a minute after `failing_s` (epoch seconds).
    """
    while True:
        first_s = outage_of(service.received(SICK)["call_log"], failing_s, time.time()).first_failure_s
        arrived = [float(d["t"]) for d in service.received(FALLBACK)["received"] if _is_bulk(d["text"])]
        if first_s is not None and arrived:
            return min(arrived) - first_s
        if time.time() - failing_s > 60:
            raise DispatcherError(f"{FALLBACK} delivered nothing of the backlog within a minute")
        time.sleep(0.2)


def _is_bulk(text: str) -> bool:
    match = ORDER.search(text)
    return match is not None and int(match.group(1)[1:]) >= FIRST_BULK


def repeated(service: Service) -> int:
    times = Counter(d["text"] for vendor in (SICK, FALLBACK) for d in service.received(vendor)["received"])
    return sum(n - 1 for n in times.values())


def one_round(messages: int, seconds: float) -> dict[str, float]:
    with running({"vendors": {SICK: {"rate_per_s": CONTRACT_PER_S}}}) as (service, _):
        idle = urgent_ms(service, 0, seconds)
        hold_all(service)
        uvloop.run(fill(service, messages))
        release_all(service)
        assert until(lambda: all(v["state"] == "closed" for v in vendors(service).values()), 60.0), "no way back"
        waiting = vendors(service)[SICK]["queued"]
        during = urgent_ms(service, 100_000, seconds)
        service.fault(SICK, mode="error")
        failing_s = time.time()
        first_s = failover_s(service, failing_s)
        own = vendors(service)[FALLBACK]["lanes"].get("bulk", 0)
        draining = urgent_ms(service, 200_000, seconds)
        left = vendors(service)[SICK]["queued"]
        return {
            "queued": waiting,
            "urgent_idle_p50_ms": percentile(idle, 0.5),
            "urgent_idle_p99_ms": percentile(idle, 0.99),
            "urgent_behind_bulk_p50_ms": percentile(during, 0.5),
            "urgent_behind_bulk_p99_ms": percentile(during, 0.99),
            "urgent_while_fallback_drains_p50_ms": percentile(draining, 0.5),
            "urgent_while_fallback_drains_p99_ms": percentile(draining, 0.99),
            "fallback_first_delivery_s": first_s,
            "moved_to_the_fallbacks_mailbox": own,
            "left": left,
            "lost": 0,  # `urgent_ms` asserts it; what is left of the bulk run waits
            "unexplained": repeated(service),  # a vendor that answers 500 has not delivered
        }


@click.command(help=__doc__)
@click.option("--messages", default=1_000_000, show_default=True, help="of the bulk run")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=15.0, show_default=True, help="of urgent messages in each situation")
@results.options
def main(*, messages: int, rounds: int, seconds: float, quick: bool, results_: Path | None) -> None:
    if quick:
        messages, rounds, seconds = 2_000, 1, 1.0
    rows = [one_round(messages, seconds) for _ in range(rounds)]
    figures = results.spreads(rows)
    results.spread_table(figures)
    results.report("backlog", figures, results_, quick)
    results.convict(rows)


if __name__ == "__main__":
    main()
