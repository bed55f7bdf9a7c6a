"""How many triggers a second does the whole machine carry, from accept to the vendors, two notifications each?

    python -m benchmarks.end_to_end [--rate 116 --rate 300 …] [--seconds 15]

Everything runs on this machine, client and sandbox vendors included. Each rate is posted open-loop to one running
service, lowest first. After two in a row that were not sustained only 700 and 1,157/s are still tried, what is wanted
and ten times 10 M a day. Sustained: every trigger acknowledged at its first try, accept p99 at most 500 ms, nothing
lost, nothing repeated, the last notification delivered within 2 s of the last due time, and those of the last quarter
no more than 0.25 s later than those of the second (medians), so that no backlog grew. The pools stay at their floors,
which is what two cores carry; `--elastic` lets them grow. Prints delivery latency beyond the vendors' own 50 ms, and
the CPU time of each part per trigger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.processes import cpu_s
from benchmarks.whole_service import FIXED, VENDOR_MS, forget, load, recovered, running
from cluster.load import percentile
from cluster.service import Service

RATES = (116.0, 200.0, 300.0, 350.0, 400.0, 500.0, 700.0, 1157.0)
WANTED = (700.0, 1157.0)
TRIGGERS_MAX = 6000
"""Of a rate: an overload leaves a backlog that must be worked off."""


def one_rate(service: Service, rate: float, seconds: float, start: int) -> dict[str, Any]:
    forget(service)
    vendors_s = cpu_s([service.sandbox_pid])
    run = load(service, rate, min(TRIGGERS_MAX, int(rate * seconds)), start)
    vendors_s = cpu_s([service.sandbox_pid]) - vendors_s
    used = run.cpu_ms_per_trigger() | {"sandbox vendors": vendors_s * 1000 / len(run.posted)}
    beyond_ms = [s * 1000 - VENDOR_MS for s in run.verdict.delivery_s]
    recovered(service)
    return {
        "rate_per_s": rate,
        "triggers": len(run.posted),
        "sustained": run.sustained,
        "first_try_percent": round(run.first_try * 100, 2),
        "accept_ms_p50": round(percentile(run.accept_ms, 0.5), 2),
        "accept_ms_p99": round(percentile(run.accept_ms, 0.99), 2),
        "delivery_beyond_vendor_ms_p50": round(percentile(beyond_ms, 0.5), 1),
        "delivery_beyond_vendor_ms_p99": round(percentile(beyond_ms, 0.99), 1),
        "last_delivery_after_s": round(run.late_s, 2),
        "later_by_s": round(run.growth_s, 3),
        **run.losses,
        "metered_s": round(run.seconds, 2),
        "cpu_ms_per_trigger": {part: round(ms, 3) for part, ms in used.items()},
        "cpu_ms_per_trigger_all": round(sum(used.values()), 2),
    }


def worth_trying(rate: float, sustained: Sequence[bool]) -> bool:
    """Two in a row were not: what lies above will not be either, and is tried only where it is asked about."""
    return rate in WANTED or len(sustained) < 2 or any(sustained[-2:])


@click.command(help=__doc__)
@click.option("--rate", "rates", multiple=True, type=float, help=f"triggers a second  [default: {RATES}]")
@click.option("--seconds", default=15.0, show_default=True, help=f"of each rate, up to {TRIGGERS_MAX} triggers")
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
            if worth_trying(rate, [row["sustained"] for row in found]):
                found.append(one_rate(service, rate, seconds, start))
                start += found[-1]["triggers"]
    columns = [name for name in found[0] if not name.startswith("cpu_ms_per_trigger") or name.endswith("_all")]
    results.table([columns, *([row[name] for name in columns] for row in found)])
    highest = max((row["rate_per_s"] for row in found if row["sustained"]), default=0.0)
    click.echo(f"highest rate sustained: {highest:g} triggers/s, {2 * highest:g} notifications/s")
    figures = {"highest_sustained_per_s": highest, "pools": "elastic" if elastic else "at their floors", "rates": found}
    results.report("end_to_end", figures, results_, quick)
    results.convict(found)


if __name__ == "__main__":
    main()
