"""Measures how many triggers are accepted at their first try while processes are killed and frozen at random.

    python -m benchmarks.random_kills [--seconds 480] [--seed 1] [--rate 40]

Callers post at a steady rate, and repeat as docs/api.md asks. Every 4 to 9 s one process is killed, or frozen for a few
seconds: an intake replica, a vendor actor, the supervisor, Serve's controller, HAProxy or Redis. The seed draws which
and when. Each part is killed once and frozen once, in random order, before it is hit again.

Prints how many percent of the triggers were accepted at their first try, and for each kind of fault how many first
tries failed between it and the next fault. Prints what was lost or repeated. The exit code is 1 if anything was lost or
`up` ended. With `--on-unknown hold`, a repeat makes it 1 too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click

from benchmarks import results
from benchmarks.process_faults import EVERY_S, Fault, draw_kills, outcome, patient_callers, play
from benchmarks.starts import exit_code
from benchmarks.whole_service import running
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, first_try, percentile, waited_ms
from dispatcher.core.json_object import JsonObject

Hits = Sequence[tuple[Fault, float]]
"""Each fault that was played, and when its process was hit, in epoch seconds."""


def disturb(
    service: Service, faults: Sequence[Fault], began_s: float, chance: random.Random
) -> list[tuple[Fault, float]]:
    """Play the faults one after another. Return those that were played, and when.

    A part that does not run is waited for as long as the shortest time between two faults, and then left out.
    """
    found = []
    for fault in faults:
        time.sleep(max(0.0, began_s + fault.at_s - time.time()))
        hit_s = play(service, fault, chance, time.time() + EVERY_S[0])
        if hit_s is not None:
            found.append((fault, hit_s))
        click.echo(f"  {time.time() - began_s:6.1f} s  {fault.name}{'' if hit_s is not None else ': not there'}")
    return found


def by_fault(posted: Sequence[Posted], hits: Hits) -> dict[str, dict[str, int]]:
    """Return for each kind of fault how often it was played, and how many first tries failed until the next fault."""
    found = {fault.name: {"faults": 0, "failed_first": 0} for fault, _ in hits}
    for (fault, hit_s), next_s in zip(hits, [*(at_s for _, at_s in hits[1:]), float("inf")], strict=True):
        row = found[fault.name]
        row["faults"] += 1
        row["failed_first"] += sum(hit_s <= p.due_s < next_s and p.first_status != 202 for p in posted)
    return dict(sorted(found.items(), key=lambda item: -item[1]["failed_first"]))


def accepts(posted: Sequence[Posted]) -> JsonObject:
    """Return the share of triggers accepted at the first try, accept percentiles and the longest time without any."""
    waited = waited_ms(posted)
    times = sorted(p.accepted_s for p in posted if p.accepted_s is not None)
    return {
        "first_try_percent": round(100 * first_try(posted), 3),
        "accept_ms_p50": round(percentile(waited, 0.5), 1),
        "accept_ms_p99": round(percentile(waited, 0.99), 1),
        "refusing_s": round(max((b - a for a, b in pairwise(times)), default=0.0), 2),
    }


@click.command(help=__doc__)
@click.option("--seconds", default=480.0, show_default=True, type=click.FloatRange(min=EVERY_S[1] + EVERY_S[0]))
@click.option("--seed", default=1, show_default=True, help="draws the faults and the waits of the callers")
@click.option("--rate", default=40.0, show_default=True, help="triggers a second")
@click.option("--on-unknown", default="resend", show_default=True, type=click.Choice(["resend", "hold"]))
@results.options
def main(*, seconds: float, seed: int, rate: float, on_unknown: str, quick: bool, results_: Path | None) -> None:
    chance, seconds, rate = random.Random(seed), 15.0 if quick else seconds, 10.0 if quick else rate
    click.echo(f"seed {seed}")
    with running() as (service, _):
        with patient_callers(service, rate, seed, on_unknown) as callers:
            began_s = time.time()
            hits = disturb(service, draw_kills(chance, seconds), began_s, chance)
            time.sleep(max(0.0, began_s + seconds - time.time()))
        ended = exit_code(service)
        found = outcome(service, callers.posted, on_unknown)
    figures: JsonObject = {
        "seed": seed,
        "rate_per_s": rate,
        "seconds": seconds,
        "on_unknown": on_unknown,
        "faults": len(hits),
        **accepts(callers.posted),
        **found,
        "ended": int(ended is not None),
        "by_fault": by_fault(callers.posted, hits),
    }
    for name, value in figures.items():
        click.echo(f"{name:18} {value}")
    results.report("random_kills", figures, results_, quick)
    if ended is not None:
        raise click.ClickException(f"`up` ended with {ended}")
    results.convict([figures])


if __name__ == "__main__":
    main()
