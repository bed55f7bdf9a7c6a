"""Measures what more vendor actors and more intake replicas bring, and what they cost.

    python -m benchmarks.scaling [--seconds 6]

For 1, 2 and 4 actors of the first SMS vendor: an operator's override stops the vendor while its mailbox is filled. Then
the mailbox is drained. The figures are notifications a second, and the CPU time of a notification.

For 1, 2 and 4 intake replicas: 64 clients post one trigger after another, while overrides stop all vendors. The figures
are accepted triggers a second, and the CPU time of a trigger.

At the end all overrides end. Everything that was accepted must arrive, and nothing twice. All processes share this
machine's cores, so on two cores more replicas can hardly be faster. The interesting figure is their cost.
"""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import click
import uvloop

from benchmarks import results
from benchmarks.cpu_meter import CpuMeter
from benchmarks.processes import until
from benchmarks.whole_service import bodies, drained, hold_all, losses, override, release_all, running
from cluster.local.service import Service
from cluster.rehearsal.load import post_in_turn, post_steadily
from cluster.rehearsal.verdict import judge
from dispatcher.core.json_object import JsonObject

SIZES = (1, 2, 4)
CLIENTS, MOST = 64, 100_000
FILL_PER_S = 400.0
SETTLED_S = 0.5
"""The wait after the last call, in seconds. The last outcomes are settled within 0.1 s of the calls."""


def drain(actors: int, count: int) -> dict[str, float]:
    """Drain a backlog of one vendor with this many actors.

    Return notifications a second, and the CPU time of a notification in milliseconds.
    """
    pool = {"replicas_min": actors, "replicas_max": actors, "concurrency_min": 64}
    with running({"vendors": {"sms-a": pool}}) as (service, _):
        hold_all(service)
        messages = [(key, body | {"notifications": [_sms(key)]}) for key, body in bodies(count)]
        posted = uvloop.run(post_steadily(service.api, messages, FILL_PER_S))
        meter, done = CpuMeter(service), _attempts(service)
        override(service, "sms-a", "auto")
        until(lambda: _attempts(service) > done, 20.0, every_s=0.01)
        began, first = time.monotonic(), _attempts(service) - done
        until(lambda: _attempts(service) - done >= count, 120.0, every_s=0.02)
        duration_s = time.monotonic() - began
        time.sleep(SETTLED_S)
        used_s = sum(meter.read().values())
        received = {vendor: service.received(vendor)["received"] for vendor in ("sms-a", "sms-b")}
        verdict = judge(posted, received, {"sms-a": "sms", "sms-b": "sms"})
        return {
            "per_s": (count - first) / duration_s,
            "cpu_ms": used_s * 1000 / count,
            **_whole(losses(service, verdict)),
        }


def _sms(order: str) -> JsonObject:
    return {"channel": "sms", "content": {"text": f"Your order {order} is on its way."}}


def _whole(found: dict[str, int]) -> dict[str, float]:
    return {"lost": found["lost"], "unexplained": found["unexplained"]}


def _attempts(service: Service) -> int:
    with urllib.request.urlopen(f"{service.sandbox}/_sandbox/sms-a/received", timeout=5) as answer:
        return int(json.load(answer)["accepted"])


def accept(replicas: int, seconds: float) -> dict[str, float]:
    """Post for `seconds` with clients that wait for each answer.

    Return accepted triggers a second, and the CPU time of a trigger in milliseconds.
    """
    with running({"intake": {"replicas_min": replicas, "replicas_max": replicas}}) as (service, _):
        hold_all(service)
        meter, client_s = CpuMeter(service), time.process_time()
        posted = uvloop.run(post_in_turn(service.api, iter(bodies(MOST)), CLIENTS, seconds))
        client_s = time.process_time() - client_s
        used, count = meter.read(), sum(p.accepted_s is not None for p in posted)
        release_all(service)
        return {
            "per_s": count / seconds,
            "cpu_ms": sum(used.values()) * 1000 / count,
            "intake_cpu_ms": used["intake"] * 1000 / count,
            "client_cpu_ms": client_s * 1000 / count,
            **_whole(losses(service, drained(service, posted))),
        }


@click.command(help=__doc__)
@click.option("--size", "sizes", multiple=True, type=int, default=SIZES, show_default=True, help="actors, replicas")
@click.option("--seconds", default=6.0, show_default=True, help="of accepting")
@click.option("--count", default=8000, show_default=True, help="notifications to drain")
@results.options
def main(*, sizes: tuple[int, ...], seconds: float, count: int, quick: bool, results_: Path | None) -> None:
    if quick:
        sizes, seconds, count = (1,), 1.0, 60
    figures: dict[str, dict[str, dict[str, float]]] = {"drain": {}, "accept": {}}
    for size in sizes:
        figures["drain"][str(size)] = {name: round(value, 3) for name, value in drain(size, count).items()}
        figures["accept"][str(size)] = {name: round(value, 3) for name, value in accept(size, seconds).items()}
    for what, unit in (("drain", "vendor actors, notifications"), ("accept", "intake replicas, triggers")):
        rows = figures[what]
        names = list(next(iter(rows.values())))
        results.table([[unit, *names], *([size, *(row[name] for name in names)] for size, row in rows.items())])
    results.report("scaling", figures, results_, quick)
    results.convict([*figures["drain"].values(), *figures["accept"].values()])


if __name__ == "__main__":
    main()
