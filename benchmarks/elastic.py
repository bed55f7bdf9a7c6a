"""Measures whether the pools grow and shrink with a tenfold step of the load, and whether anything is lost.

    python -m benchmarks.elastic [--rounds 3]

The vendors take 200 ms for a call, and an actor has eight calls open at the same time. So one actor sends 40 a second.
The load is 10 triggers a second (an SMS and an e-mail each), then 100, then 10 again. The pools grow and shrink on a
real Serve. Near the end the configuration of the vendors is changed, which replaces their actors.

Each round has an installation of its own. Samples load, actors and the age of the backlog twice a second. Prints for
each vendor when the pool had grown, when the oldest waiting message was again younger than a second, and when the pool
had shrunk. Prints the lost and duplicated notifications. The results have the figures of each round, and the samples of
the median round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import click
import uvloop
import yaml

from benchmarks import results
from benchmarks.processes import until
from benchmarks.whole_service import bodies, drained, fault_all, losses, running, vendors
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, first_try, post_steadily
from dispatcher.core.json_object import JsonObject

POOL = {"concurrency_min": 8, "concurrency_max": 8, "replicas_max": 4}
LATENCY_MS = 200.0
LOW, HIGH = 10.0, 100.0
BEFORE_S, STEP_S, AFTER_S = 10.0, 40.0, 80.0
UPDATE_S = 15.0
"""The configuration changes this many seconds before the end of the load."""

REPLACED_S_MAX = 120.0
"""The most seconds until the old actors are gone, counted from when all notifications have arrived."""

WATCHED = ("sms-a", "email-a")
YOUNG_S = 1.0


Sample = dict[str, float]
"""One look at the vendors: `at_s` in epoch seconds, and of each vendor `_actors`, `_age_s` and `_queued`."""


class Reaction(TypedDict):
    """How the number of actors in one vendor's pool followed the load. A time is None if the pool never reached the
    number of actors that this time is about.
    """

    actors_most: float
    first_more_after_s: float | None
    most_after_s: float | None
    age_most_s: float
    age_under_1_s_again_after_s: float | None
    one_again_after_s: float | None


class Watch:
    """Reads the figures of every vendor in `WATCHED` each half second, until `close` is called.

    A thread of its own does this. The times of the samples are epoch seconds.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._over = service, threading.Event()
        self.samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            try:
                found = vendors(self._service)
            except OSError:
                continue  # the watch must not end because one look took too long
            self.samples.append(
                {
                    "at_s": time.time(),
                    **{f"{v}_actors": found[v]["replicas"] for v in WATCHED},
                    **{f"{v}_age_s": found[v]["oldest_age_ms"] / 1000 for v in WATCHED},
                    **{f"{v}_queued": found[v]["queued"] for v in WATCHED},
                }
            )


async def _post(api: str, low: float, high: float, phases: tuple[float, float, float]) -> list[Posted]:
    posted: list[Posted] = []
    start = 0
    for rate, seconds in zip((low, high, low), phases, strict=True):
        count = int(rate * seconds)
        posted += await post_steadily(api, bodies(count, start), rate, give_up_s=0.0)
        start += count
    return posted


def measure(
    service: Service, config: Path, phases: tuple[float, float, float], update_s: float
) -> tuple[dict[str, Reaction], JsonObject]:
    """Post at a low, a high and again a low rate, and change the configuration near the end.

    `phases` are the seconds at each of the three rates. The file `config` is changed `update_s` seconds before the end.
    Return how each watched pool reacted to the load, and the other figures of this run.
    """
    fault_all(service, mode="none", latency_ms=LATENCY_MS)
    watch = Watch(service)
    began_s = time.time()
    before = _incarnations(service)
    update = threading.Timer(sum(phases) - update_s, lambda: _change(service, config))
    update.start()
    posted = uvloop.run(_post(service.api, LOW, HIGH, phases))
    update.join()
    verdict = drained(service, posted)
    watch.close()
    if not until(lambda: not before & _incarnations(service), REPLACED_S_MAX):
        left = ", ".join(sorted(before & _incarnations(service)))
        raise click.ClickException(f"the change of the configuration did not replace {left}")
    reactions = reading(watch.samples, began_s + phases[0], began_s + phases[0] + phases[1])
    return reactions, {
        "accepted": verdict.accepted,
        "unacknowledged": verdict.unacknowledged,
        "first_try_percent": round(100 * first_try(posted), 2),
        **losses(service, verdict),
        "watched": list(WATCHED),
        "load": [{"per_s": rate, "until_s": sum(phases[: n + 1])} for n, rate in enumerate((LOW, HIGH, LOW))],
        "samples": [{**s, "at_s": round(s["at_s"] - began_s, 1)} for s in watch.samples],
    }


