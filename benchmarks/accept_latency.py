"""How long does a checkout wait for its 202, with everything else running?

    python -m benchmarks.accept_latency [--rate 116] [--seconds 60] [--rounds 3]

Starts the whole service with the sandbox vendors, posts triggers (SMS + e-mail each) open-loop and counts latency from
the due time. Prints accept p50, p99, p99.9, what a bare fdatasync on the same disk took meanwhile, delivery latency,
lost and duplicated, judged by what the vendors received, and the CPU time of each part per trigger. Figures are medians
of rounds in one running service.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from benchmarks import results
from benchmarks.disk import Disk
from benchmarks.processes import cpu_s, workspace
from cluster.load import Posted, percentile, post_steadily
from cluster.service import Service
from cluster.witness import ORDER, Verdict, judge

CHANNELS = {"sms-a": "sms", "sms-b": "sms", "email-a": "email", "email-b": "email"}
DRAIN_S = 30.0


def bodies(count: int, start: int = 0) -> list[tuple[str, dict[str, object]]]:
    """`count` checkouts with distinct recipients and order numbers; the order number is the idempotency key."""
    return [
        (
            f"N{n:06d}",
            {
                "event": "checkout.completed",
                "recipient": {"id": f"c{n}", "email": f"c{n}@example.com", "phone": f"+49151{10000000 + n}"},
                "data": {"order": f"N{n:06d}", "total": f"{n % 90 + 9}.90", "currency": "EUR", "name": f"Ada {n}"},
            },
        )
        for n in range(start, start + count)
    ]


def collect(service: Service) -> dict[str, list[dict[str, object]]]:
    return {vendor: service.received(vendor)["received"] for vendor in CHANNELS}


PARTS = {
    "intake": "ServeReplica:intake",
    "haproxy": "haproxy",
    "vendors": "ServeReplica:vendor-",
    "supervisor": "ServeReplica:supervisor",
}
"""Which processes make up a part: a word of their command lines. The rest of Ray is "ray", and Redis is Redis."""


def cpu_by_part(service: Service) -> dict[str, float]:
    """CPU seconds used so far by each part of the service."""
    pids = {part: set(service.pids(word)) for part, word in PARTS.items()}
    pids["haproxy"] = {pid for pid in pids["haproxy"] if pid not in pids["intake"]}
    known = set().union(*pids.values())
    pids["ray"] = set(service.pids("")) - known
    pids["redis"] = set(service.redis_pids())
    return {part: cpu_s(found) for part, found in pids.items()}


def one_round(service: Service, rate: float, seconds: float, start: int) -> dict[str, float]:
    before = cpu_by_part(service)
    with Disk(service.state.path) as disk:
        posted = asyncio.run(post_steadily(service.api, bodies(int(rate * seconds), start), rate))
    verdict = _drained(service, posted)
    used = {part: cpu - before[part] for part, cpu in cpu_by_part(service).items()}
    latency = [(p.accepted_s - p.due_s) * 1000 for p in posted if p.accepted_s is not None]
    return {
        "accepted": verdict.accepted,
        "accept_ms_p50": percentile(latency, 0.5),
        "accept_ms_p99": percentile(latency, 0.99),
        "accept_ms_p999": percentile(latency, 0.999),
        "fdatasync_ms_p50": percentile(disk.took_ms, 0.5),
        "fdatasync_ms_p99": percentile(disk.took_ms, 0.99),
        "fdatasync_ms_max": max(disk.took_ms, default=float("nan")),
        "delivery_ms_p50": percentile(verdict.delivery_s, 0.5) * 1000,
        "delivery_ms_p99": percentile(verdict.delivery_s, 0.99) * 1000,
        "delivered": verdict.delivered,
        "lost": len(verdict.lost),
        "duplicated": verdict.repeats,
        **{f"cpu_ms_per_trigger_{part}": cpu * 1000 / len(posted) for part, cpu in used.items()},
    }


@click.command(help=__doc__)
@click.option("--rate", default=116.0, show_default=True, help="triggers a second; 10 M a day is 116")
@click.option("--seconds", default=60.0, show_default=True, help="of each round")
@click.option("--rounds", default=1, show_default=True)
@results.options
def main(rate: float, seconds: float, rounds: int, quick: bool, results_: Path | None) -> None:
    if quick:
        rate, seconds = 20.0, 3.0
    with workspace() as folder:
        service = Service(folder / "state")
        try:
            ready_s = service.start()
            asyncio.run(post_steadily(service.api, bodies(100, start=900_000), 50))  # warm
            count = int(rate * seconds)
            runs = [one_round(service, rate, seconds, n * count) for n in range(rounds)]
        finally:
            service.stop()
            service.clean_up()
    figures = {
        "rate_per_s": rate,
        "triggers": count,
        "ready_s": round(ready_s, 1),
        **{name: results.spread([run[name] for run in runs]) for name in runs[0]},
    }
    for name, value in figures.items():
        shown = f"{value['median']:g}  ({value['min']:g} to {value['max']:g})" if isinstance(value, dict) else value
        click.echo(f"{name:32} {shown}")
    results.report("accept_latency", figures, results_, quick)


def _drained(service: Service, posted: list[Posted]) -> Verdict:
    """Judge when all has arrived, or after `DRAIN_S`; deliveries of other rounds are not looked at."""
    keys = {p.key for p in posted}
    until = time.monotonic() + DRAIN_S
    while True:
        received = {
            vendor: [d for d in found if (m := ORDER.search(str(d["text"]))) and m.group(1) in keys]
            for vendor, found in collect(service).items()
        }
        verdict = judge(posted, received, CHANNELS)
        if not verdict.lost or time.monotonic() > until:
            return verdict
        time.sleep(0.5)


if __name__ == "__main__":
    main()
