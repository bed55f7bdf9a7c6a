"""How long does a checkout wait for its 202, with everything else running?

    python -m benchmarks.accept_latency [--rate 116] [--seconds 60]

Starts the whole service with the sandbox vendors, posts triggers (SMS + e-mail each) open-loop and counts latency from
the due time. Prints accept p50, p99, p99.9, delivery latency, lost and duplicated, judged by what the vendors received.
"""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path

import click

from cluster.load import percentile, post_steadily
from cluster.service import Service
from cluster.witness import Verdict, judge

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


@click.command(help=__doc__)
@click.option("--rate", default=116.0, show_default=True, help="triggers a second; 10 M a day is 116")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="also write the figures there")
def main(rate: float, seconds: float, json_file: Path | None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="nd-bench-"))
    service = Service(folder / "state")
    try:
        ready_s = service.start()
        asyncio.run(post_steadily(service.api, bodies(100, start=900_000), 50))  # warm
        posted = asyncio.run(post_steadily(service.api, bodies(int(rate * seconds)), rate))
        verdict = _drained(service, posted)
    finally:
        service.stop()
        service.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
    latency = [(p.accepted_s - p.due_s) * 1000 for p in posted if p.accepted_s is not None]
    figures = {
        "rate_per_s": rate,
        "triggers": len(posted),
        "accepted": verdict.accepted,
        "accept_ms_p50": round(percentile(latency, 0.5), 2),
        "accept_ms_p99": round(percentile(latency, 0.99), 2),
        "accept_ms_p999": round(percentile(latency, 0.999), 2),
        "delivery_ms_p50": round(percentile(verdict.delivery_s, 0.5) * 1000, 1),
        "delivery_ms_p99": round(percentile(verdict.delivery_s, 0.99) * 1000, 1),
        "delivered": verdict.delivered,
        "lost": len(verdict.lost),
        "duplicated": verdict.repeats,
        "ready_s": round(ready_s, 1),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    for name, value in figures.items():
        click.echo(f"{name:18} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")


def _drained(service: Service, posted: list) -> Verdict:  # type: ignore[type-arg]
    until = time.monotonic() + DRAIN_S
    while True:
        received = collect(service)
        received = {v: [d for d in ds if " N9" not in str(d["text"])] for v, ds in received.items()}
        verdict = judge(posted, received, CHANNELS)
        if not verdict.lost or time.monotonic() > until:
            return verdict
        time.sleep(0.5)


if __name__ == "__main__":
    main()
