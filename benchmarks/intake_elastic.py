"""Measures whether the number of intake replicas follows the open requests, up and down, and whether anything is lost.

    python -m benchmarks.intake_elastic

50 triggers a second are posted all the time, an SMS and an e-mail each. For 30 seconds the store is slow: Redis is
stopped for 0.4 s of each half second, so that accepts pile up within their deadline (0.8 s). With
`intake.ongoing_target: 2` Serve must then start more replicas, and stop them when the store is fast again.

Samples the number of replicas twice a second. Prints these times in seconds:

* from the beginning of the slow phase to the first additional replica;
* from the beginning of the slow phase to the largest number of replicas;
* from the end of the slow phase to the old number of replicas.

Prints how many triggers were accepted at the first try, and how many notifications were lost or duplicated.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import click
import uvloop

from benchmarks import results
from benchmarks.whole_service import bodies, drained, losses, running
from cluster.local.service import Service
from cluster.rehearsal.load import first_try, percentile, post_steadily, waited_ms
from dispatcher.core.json_object import JsonObject

RATE, TARGET, LEAST, MOST = 50.0, 2, 2, 4
STOPPED_S, EVERY_S = 0.4, 0.5
BEFORE_S, SLOW_S, AFTER_S = 10.0, 30.0, 110.0
"""The seconds before, during and after the slow phase.

After it, Serve waits for a minute before it stops replicas, and then drains them.
"""


def slow_down(service: Service, seconds: float) -> None:
    """Stop Redis again and again for `seconds`. At the end Redis always runs."""
    (pid,) = service.redis_pids()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        time.sleep(EVERY_S - STOPPED_S)


def measure(service: Service, phases: tuple[float, float, float]) -> JsonObject:
    before_s, slow_s, _ = phases
    samples: list[tuple[float, int]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            samples.append((time.time(), len(service.pids("ServeReplica:intake"))))

    watching = threading.Thread(target=watch, daemon=True)
    slowing = threading.Timer(before_s, slow_down, (service, slow_s))
    began_s = time.time()
    watching.start()
    slowing.start()
    posted = uvloop.run(post_steadily(service.api, bodies(int(RATE * sum(phases))), RATE, give_up_s=0.0))
    slowing.join()
    verdict = drained(service, posted)
    over.set()
    watching.join()
    slow_at_s, healed_s = began_s + before_s, began_s + before_s + slow_s
    healthy_ms = waited_ms([p for p in posted if p.due_s < slow_at_s])
    return {
        **reading(samples, slow_at_s, healed_s),
        "accepted": verdict.accepted,
        "first_try_percent": round(100 * first_try(posted), 2),
        "accept_ms_p99_before": round(percentile(healthy_ms, 0.99), 1),
        **losses(service, verdict),
        "samples": [{"at_s": round(at_s - began_s, 1), "replicas": replicas} for at_s, replicas in samples],
    }


def reading(samples: list[tuple[float, int]], slow_at_s: float, healed_s: float) -> JsonObject:
    """Return the largest number of intake replicas, and three times in seconds.

    The first time ends when there are more replicas than the smallest number. The second time ends when there is the
    largest number. Both are counted from `slow_at_s`, when the store became slow. The third time ends when there is the
    smallest number again. It is counted from `healed_s`, when the store was no longer slow. A time is None if it never
    ended. `samples` are pairs of epoch seconds and a number of replicas.
    """

    def first(since_s: float, least: int, most: int) -> float | None:
        found = (at_s for at_s, replicas in samples if at_s >= since_s and least <= replicas <= most)
        return next((round(at_s - since_s, 1) for at_s in found), None)

    highest = max((replicas for _, replicas in samples), default=0)
    return {
        "replicas_most": highest,
        "first_more_after_s": first(slow_at_s, LEAST + 1, highest),
        "most_after_s": first(slow_at_s, highest, highest),
        "least_again_after_s": first(healed_s, 0, LEAST),
    }


@click.command(help=__doc__)
@click.option(
    "--after", default=AFTER_S, show_default=True, help="seconds to go on for; too few do not show the way down"
)
@results.options
def main(after: float, quick: bool, results_: Path | None) -> None:
    phases = (1.0, 2.0, 2.0) if quick else (BEFORE_S, SLOW_S, after)
    intake = {"replicas_min": LEAST, "replicas_max": MOST, "ongoing_target": TARGET}
    with running({"intake": intake}) as (service, _):
        figures = measure(service, phases)
    for name, value in figures.items():
        if name != "samples":
            click.echo(f"{name:22} {value}")
    results.report("intake_elastic", figures, results_, quick)
    results.convict([figures])


if __name__ == "__main__":
    main()
