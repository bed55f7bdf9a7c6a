"""Measures starts of an installation that are disturbed, while callers wait outside.

    python -m benchmarks.starts [--starts 25] [--seed 1] [--rate 40]

Before each start, everything of the installation is killed, Redis too. During the start one process is killed, or
frozen for a few seconds: the intake replica, a vendor actor, the supervisor, Serve's controller, HAProxy or Redis.
Callers post at a steady rate all the time, and repeat as docs/api.md asks. So hundreds of callers wait when the service
becomes ready.

A first start without a fault says how long a start takes here, and when each part appears. From this and from the seed
the faults are drawn. Each part is both killed and frozen, and each second of a start is the moment of a fault. If the
part is not there yet at its moment, because this start is slower, it is hit as soon as it appears.

Prints for each start when what was hit, and the seconds until `up` was ready, until the first accept, and until no
caller waited any more. Prints how often `up` ended, and what was lost or repeated over all starts. The exit code is 1
if `up` ended or anything was lost. With `--on-unknown hold`, a repeat makes it 1 too.
"""

from __future__ import annotations

import math
import random
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from benchmarks import results
from benchmarks.callers import Callers
from benchmarks.process_faults import PAIRS, PARTS, Fault, births, draw_starts, outcome, patient_callers, play
from benchmarks.processes import until
from benchmarks.whole_service import running
from cluster.local.service import Service
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import DispatcherError

STEADY_S = 3.0
LONG_S = 30.0
"""A start that takes longer than so many seconds is counted as a long one."""

SERVED_S_MAX = 120.0
"""The most seconds from the end of a start until no caller waits any more."""

DEAD_S = 0.5
"""The seconds between the kill of everything and the start. Answers from before the kill are read meanwhile."""


