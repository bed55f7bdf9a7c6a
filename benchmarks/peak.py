"""Measures accepts in a minute at 100 million triggers a day, and at the usual rate right after it.

    python -m benchmarks.peak [--rate 1157] [--rounds 3]

Posts 1,157 triggers a second for 60 s (an SMS and an e-mail each), and then 116 a second for 30 s, to a fresh
installation as shipped. The load is open-loop, and latency counts from the due time. The second rate begins when the
first minute is over, even if triggers of that minute still have no answer. No trigger is tried twice, and a refused
trigger counts as 15 s.

Prints for the minute: accept p50 and p99, how late its last delivery was, and how many triggers a second were delivered
within the minute. This last figure is what the machine carries. Prints for the time after: the accept p99 of the first
five seconds, and from the fifth second on. Figures are medians of the rounds. A slow machine cannot carry 1,157
triggers a second: `--rate` changes it, and the results name the rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.whole_service import bodies, drained, losses, running, vendor_actors
from cluster.local.service import Service
from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.load import Posted, first_try, percentile, post_steadily, waited_ms
from cluster.rehearsal.verdict import Verdict

HIGH, LOW = 1157.0, 116.0
PEAK_S, AFTER_S, SETTLES_S = 60.0, 30.0, 5.0
"""The seconds at each rate, and the seconds after the peak that the figure of the time after leaves out."""

Posts = tuple[list[Posted], list[Posted]]


async def _post(api: str, rate: float, peak_s: float, after_s: float) -> Posts:
    first = bodies(int(rate * peak_s))
    second = bodies(int(LOW * after_s), len(first))
    peak = asyncio.ensure_future(post_steadily(api, first, rate, give_up_s=0.0))
    await asyncio.sleep(0)  # it makes its requests before its first due time, which may take a second
    await asyncio.sleep(peak_s)
    after = await post_steadily(api, second, LOW, give_up_s=0.0)
    return await peak, after


def figures(peak: Sequence[Posted], after: Sequence[Posted], verdict: Verdict) -> dict[str, float]:
    """Return the figures of one round. `verdict` covers the triggers of the peak and those after it."""
    settled_s = after[0].due_s + SETTLES_S
    parts = {
        "peak": list(peak),
        "after_first_5_s": [p for p in after if p.due_s < settled_s],
        "after": [p for p in after if p.due_s >= settled_s],
    }
    found: dict[str, float] = {}
    for name, posted in parts.items():
        waited = waited_ms(posted)
        found |= {f"{name}_p50_ms": percentile(waited, 0.5), f"{name}_p99_ms": percentile(waited, 0.99)}
        found[f"{name}_first_try"] = first_try(posted)
    names = [f"{p.key}/{channel}" for p in peak for channel in set(CHANNELS.values())]
    delivered_s = [verdict.delivered_at[name] for name in names if name in verdict.delivered_at]
    last_s, seconds = peak[-1].due_s, peak[-1].due_s - peak[0].due_s
    within = sum(at <= last_s for at in delivered_s)
    found["peak_late_s"] = max(delivered_s, default=last_s) - last_s
    found["delivered_per_s"] = within / len(set(CHANNELS.values())) / seconds
    return found


def one_round(service: Service, rate: float, seconds: tuple[float, float]) -> dict[str, float]:
    peak, after = uvloop.run(_post(service.api, rate, *seconds))
    actors = vendor_actors(service)
    verdict = drained(service, [*peak, *after])
    return {**figures(peak, after, verdict), "vendor_actors": actors, **losses(service, verdict)}


@click.command(help=__doc__)
@click.option("--rate", default=HIGH, show_default=True, help="triggers a second of the peak")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@results.options
def main(*, rate: float, rounds: int, quick: bool, results_: Path | None) -> None:
    rate, seconds = (50.0, (2.0, 6.0)) if quick else (rate, (PEAK_S, AFTER_S))
    rows: list[dict[str, float]] = []
    for _ in range(1 if quick else rounds):
        with running() as (service, _):
            rows.append(one_round(service, rate, seconds))
        click.echo(shown(rate, rows[-1]))
    spreads: dict[str, Any] = {"rate_per_s": rate, **results.spreads(rows)}
    results.report("peak", spreads, results_, quick)
    results.convict(rows)


def shown(rate: float, row: dict[str, float]) -> str:
    return (
        f"{rate:g}/s: accept p99 {row['peak_p99_ms']:.1f} ms, {row['peak_first_try']:.2%} at first try, "
        f"{row['delivered_per_s']:.0f}/s delivered meanwhile, the last {row['peak_late_s']:.1f} s late; "
        f"then {LOW:g}/s: accept p99 {row['after_first_5_s_p99_ms']:.1f} ms for {SETTLES_S:g} s, "
        f"and {row['after_p99_ms']:.1f} ms from there on; lost {row['lost']}"
    )


if __name__ == "__main__":
    main()
