"""How many triggers a second does the whole machine carry, from accept to the vendors, two notifications each?

    python -m benchmarks.end_to_end [--rate 116 --rate 300 …] [--seconds 15]

Everything runs on this machine, client and sandbox vendors included. Each rate is posted open-loop to one running
service, lowest first, until two in a row are not sustained. Sustained: every trigger acknowledged at its first try,
nothing lost, and the last notification delivered within 2 s of the last due time, so no backlog was left to grow.
The pools stay at their floors, which is what two cores carry; `--elastic` lets them grow.
Prints delivery latency beyond the vendors' own 50 ms, and the CPU time of each part per trigger.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.processes import cpu_s
from benchmarks.whole_service import CHANNELS, CpuMeter, bodies, drained, running
from cluster.load import percentile, post_steadily
from cluster.service import Service

RATES = (116.0, 200.0, 250.0, 300.0, 350.0, 400.0, 500.0, 700.0, 1157.0)
VENDOR_MS = 50.0
LATE_S = 2.0
FIXED = {"vendors": {name: {"replicas_max": 1} for name in CHANNELS}, "intake": {"replicas_max": 2}}
"""The pools at their floors. A new actor takes 3 s of a core to start, exactly when there is none to spare."""


def one_rate(service: Service, rate: float, seconds: float, start: int) -> dict[str, Any]:
    meter, outside = CpuMeter(service), _outside_s(service)
    posted = uvloop.run(post_steadily(service.api, bodies(int(rate * seconds), start), rate))
    verdict = drained(service, posted)
    spent = meter.read() | {part: cpu - outside[part] for part, cpu in _outside_s(service).items()}
    used = {part: cpu * 1000 / len(posted) for part, cpu in spent.items()}
    first_try = sum(p.first_status == 202 for p in posted) / len(posted)
    late_s = max(verdict.delivered_at.values(), default=0.0) - posted[-1].due_s
    accept_ms = [(p.accepted_s - p.due_s) * 1000 for p in posted if p.accepted_s is not None]
    beyond_ms = [s * 1000 - VENDOR_MS for s in verdict.delivery_s]
    return {
        "rate_per_s": rate,
        "triggers": len(posted),
        "sustained": first_try == 1.0 and not verdict.lost and late_s <= LATE_S,
        "first_try_percent": round(first_try * 100, 2),
        "accept_ms_p50": round(percentile(accept_ms, 0.5), 2),
        "accept_ms_p99": round(percentile(accept_ms, 0.99), 2),
        "delivery_beyond_vendor_ms_p50": round(percentile(beyond_ms, 0.5), 1),
        "delivery_beyond_vendor_ms_p99": round(percentile(beyond_ms, 0.99), 1),
        "last_delivery_after_s": round(late_s, 2),
        "lost": len(verdict.lost),
        "duplicated": verdict.repeats,
        "cpu_ms_per_trigger": {part: round(ms, 3) for part, ms in used.items()},
        "cpu_ms_per_trigger_all": round(sum(used.values()), 2),
    }


def _outside_s(service: Service) -> dict[str, float]:
    """CPU seconds of what stands for the rest of the world: the vendors, and the client (this process)."""
    return {"sandbox vendors": cpu_s([service.sandbox_pid]), "client": cpu_s([os.getpid()])}


@click.command(help=__doc__)
@click.option("--rate", "rates", multiple=True, type=float, help=f"triggers a second  [default: {RATES}]")
@click.option("--seconds", default=15.0, show_default=True, help="of each rate")
@click.option("--elastic", is_flag=True, help="let the pools grow, as they would where there are cores for it")
@results.options
def main(rates: tuple[float, ...], seconds: float, elastic: bool, quick: bool, results_: Path | None) -> None:
    rates = tuple(sorted(rates or RATES))
    if quick:
        rates, seconds = (20.0, 40.0), 3.0
    found: list[dict[str, Any]] = []
    with running(None if elastic else FIXED) as (service, _):
        start = 0
        for rate in rates:
            found.append(one_rate(service, rate, seconds, start))
            start += found[-1]["triggers"]
            if len(found) > 1 and not (found[-1]["sustained"] or found[-2]["sustained"]):
                break
    columns = [name for name in found[0] if not name.startswith("cpu_ms_per_trigger") or name.endswith("_all")]
    results.table([columns, *([row[name] for name in columns] for row in found)])
    highest = max((row["rate_per_s"] for row in found if row["sustained"]), default=0.0)
    click.echo(f"highest rate sustained: {highest:g} triggers/s, {2 * highest:g} notifications/s")
    results.report("end_to_end", {"highest_sustained_per_s": highest, "rates": found}, results_, quick)


if __name__ == "__main__":
    main()