class Start:
    """One call of `up`, in a thread of its own. `ready_s` is the time until it was ready, or None."""

    def __init__(self, service: Service) -> None:
        self.began_s, self.failure = time.time(), ""
        self.ready_s: float | None = None
        self._service = service
        self._thread = threading.Thread(target=self._run, name="up", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.ready_s = self._service.start()
        except DispatcherError as error:
            self.failure = str(error)

    def over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()


def exit_code(service: Service) -> int | None:
    """Return the exit code of `up` if it has ended, else None."""
    try:
        return service.wait(0.0)
    except subprocess.TimeoutExpired:
        return None


@dataclass(frozen=True, slots=True)
class Started:
    """The figures of one start. Times are seconds from the beginning of `up`, and None if it never came to that.

    `served_s` is when no caller waited any more, and `callers_waiting` is how many waited when `up` was ready. A start
    without a fault has `births_s`: when each part appeared.
    """

    ready_s: float | None
    first_accept_s: float | None
    served_s: float | None
    callers_waiting: int
    exit_code: int | None
    fault: Fault | None = None
    hit_s: float | None = None
    births_s: Mapping[str, float] = field(default_factory=dict)


def one_start(service: Service, callers: Callers, fault: Fault | None, chance: random.Random) -> Started:
    """Kill everything and start again, with this fault. Return when no caller waits any more."""
    service.kill_everything()
    time.sleep(DEAD_S)
    start, hit_s, births_s = Start(service), None, dict[str, float]()
    if fault is None:
        births_s = births(service, start.began_s, start.over)
    else:
        time.sleep(max(0.0, start.began_s + fault.at_s - time.time()))
        hit_s = play(service, fault, chance, start.began_s + SERVED_S_MAX)
    start.wait()
    waiting = callers.waiting
    served = start.ready_s is not None and until(lambda: callers.waiting <= callers.rate_per_s, SERVED_S_MAX)
    served_s = time.time() - start.began_s
    if served:
        time.sleep(STEADY_S)
    ended = exit_code(service)
    if start.failure or ended is not None:
        click.echo(f"`up` ended with {ended}:\n{service.tail()}")
    return Started(
        None if start.ready_s is None else round(start.ready_s, 2),
        first_accept_s(callers, start.began_s),
        round(served_s, 2) if served else None,
        waiting,
        ended,
        fault,
        None if hit_s is None else round(hit_s - start.began_s, 2),
        births_s,
    )


def first_accept_s(callers: Callers, began_s: float) -> float | None:
    """Return the seconds from `began_s` to the first 202 after it, or None if there was none."""
    after = [p.accepted_s - began_s for p in list(callers.posted) if (p.accepted_s or 0.0) > began_s and p.accepted_s]
    return round(min(after), 2) if after else None


def summary(starts: Sequence[Started], plain: Started) -> JsonObject:
    """Return the figures over all starts. `plain` is the start without a fault.

    `seconds_missed` are the seconds of a start, from the appearance of the first part on, for which no fault was drawn
    and played. `late` counts the faults that came over a second later than drawn, because their part was not there
    yet. `pairs_missed` are the parts that were never killed, or never frozen.
    """
    played = [(one.fault, one.hit_s) for one in starts if one.fault is not None and one.hit_s is not None]
    pairs = {(fault.part, fault.kind) for fault, _ in played}
    every = range(math.floor(min(plain.births_s.values())), math.ceil(plain.ready_s or 0.0))
    return {
        "ended": sum(one.exit_code is not None for one in starts),
        "over_30_s": sum(one.ready_s is None or one.ready_s > LONG_S for one in starts),
        "never_served": sum(one.served_s is None for one in starts),
        "seconds_missed": sorted(set(every) - {math.floor(fault.at_s) for fault, _ in played}),
        "late": sum(hit_s > fault.at_s + 1.0 for fault, hit_s in played),
        "pairs_missed": [f"{part} {kind}" for part, kind in PAIRS if (part, kind) not in pairs],
        "ready_s": spread([one.ready_s for one in starts]),
        "first_accept_s": spread([one.first_accept_s for one in starts]),
        "served_s": spread([one.served_s for one in starts]),
    }


def spread(values: Sequence[float | None]) -> results.Spread | None:
    """Return the spread of the values that are there, or None if there is none."""
    found = [value for value in values if value is not None]
    return results.spread(found, 2) if found else None


PLAIN = Started(10.0, None, None, 0, None, births_s=dict.fromkeys(PARTS, 0.0))
"""A quick run assumes this about a start without a fault, instead of trying it."""


@click.command(help=__doc__)
@click.option("--starts", "count", default=25, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="draws the faults and the waits of the callers")
@click.option("--rate", default=40.0, show_default=True, help="triggers a second")
@click.option("--on-unknown", default="resend", show_default=True, type=click.Choice(["resend", "hold"]))
@results.options
def main(*, count: int, seed: int, rate: float, on_unknown: str, quick: bool, results_: Path | None) -> None:
    chance, count, rate = random.Random(seed), 1 if quick else count, 5.0 if quick else rate
    click.echo(f"seed {seed}")
    with running() as (service, _):
        with patient_callers(service, rate, seed, on_unknown) as callers:
            time.sleep(1.0 if quick else STEADY_S)
            plain = PLAIN if quick else one_start(service, callers, None, chance)
            click.echo(f"without a fault: {plain}")
            if set(plain.births_s) != set(PARTS) or plain.ready_s is None:
                raise click.ClickException("the start without a fault did not succeed")
            rows = []
            for fault in draw_starts(chance, plain.births_s, plain.ready_s, count):
                rows.append(one_start(service, callers, fault, chance))
                click.echo(f"{len(rows)}: {rows[-1]}")
        found = outcome(service, callers.posted, on_unknown)
    told = {"seed": seed, "rate_per_s": rate, "on_unknown": on_unknown, "starts": len(rows)}
    figures: JsonObject = {**told, **found, **summary(rows, plain)}
    click.echo(figures)
    each = [asdict(one) for one in rows]
    results.report("starts", {**figures, "plain": asdict(plain), "each": each}, results_, quick)
    if figures["ended"]:
        raise click.ClickException(f"`up` ended in {figures['ended']} of {len(rows)} starts")
    results.convict([figures])


if __name__ == "__main__":
    main()