def _incarnations(service: Service) -> set[str]:
    """Return the incarnations of the vendors whose configuration the benchmark changes."""
    return {breaker["incarnation"] for name in WATCHED for breaker in vendors(service)[name]["breaker"]}


def _change(service: Service, config: Path) -> None:
    """Change the time-out of every vendor in `WATCHED` and reload the configuration. The reload replaces the actors of
    these vendors.
    """
    wanted = yaml.safe_load(config.read_text())
    for name in WATCHED:
        wanted["vendors"][name]["timeout_s"] -= 1.0
    config.write_text(yaml.safe_dump(wanted))
    service.reload()


def reading(samples: list[Sample], step_s: float, end_s: float) -> dict[str, Reaction]:
    """Return, for each vendor, when its pool grew and shrank.

    The high load began at `step_s` and ended at `end_s`, in epoch seconds. The times at which the pool had grown are
    counted in seconds from `step_s`. The times at which the pool had shrunk are counted from `end_s`. A time is None if
    the pool never reached that size.
    """
    return {vendor: _reaction(samples, vendor, step_s, end_s) for vendor in WATCHED}


def _reaction(samples: list[Sample], vendor: str, step_s: float, end_s: float) -> Reaction:
    up = [s for s in samples if step_s <= s["at_s"] < end_s]
    down = [s for s in samples if s["at_s"] >= end_s]
    actors = f"{vendor}_actors"
    most = max(s[actors] for s in samples)
    return {
        "actors_most": most,
        "first_more_after_s": _first(up, step_s, lambda s: s[actors] > 1),
        "most_after_s": _first(up, step_s, lambda s: s[actors] == most),
        "age_most_s": round(max((s[f"{vendor}_age_s"] for s in up), default=0.0), 2),
        "age_under_1_s_again_after_s": _young_again_s(up, vendor, step_s),
        "one_again_after_s": _first(down, end_s, lambda s: s[actors] == 1),
    }


def _young_again_s(up: list[Sample], vendor: str, step_s: float) -> float | None:
    """Return when the oldest waiting message was younger than a second again: 0 if it always was, None if it was not
    in the last sample of the high load.
    """
    old = [s["at_s"] for s in up if s[f"{vendor}_age_s"] >= YOUNG_S]
    if old and old[-1] == up[-1]["at_s"]:
        return None
    return round(old[-1] - step_s + 0.5, 1) if old else 0.0


def _first(samples: list[Sample], since_s: float, holds: Callable[[Sample], bool]) -> float | None:
    return next((round(s["at_s"] - since_s, 1) for s in samples if holds(s)), None)


COUNTED = ("accepted", "unacknowledged", "lost", "duplicated", "unexplained")


def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of the median round, with the counts of all rounds added up.

    `rounds` has each round without its samples. The rounds are sorted by the time until the slowest pool had no old
    message any more.
    """

    def slowest(row: Mapping[str, Any]) -> float:
        found = (row[vendor]["age_under_1_s_again_after_s"] for vendor in row["watched"])
        return max(float("inf") if seconds is None else float(seconds) for seconds in found)

    median = sorted(rows, key=slowest)[len(rows) // 2]
    counts = {name: sum(row[name] for row in rows) for name in COUNTED}
    rounds = [{name: value for name, value in row.items() if name not in ("samples", "load")} for row in rows]
    return {**median, **counts, "rounds": rounds}


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@results.options
def main(rounds: int, quick: bool, results_: Path | None) -> None:
    phases, update_s = (BEFORE_S, STEP_S, AFTER_S), UPDATE_S
    if quick:
        phases, update_s, rounds = (1.0, 2.0, 3.0), 1.0, 1
    changes = {"vendors": {name: {**POOL, "timeout_s": 10.0} for name in WATCHED}}
    rows: list[dict[str, Any]] = []
    for _ in range(rounds):
        with running(changes) as (service, _ready_s):
            reactions, run = measure(service, service.config, phases, update_s)
        for vendor in WATCHED:
            for name, value in reactions[vendor].items():
                click.echo(f"{vendor:8} {name:28} {value}")
        click.echo(f"accepted {run['accepted']}, lost {run['lost']}, duplicated {run['duplicated']}")
        rows.append({**reactions, **run})
    results.report("elastic", together(rows), results_, quick)
    results.convict(rows)


if __name__ == "__main__":
    main()
