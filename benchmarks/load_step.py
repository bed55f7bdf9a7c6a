"""Measures the wait of a checkout when the load steps up sixfold, with pools that may grow and with fixed pools.

    python -m benchmarks.load_step [--rounds 3] [--rate 700]

Posts 116 triggers a second for 15 s, then 700 for 60 s, open-loop. Latency counts from the due time. No trigger is
tried twice, and a refused trigger counts as 15 s. Between the two rates the client needs a second or two to prepare the
requests of the step, so that the step begins with new connections.

In each round the load is posted twice, each time to a fresh installation. One has the configuration as shipped. In the
other, every pool is fixed at its smallest size. The one that goes first alternates. Prints accept percentiles over the
whole step and over its second half, and the number of actors at the end, as medians of the rounds. The ratio of a round
is its accept p99 as shipped ÷ pinned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.whole_service import FIXED, bodies, drained, losses, running, vendor_actors
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, first_try, percentile, post_steadily, waited_ms

LOW, HIGH = 116.0, 700.0
"""The rates before and during the step, in triggers a second. A slow machine cannot carry 700: `--rate` changes it."""
BEFORE_S, STEP_S = 15.0, 60.0

VARIANTS: Mapping[str, Mapping[str, object] | None] = {"as shipped": None, "pinned": FIXED}


async def _post(api: str, rates: tuple[float, float], seconds: tuple[float, float]) -> list[list[Posted]]:
    """Post the load before the step, then the load of the step. Return the posted triggers as two lists, one for each
    part.
    """
    (low, high), (before_s, step_s) = rates, seconds
    first = bodies(int(low * before_s))
    second = bodies(int(high * step_s), len(first))
    return [await post_steadily(api, found, rate, give_up_s=0.0) for found, rate in ((first, low), (second, high))]


def figures(before: list[Posted], step: list[Posted]) -> dict[str, float]:
    found: dict[str, float] = {}
    half = [p for p in step if p.due_s >= (step[0].due_s + step[-1].due_s) / 2]
    for name, posted in (("before", before), ("step", step), ("second_half", half)):
        waited = waited_ms(posted)
        found |= {f"{name}_p50_ms": percentile(waited, 0.5), f"{name}_p99_ms": percentile(waited, 0.99)}
    found["first_try"] = first_try(step)
    return {name: round(value, 4) for name, value in found.items()}


def measure(service: Service, rates: tuple[float, float], seconds: tuple[float, float]) -> dict[str, Any]:
    before, step = uvloop.run(_post(service.api, rates, seconds))
    actors = vendor_actors(service)
    intake = len(service.pids("ServeReplica:intake"))
    verdict = drained(service, [*before, *step])
    plans = [entry["reason"] for entry in service.get("/v1/plan?limit=20")["history"]]
    late_s = max(verdict.delivered_at.values(), default=time.time()) - step[-1].due_s
    return {
        **figures(before, step),
        "vendor_actors": actors,
        "intake_replicas": intake,
        "late_s": round(late_s, 2),
        **losses(service, verdict),
        "plans": plans,
    }


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=HIGH, show_default=True, help="triggers a second of the step")
@results.options
def main(*, rounds: int, rate: float, quick: bool, results_: Path | None) -> None:
    rates, seconds = ((20.0, 50.0), (1.0, 2.0)) if quick else ((LOW, rate), (BEFORE_S, STEP_S))
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for number in range(1 if quick else rounds):
        for name in sorted(VARIANTS, reverse=number % 2 == 1):
            with running(VARIANTS[name]) as (service, _):
                rows[name].append(measure(service, rates, seconds))
            show(name, rows[name][-1])
    ratios = [one["step_p99_ms"] / other["step_p99_ms"] for one, other in zip(*rows.values(), strict=True)]
    ratio = results.spread(ratios)
    figures = {"rate_per_s": rates[1], **{name: spread(found) for name, found in rows.items()}, "p99_ratio": ratio}
    click.echo(f"accept p99 as shipped ÷ pinned: {ratio['median']:.2f}")
    results.report("load_step", figures, results_, quick)
    results.convict([row for found in rows.values() for row in found])


def spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the spread of each number of the rounds. `rounds` has the rounds themselves, with their plans."""
    numbers = [{name: value for name, value in row.items() if name != "plans"} for row in rows]
    return {**results.spreads(numbers), "rounds": list(rows)}


def show(name: str, row: Mapping[str, Any]) -> None:
    click.echo(
        f"{name}: accept p50/p99 {row['before_p50_ms']:.1f}/{row['before_p99_ms']:.1f} ms at {LOW:g}/s, "
        f"{row['step_p50_ms']:.1f}/{row['step_p99_ms']:.1f} ms over the step, p99 {row['second_half_p99_ms']:.1f} ms "
        f"in its second half, {row['first_try']:.2%} at first try, {row['vendor_actors']} vendor actors, "
        f"{row['intake_replicas']} intake, last delivery {row['late_s']:.1f} s late, lost {row['lost']}"
    )
    for reason in row["plans"]:
        click.echo(f"            plan: {reason}")


if __name__ == "__main__":
    main()
