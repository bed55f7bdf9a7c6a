"""What do more vendor actors and more intake replicas bring, and what do they cost?

    python -m benchmarks.scaling [--seconds 10]

For 1, 2 and 4 actors of the first SMS vendor: its mailbox is filled while an operator holds the vendor back, then the
notifications a second to drain it, and the CPU time of each. For 1, 2 and 4 intake replicas: triggers a second accepted
from 64 clients that post one after the other, and CPU time per trigger, e-mail and SMS vendors held back. Everything
shares this machine's cores, so on two of them more replicas can hardly be faster; what they cost is the point.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from benchmarks import results
from benchmarks.processes import until
from benchmarks.whole_service import CpuMeter, bodies, hold_all, override, running
from cluster.load import post_steadily
from cluster.service import Service

SIZES = (1, 2, 4)
CLIENTS = 64
FILL_PER_S = 250.0


def drain(actors: int, count: int) -> dict[str, float]:
    """Notifications a second, and CPU ms of each, to work off a backlog of one vendor."""
    pool = {"replicas_min": actors, "replicas_max": actors, "concurrency_min": 64}
    with running({"vendors": {"sms-a": pool}}) as (service, _):
        hold_all(service)
        messages = [(key, body | {"notifications": [SMS]}) for key, body in bodies(count)]
        uvloop.run(post_steadily(service.api, messages, FILL_PER_S))
        meter, done = CpuMeter(service), _attempts(service)
        override(service, "sms-a", "auto")
        until(lambda: _attempts(service) > done, 20.0, every_s=0.01)
        began = time.monotonic()
        until(lambda: _attempts(service) - done >= count, 120.0, every_s=0.02)
        took_s = time.monotonic() - began
        used_s = sum(meter.read().values())
        return {"per_s": count / took_s, "cpu_ms": used_s * 1000 / count}


SMS = {"channel": "sms", "content": {"text": "Your order is on its way."}}


def _attempts(service: Service) -> int:
    with urllib.request.urlopen(f"{service.sandbox}/_sandbox/sms-a/received", timeout=5) as answer:
        return int(json.load(answer)["accepted"])


def accept(replicas: int, seconds: float) -> dict[str, float]:
    """Triggers a second accepted from clients that wait for each answer, and CPU ms of each."""
    with running({"intake": {"replicas_min": replicas, "replicas_max": replicas}}) as (service, _):
        hold_all(service)
        meter = CpuMeter(service)
        count = uvloop.run(_hammer(service, seconds))
        used = meter.read()
        return {
            "per_s": count / seconds,
            "cpu_ms": sum(used.values()) * 1000 / count,
            "intake_cpu_ms": used["intake"] * 1000 / count,
        }


async def _hammer(service: Service, seconds: float) -> int:
    until_s, todo, done = time.monotonic() + seconds, iter(bodies(200_000)), 0
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

        async def client() -> None:
            nonlocal done
            while time.monotonic() < until_s:
                key, body = next(todo)
                data, headers = json.dumps(body).encode(), {"Idempotency-Key": key}
                async with session.post(f"{service.api}/v1/triggers", data=data, headers=headers) as answer:
                    done += answer.status == 202

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return done


@click.command(help=__doc__)
@click.option("--size", "sizes", multiple=True, type=int, default=SIZES, show_default=True, help="actors, replicas")
@click.option("--seconds", default=10.0, show_default=True, help="of accepting")
@click.option("--count", default=3000, show_default=True, help="notifications to drain")
@results.options
def main(sizes: tuple[int, ...], seconds: float, count: int, quick: bool, results_: Path | None) -> None:
    if quick:
        sizes, seconds, count = (1,), 2.0, 100
    figures: dict[str, Any] = {"drain": {}, "accept": {}}
    for size in sizes:
        figures["drain"][str(size)] = {name: round(value, 3) for name, value in drain(size, count).items()}
        figures["accept"][str(size)] = {name: round(value, 3) for name, value in accept(size, seconds).items()}
    for what, unit in (("drain", "vendor actors, notifications"), ("accept", "intake replicas, triggers")):
        rows = figures[what]
        names = list(next(iter(rows.values())))
        results.table([[unit, *names], *([size, *(row[name] for name in names)] for size, row in rows.items())])
    results.report("scaling", figures, results_, quick)


if __name__ == "__main__":
    main()
