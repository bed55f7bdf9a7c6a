"""Measures how soon a service that was killed as a whole accepts again, with thousands of callers waiting.

    python -m benchmarks.killed_whole [--runs 3] [--clients 5000] [--rate 40] [--seed 1]

Callers post at a steady rate. Everything of the installation is killed, Redis too. At once the waiting callers come,
each with one trigger of its own, and the steady callers go on. All of them repeat as docs/api.md asks. Then `up` is
called on the same state directory.

Prints the seconds from the beginning of `up` to the first accept, and to the last accept of the waiting callers, as
medians of the runs. Prints what was lost or repeated over all runs. The exit code is 1 if anything was lost or `up`
ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import click

from benchmarks import results
from benchmarks.callers import Callers
from benchmarks.process_faults import outcome, patient_callers, under
from benchmarks.processes import until
from benchmarks.starts import Start, exit_code, first_accept_s
from benchmarks.whole_service import NUMBERS_EACH, bodies, running
from cluster.local.service import Service
from cluster.rehearsal.load import Posted
from dispatcher.core.json_object import JsonObject

BEFORE_S = 8.0
"""The seconds of steady load before each kill."""

GATHERED_S = 2.0
"""The seconds from the coming of the callers to the beginning of `up`. Each caller has tried several times by then."""

SERVED_S_MAX = 180.0
LOOK_S = 0.5


class Run(TypedDict):
    """The figures of one run. Times are seconds from the beginning of `up`, or None if it never came to that.

    `last_accept_s` is the last accept of the waiting callers. It is None if one of them was never accepted.
    """

    ready_s: float | None
    first_accept_s: float | None
    last_accept_s: float | None
    exit_code: int | None


def one_run(service: Service, callers: Callers, clients: int, *, first: int, on_unknown: str) -> Run:
    """Kill everything, let `clients` callers wait, and start again. Return when the first and the last were accepted.

    `first` is the order number of the first waiting caller.
    """
    time.sleep(BEFORE_S)
    service.kill_everything()
    waiting = list(under(on_unknown, bodies(clients, first)))
    keys = {key for key, _ in waiting}
    callers.come(waiting)
    time.sleep(GATHERED_S)
    start = Start(service)
    start.wait()
    if start.ready_s is not None:
        theirs = [p for p in list(callers.posted) if p.key in keys]
        until(lambda: all(p.accepted_s is not None for p in theirs), SERVED_S_MAX, LOOK_S)
    return {
        "ready_s": None if start.ready_s is None else round(start.ready_s, 2),
        "first_accept_s": first_accept_s(callers, start.began_s),
        "last_accept_s": last_accept_s([p for p in list(callers.posted) if p.key in keys], start.began_s),
        "exit_code": exit_code(service),
    }


def last_accept_s(posted: Sequence[Posted], began_s: float) -> float | None:
    """Return the seconds from `began_s` to the last accept of `posted`, or None if any was not accepted."""
    times = [p.accepted_s for p in posted if p.accepted_s is not None]
    return round(max(times) - began_s, 2) if times and len(times) == len(posted) else None


def of_all(values: Sequence[float | None]) -> results.Spread | None:
    """Return the spread of the values, or None if any run has none."""
    found = [value for value in values if value is not None]
    return results.spread(found, 2) if len(found) == len(values) else None


@click.command(help=__doc__)
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--clients", default=5000, show_default=True, type=click.IntRange(1), help="callers that wait")
@click.option("--rate", default=40.0, show_default=True, help="triggers a second, besides the waiting callers")
@click.option("--seed", default=1, show_default=True, help="draws the waits of the callers")
@click.option("--on-unknown", default="resend", show_default=True, type=click.Choice(["resend", "hold"]))
@results.options
def main(
    *, runs: int, clients: int, rate: float, seed: int, on_unknown: str, quick: bool, results_: Path | None
) -> None:
    if quick:
        runs, clients, rate = 1, 100, 5.0
    click.echo(f"seed {seed}")
    with running() as (service, _):
        with patient_callers(service, rate, seed, on_unknown) as callers:
            rows = []
            for n in range(runs):
                rows.append(one_run(service, callers, clients, first=(n + 1) * NUMBERS_EACH, on_unknown=on_unknown))
                click.echo(f"{n + 1}: {rows[-1]}")
        found = outcome(service, callers.posted, on_unknown)
    figures: JsonObject = {"seed": seed, "rate_per_s": rate, "clients": clients, "on_unknown": on_unknown, **found}
    figures["first_accept_s"] = of_all([one["first_accept_s"] for one in rows])
    figures["last_accept_s"] = of_all([one["last_accept_s"] for one in rows])
    figures["ended"] = sum(one["exit_code"] is not None for one in rows)
    click.echo(figures)
    results.report("killed_whole", {**figures, "each": rows}, results_, quick)
    if figures["ended"]:
        raise click.ClickException(f"`up` ended in {figures['ended']} of {len(rows)} runs")
    results.convict([figures])


if __name__ == "__main__":
    main()
