"""How long does a checkout wait for its 202, with everything else running?

    python -m benchmarks.accept_latency [--rate 116 --rate 1157] [--vendors healthy --vendors hanging] [--rounds 3]

Starts the whole service with the sandbox vendors, posts triggers (SMS + e-mail each) open-loop and counts latency from
the due time. Each condition (a rate, and whether the vendors work, take every call and never answer, or are held by
an operator so that nothing is dispatched) prints accept p50, p99, p99.9, what a bare fdatasync on the same disk took
meanwhile, delivery latency, lost and duplicated, judged by what the vendors received, and the CPU time of each part per
trigger. Vendors are healed, or released, after the last post, and all that waited for them must arrive. Figures are
medians of rounds in one running service.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.disk import Disk
from benchmarks.whole_service import CpuMeter, bodies, drained, fault_all, hold_all, release_all, running
from cluster.load import percentile, post_steadily
from cluster.service import Service

RATES = (116.0, 200.0, 500.0)
"""10 M a day is 116 a second."""

STATES = ("healthy", "hanging", "held")
P99_MAX_MS = 10.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What one line of the result holds for."""

    rate: float
    vendors: str
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.rate:g}/s, vendors {self.vendors}"

    @property
    def count(self) -> int:
        return int(self.rate * self.seconds)


def one_round(service: Service, condition: Condition, start: int) -> dict[str, float]:
    if condition.vendors == "hanging":
        fault_all(service, mode="hang")
    elif condition.vendors == "held":
        hold_all(service)
    meter, client_s = CpuMeter(service), time.process_time()
    with Disk(service.state.path) as disk:
        posted = uvloop.run(post_steadily(service.api, bodies(condition.count, start), condition.rate))
    client_s = time.process_time() - client_s
    fault_all(service, mode="none")
    release_all(service)
    verdict = drained(service, posted)
    used = meter.read() | {"client": client_s}
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
        "dead_letters": len(service.get("/v1/dead-letters?limit=1000")["dead_letters"]),
        "duplicated": verdict.repeats,
        **{f"cpu_ms_per_trigger_{part}": cpu * 1000 / len(posted) for part, cpu in used.items()},
    }


@click.command(help=__doc__)
@click.option("--rate", "rates", multiple=True, type=float, default=RATES, show_default=True, help="triggers a second")
@click.option("--vendors", "vendors", multiple=True, type=click.Choice(STATES), default=STATES, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="of each round")
@click.option("--rounds", default=1, show_default=True)
@results.options
def main(
    rates: tuple[float, ...], vendors: tuple[str, ...], seconds: float, rounds: int, quick: bool, results_: Path | None
) -> None:
    if quick:
        rates, seconds = (20.0,), 3.0
    conditions = [Condition(rate, state, seconds) for rate in rates for state in vendors]
    rows: dict[str, list[dict[str, float]]] = {condition.name: [] for condition in conditions}
    with running() as (service, ready_s):
        start = 0
        for _ in range(rounds):
            for condition in conditions:  # taking turns: what the machine does meanwhile befalls all alike
                rows[condition.name].append(one_round(service, condition, start))
                start += condition.count
    measured: dict[str, dict[str, Any]] = {
        condition.name: {
            "rate_per_s": condition.rate,
            "vendors": condition.vendors,
            "triggers": condition.count,
            **{name: results.spread([run[name] for run in found]) for name in found[0]},
        }
        for condition in conditions
        for found in [rows[condition.name]]
    }
    for name, found in measured.items():
        click.echo(name)
        for figure, value in found.items():
            shown = f"{value['median']:g}  ({value['min']:g} to {value['max']:g})" if isinstance(value, dict) else value
            click.echo(f"  {figure:32} {shown}")
    ratios = decoupling(measured)
    for at, ratio in ratios.items():
        click.echo(f"accept p99 at {at}, vendors hanging ÷ healthy: {ratio:g}")
    highest = highest_within(measured, P99_MAX_MS)
    for state, rate in highest.items():
        click.echo(
            f"highest of these rates with an accept p99 of at most {P99_MAX_MS:g} ms, vendors {state}: {rate:g}/s"
        )
    figures = {
        "ready_s": round(ready_s, 1),
        "conditions": measured,
        "hanging_over_healthy": ratios,
        "highest_rate_with_p99_of_10_ms": highest,
    }
    results.report("accept_latency", figures, results_, quick)


def decoupling(conditions: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of each rate measured both ways: accept p99 with hanging vendors ÷ with healthy ones."""
    p99 = {(c["rate_per_s"], c["vendors"]): c["accept_ms_p99"]["median"] for c in conditions.values()}
    return {
        f"{rate:g}/s": round(p99[rate, "hanging"] / p99[rate, "healthy"], 2)
        for rate in sorted({rate for rate, _ in p99})
        if (rate, "hanging") in p99 and (rate, "healthy") in p99
    }


def highest_within(conditions: dict[str, dict[str, Any]], most_ms: float) -> dict[str, float]:
    """Of each state of the vendors: the highest rate measured whose accept p99 is within `most_ms`; 0: none."""
    return {
        state: max(
            (
                c["rate_per_s"]
                for c in conditions.values()
                if c["vendors"] == state and c["accept_ms_p99"]["median"] <= most_ms
            ),
            default=0.0,
        )
        for state in dict.fromkeys(c["vendors"] for c in conditions.values())
    }


if __name__ == "__main__":
    main()
