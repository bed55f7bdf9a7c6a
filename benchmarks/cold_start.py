"""How long from `up` to the first delivery, and what does it occupy, idle and at 10 M triggers a day?

    python -m benchmarks.cold_start [--rounds 3]

Starts an installation on an empty directory, posts one trigger the moment it says that it is ready, and waits for its
SMS at the vendor. Memory is PSS: a page that several processes share counts once. Figures are medians over the rounds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import results
from benchmarks.processes import until, workspace
from benchmarks.whole_service import CpuMeter, bodies, collect, drained, pss_mib
from cluster.load import post_steadily
from cluster.service import Service

RATE = 116.0
IDLE_S = 10.0


def one_round(seconds: float) -> dict[str, float]:
    with workspace() as folder:
        service = Service(folder / "state")
        try:
            began = time.monotonic()
            ready_s = service.start()
            uvloop.run(post_steadily(service.api, bodies(1), 1))
            until(lambda: any(collect(service).values()), 60.0, every_s=0.02)
            first_s = time.monotonic() - began
            time.sleep(2.0)
            idle = footprint(service, lambda: time.sleep(min(IDLE_S, seconds)))
            load = footprint(service, lambda: _load(service, seconds))
        finally:
            service.stop()
            service.clean_up()
    return {
        "ready_s": ready_s,
        "first_delivery_s": first_s,
        **{f"idle_{name}": value for name, value in idle.items()},
        **{f"at_116_per_s_{name}": value for name, value in load.items()},
    }


def _load(service: Service, seconds: float) -> None:
    posted = uvloop.run(post_steadily(service.api, bodies(int(RATE * seconds), 1000), RATE))
    drained(service, posted)


def footprint(service: Service, work: Any) -> dict[str, float]:
    """Processes, memory and cores used while `work` runs."""
    meter, began = CpuMeter(service), time.monotonic()
    work()
    cores = sum(meter.read().values()) / (time.monotonic() - began)
    pids = [*service.pids(""), *service.redis_pids()]
    return {"processes": len(pids), "pss_mib": pss_mib(pids), "cores": cores}


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="of load, and at most 10 of idleness")
@results.options
def main(rounds: int, seconds: float, quick: bool, results_: Path | None) -> None:
    if quick:
        rounds, seconds = 1, 2.0
    rows = [one_round(seconds) for _ in range(rounds)]
    figures = {name: results.spread([row[name] for row in rows], 2) for name in rows[0]}
    shown = ([name, found["median"], found["min"], found["max"]] for name, found in figures.items())
    results.table([["", "median", "least", "most"], *shown])
    results.report("cold_start", figures, results_, quick)


if __name__ == "__main__":
    main()
