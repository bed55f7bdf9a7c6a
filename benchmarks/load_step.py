"""Measures the wait of a checkout when the load steps up sixfold, with pools that may grow and with fixed pools.

    python -m benchmarks.load_step

Posts 116 triggers a second for 15 s, then 700 for 60 s, open-loop. Latency counts from the due time. No trigger is
tried twice, and a refused trigger counts as 15 s. The load is posted to two fresh installations, one after the other.
The first has the configuration as shipped, so its pools may grow. In the second, every pool is fixed at its smallest
size. Prints accept percentiles over the whole step and over its second half, and the number of actors at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.whole_service import FIXED, bodies, drained, losses, running, vendors
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, percentile, post_steadily

LOW, HIGH = 116.0, 700.0
BEFORE_S, STEP_S = 15.0, 60.0
REFUSED_MS = 15_000.0

VARIANTS: Mapping[str, Mapping[str, object] | None] = {"as shipped": None, "pinned": FIXED}


async def _post(api: str, rates: tuple[float, float], seconds: tuple[float, float]) -> list[list[Posted]]:
    """Post the load before the step, then the load of the step. Return the posted triggers as two lists, one for each
    part.
    """
    (low, high), (before_s, step_s) = rates, seconds
    first = bodies(int(low * before_s))
    second = bodies(int(high * step_s), len(first))
    return [await post_steadily(api, found, rate, give_up_s=0.0) for found, rate in ((first, low), (second, high))]


def waited_ms(posted: list[Posted]) -> list[float]:
    """Return the milliseconds from due time to 202 of each trigger. A trigger that was not accepted counts as 15 s."""
    return [REFUSED_MS if p.accept_ms is None else p.accept_ms for p in posted]


def figures(before: list[Posted], step: list[Posted]) -> dict[str, float]:
    found: dict[str, float] = {}
    half = [p for p in step if p.due_s >= (step[0].due_s + step[-1].due_s) / 2]
    for name, posted in (("before", before), ("step", step), ("second_half", half)):
        waited = waited_ms(posted)
        found |= {f"{name}_p50_ms": percentile(waited, 0.5), f"{name}_p99_ms": percentile(waited, 0.99)}
    found["first_try"] = sum(p.accepted_s is not None for p in step) / len(step)
    return {name: round(value, 4) for name, value in found.items()}


def measure(service: Service, rates: tuple[float, float], seconds: tuple[float, float]) -> dict[str, Any]:
    before, step = uvloop.run(_post(service.api, rates, seconds))
    actors = sum(len(vendor["breaker"]) for vendor in vendors(service).values())
    intake = len(service.pids("ServeReplica:intake"))
    plans = [entry["reason"] for entry in service.get("/v1/plan?limit=20")["history"]]
    verdict = drained(service, [*before, *step])
    late_s = max(verdict.delivered_at.values(), default=time.time()) - step[-1].due_s
    return {
        **figures(before, step),
        "vendor_actors": actors,
        "intake_replicas": intake,
        "late_s": round(late_s, 2),
        **losses(service, verdict),
        "plans": plans,
    }


@click.command()
@results.options
def main(quick: bool, results_: Path | None) -> None:
    rates, seconds = ((20.0, 50.0), (1.0, 2.0)) if quick else ((LOW, HIGH), (BEFORE_S, STEP_S))
    found: dict[str, Any] = {}
    for name, changes in VARIANTS.items():
        with running(changes) as (service, _):
            found[name] = measure(service, rates, seconds)
        click.echo(
            f"{name:11} accept p50 {found[name]['step_p50_ms']:.1f} ms, p99 {found[name]['step_p99_ms']:.1f} ms, "
            f"second half p99 {found[name]['second_half_p99_ms']:.1f} ms, first try {found[name]['first_try']:.2%}, "
            f"{found[name]['vendor_actors']} vendor actors, {found[name]['intake_replicas']} intake, "
            f"last delivery {found[name]['late_s']:.1f} s late, lost {found[name]['lost']}"
        )
        for reason in found[name]["plans"]:
            click.echo(f"            plan: {reason}")
    ratio = found["as shipped"]["step_p99_ms"] / found["pinned"]["step_p99_ms"]
    click.echo(f"accept p99 as shipped ÷ pinned: {ratio:.2f}")
    results.report("load_step", {**found, "p99_ratio": round(ratio, 3)}, results_, quick)


if __name__ == "__main__":
    main()
