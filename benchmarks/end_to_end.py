"""Measures how many triggers a second the whole machine carries, from the accept to the vendors.

    python -m benchmarks.end_to_end [--rate 116 --rate 300 …] [--seconds 10] [--rounds 3]

Everything runs on this machine, the client and the sandbox vendors included. Each trigger has two notifications. Each
rate is posted open-loop to one running service, the lowest rate first, in several rounds. After two rates in a row that
were not sustained, only 700/s and 1,157/s are still tried. 700/s is the rate that we want to reach. 1,157/s are 100
million triggers a day. Figures are medians of the rounds, and `rounds` has each of them.

A rate is sustained if this holds in every round:

* every trigger is acknowledged at its first try, with an accept p99 of at most 500 ms;
* nothing is lost and nothing is repeated;
* the last notification is delivered within 2 s of the last due time;
* the last quarter is delivered at most 0.25 s later than the second quarter (medians), so that no backlog grew.

The service has its shipped configuration, so the pools may grow. `--pinned` keeps them at their smallest sizes. Prints
the delivery latency without the vendors' own 50 ms, the p99 of a bare fdatasync on the same disk meanwhile, and the
CPU time of each part per trigger.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.disk import Disk
from benchmarks.processes import cpu_s
from benchmarks.whole_service import FIXED, VENDOR_MS, forget, load, recovered, running
from cluster.local.service import Service
from cluster.rehearsal.load import percentile

RATES = (116.0, 200.0, 300.0, 400.0, 550.0, 700.0, 850.0, 1000.0, 1157.0)
WANTED = (700.0, 1157.0)
TRIGGERS_MAX = 8000
"""The most triggers posted at one rate. An overload leaves a backlog, and the next rate begins only when that is
gone.
"""


def one_rate(service: Service, rate: float, seconds: float, start: int) -> dict[str, Any]:
    forget(service)
    vendors_s = cpu_s([service.sandbox_pid])
    disk = Disk(service.state.path)
    run = load(service, rate, min(TRIGGERS_MAX, int(rate * seconds)), start, beside=disk)
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
        "fdatasync_ms_p99": round(percentile(disk.duration_ms, 0.99), 2),
        "delivery_beyond_vendor_ms_p50": round(percentile(beyond_ms, 0.5), 1),
        "delivery_beyond_vendor_ms_p99": round(percentile(beyond_ms, 0.99), 1),
        "last_delivery_after_s": round(run.late_s, 2),
        "later_by_s": round(run.growth_s, 3),
        **run.losses,
        "metered_s": round(run.seconds, 2),
        "cpu_ms_per_trigger": {part: round(ms, 3) for part, ms in used.items()},
        "cpu_ms_per_trigger_all": round(sum(used.values()), 2),
    }


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the rounds of one rate. Losses and repeats are summed, other figures are medians.

    The rate is sustained only if it was sustained in each round.
    """
    first = rows[0]
    found: dict[str, Any] = {"rate_per_s": first["rate_per_s"], "sustained": all(row["sustained"] for row in rows)}
    for name in (name for name in first if name not in found):
        values = [row[name] for row in rows]
        if name in ("lost", "duplicated", "unexplained"):
            found[name] = sum(values)
        elif isinstance(first[name], dict):
            found[name] = {part: round(statistics.median(v[part] for v in values), 3) for part in first[name]}
        else:
            found[name] = round(statistics.median(values), 3)
    return {**found, "rounds": list(rows)}


def worth_trying(rate: float, sustained: Sequence[bool]) -> bool:
    """Return True if this rate should be tried.

    `sustained` has one value for each lower rate, in the order of the rates: True if the service sustained the rate. If
    the service sustained neither of the last two rates, it will not sustain higher rates. Then only the rates in
    `WANTED` are tried.
    """
    return rate in WANTED or len(sustained) < 2 or any(sustained[-2:])


@click.command(help=__doc__)
@click.option("--rate", "rates", multiple=True, type=float, help=f"triggers a second  [default: {RATES}]")
@click.option("--seconds", default=10.0, show_default=True, help=f"of each rate, up to {TRIGGERS_MAX} triggers")
@click.option("--rounds", default=3, show_default=True)
@click.option("--pinned", is_flag=True, help="keep the pools at their smallest sizes")
@results.options
def main(
    *, rates: tuple[float, ...], seconds: float, rounds: int, pinned: bool, quick: bool, results_: Path | None
) -> None:
    rates = tuple(sorted(rates or RATES))
    if quick:
        rates, seconds, rounds = (20.0, 40.0), 1.0, 1
    rows: dict[float, list[dict[str, Any]]] = {}
    with running(FIXED if pinned else None) as (service, _):
        start = 0
        for _ in range(rounds):
            sustained: list[bool] = []
            for rate in rates:
                if worth_trying(rate, sustained):
                    row = one_rate(service, rate, seconds, start)
                    rows.setdefault(rate, []).append(row)
                    sustained.append(row["sustained"])
                    start += row["triggers"]
    found = [together(rows[rate]) for rate in sorted(rows)]
    columns = [name for name in found[0] if name not in ("cpu_ms_per_trigger", "rounds")]
    results.table([columns, *([row[name] for name in columns] for row in found)])
    highest = max((row["rate_per_s"] for row in found if row["sustained"]), default=0.0)
    click.echo(f"highest rate sustained: {highest:g} triggers/s, {2 * highest:g} notifications/s")
    figures = {
        "highest_sustained_per_s": highest,
        "pools": "at their smallest sizes" if pinned else "as shipped",
        "rates": found,
    }
    results.report("end_to_end", figures, results_, quick)
    results.convict(found)


if __name__ == "__main__":
    main()
