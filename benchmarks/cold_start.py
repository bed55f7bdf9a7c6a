"""Measures the time from `up` to the first delivery, and the memory and cores used when idle and at 10 million a day.

    python -m benchmarks.cold_start [--rounds 2]

Starts an installation on an empty directory and posts one trigger as soon as the service is ready. The sandbox vendors
note when the trigger's first and second message arrived. Memory is PSS, in which a page that several processes share
counts once. Under load, memory is read in the middle of the load. Figures are medians over the rounds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

from benchmarks import results
from benchmarks.cpu_meter import CpuMeter, pss_mib
from benchmarks.processes import workspace
from benchmarks.whole_service import bodies, drained, losses
from cluster.local.service import Service
from cluster.rehearsal.load import post_steadily

RATE = 116.0
IDLE_S = 10.0


def one_round(seconds: float) -> dict[str, float]:
    with workspace() as folder:
        service = Service(folder / "state")
        try:
            began_s = time.time()
            ready_s = service.start()
            posted = uvloop.run(post_steadily(service.api, bodies(1), 1))
            verdict = drained(service, posted)
            arrived_s = [at - began_s for at in verdict.delivered_at.values()]
            time.sleep(2.0)
            idle = footprint(service, min(IDLE_S, seconds), lambda: None)
            lost: dict[str, int] = {}
            busy = footprint(service, seconds, lambda: lost.update(_load(service, seconds)))
        finally:
            service.stop()
            service.clean_up()
    return {
        "ready_s": ready_s,
        "first_delivery_of_the_first_trigger_s": min(arrived_s, default=float("nan")),
        "last_delivery_of_the_first_trigger_s": max(arrived_s, default=float("nan")),
        **{f"idle_{name}": value for name, value in idle.items()},
        **{f"at_116_per_s_{name}": value for name, value in busy.items()},
        "lost": len(verdict.lost) + lost["lost"],
        "unexplained": lost["unexplained"],
    }


def _load(service: Service, seconds: float) -> dict[str, int]:
    posted = uvloop.run(post_steadily(service.api, bodies(int(RATE * seconds), 1000), RATE))
    return losses(service, drained(service, posted))


def footprint(service: Service, seconds: float, work: Callable[[], None]) -> dict[str, float]:
    """Call `work`, and return how much of the machine the service uses during `seconds`, counted from the call.

    `processes` and `pss_mib` are read in the middle of that time. `cores` is the mean over all of it.
    """
    found: dict[str, float] = {}
    meter, began_s = CpuMeter(service), time.monotonic()

    def look() -> None:
        pids = service.all_pids()
        found.update(processes=len(pids), pss_mib=pss_mib(pids))

    looking = threading.Timer(seconds / 2, look)
    looking.start()
    work()
    time.sleep(max(0.0, began_s + seconds - time.monotonic()))
    found["cores"] = sum(meter.read().values()) / meter.seconds()
    looking.join()
    return found


@click.command(help=__doc__)
@click.option("--rounds", default=2, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="of load, and at most 10 of idleness")
@results.options
def main(rounds: int, seconds: float, quick: bool, results_: Path | None) -> None:
    if quick:
        rounds, seconds = 1, 2.0
    rows = [one_round(seconds) for _ in range(rounds)]
    figures = results.spreads(rows, 2)
    results.spread_table(figures)
    results.report("cold_start", figures, results_, quick)
    results.convict(rows)


if __name__ == "__main__":
    main()
