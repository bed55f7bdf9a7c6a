"""Posts 10 million triggers a day for some minutes, and measures whether anything grows or becomes slower.

    python -m benchmarks.soak [--minutes 30]

The default is five minutes. A release needs 30 minutes. In each minute, 116 triggers a second are posted (an SMS and an
e-mail each), open-loop. No trigger is tried twice, and a refused trigger counts as 15 s. After each minute, accept p99,
memory, file descriptors and bytes in Redis are noted. Prints the slope of each per hour, by least squares without the
first minute.

Redis keeps finished triggers until their retention ends (a day by default). So the bytes in Redis grow by the accepted
triggers, and this growth is no leak.
"""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import click
import uvloop

from benchmarks import results
from benchmarks.cpu_meter import pss_mib
from benchmarks.whole_service import bodies, collect, drained, forget, losses, running
from cluster.local.service import Service
from cluster.rehearsal.load import percentile, post_steadily, waited_ms

RATE = 116.0


def one_minute(service: Service, seconds: float, start: int) -> dict[str, float]:
    posted = uvloop.run(post_steadily(service.api, bodies(int(RATE * seconds), start), RATE, give_up_s=0.0))
    verdict = drained(service, posted)
    received = sum(map(len, collect(service).values()))
    forget(service)  # or each minute would read what all before it received
    accept_ms = waited_ms(posted)
    found = losses(service, verdict)
    # Everything of the earlier minutes had arrived. So a delivery that is not of this minute repeats one of theirs.
    # The warm-up is not judged.
    late = received - verdict.delivered - verdict.repeats if start else 0
    ours = service.pids("ServeReplica:")
    return {
        "triggers": len(posted),
        "refused": sum(p.first_status != 202 for p in posted),
        "accept_ms_p50": percentile(accept_ms, 0.5),
        "accept_ms_p99": percentile(accept_ms, 0.99),
        "actors_pss_mib": pss_mib(ours),
        "service_pss_mib": pss_mib(set(service.all_pids()) - set(service.redis_pids())),
        "everything_pss_mib": pss_mib(service.all_pids()),
        "actors_descriptors": sum(_descriptors(pid) for pid in ours),
        "redis_bytes": _redis_bytes(service),
        "lost": found["lost"],
        "duplicated": found["duplicated"] + late,
        "unexplained": found["unexplained"] + late,
    }


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _redis_bytes(service: Service) -> float:
    with urllib.request.urlopen(f"{service.api}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("dispatcher_store_memory_bytes "):
                return float(line.split()[1])
    raise click.ClickException("no dispatcher_store_memory_bytes in /metrics")


def slope_per_hour(values: list[float], every_s: float) -> float:
    """Return the slope by least squares, per hour. The values are `every_s` seconds apart. Fewer than two values
    give nan.
    """
    n = len(values)
    if n < 2:
        return float("nan")
    middle, mean = (n - 1) / 2, sum(values) / n
    above = sum((x - middle) * (y - mean) for x, y in enumerate(values))
    return above / sum((x - middle) ** 2 for x in range(n)) * 3600 / every_s


@click.command(help=__doc__)
@click.option("--minutes", default=5, show_default=True, help="30 is what to run before a release")
@results.options
def main(minutes: int, quick: bool, results_: Path | None) -> None:
    seconds = 60.0
    if quick:
        minutes, seconds = 2, 0.5
    rows: list[dict[str, float]] = []
    with running() as (service, _):
        for minute in range(minutes):
            rows.append(one_minute(service, seconds, minute * int(RATE * seconds)))
    names = [name for name in rows[0] if name not in ("triggers", "refused", "lost", "duplicated", "unexplained")]
    slopes = {n: round(slope_per_hour([row[n] for row in rows[1:]], seconds), 1) for n in names}
    figures = {
        "minutes": rows,
        "slope_per_hour": slopes,
        "first_try_percent": round(100 - 100 * sum(r["refused"] for r in rows) / sum(r["triggers"] for r in rows), 4),
        "lost": sum(row["lost"] for row in rows),
        "duplicated": sum(row["duplicated"] for row in rows),
        "redis_bytes_per_trigger": round(
            (rows[-1]["redis_bytes"] - rows[0]["redis_bytes"]) / max(1, sum(row["triggers"] for row in rows[1:])), 1
        ),
    }
    results.table([["minute", *names], *([n, *(round(row[name], 1) for name in names)] for n, row in enumerate(rows))])
    for name, value in slopes.items():
        click.echo(f"{name:24} {value:+g} an hour")
    click.echo(f"accepted at the first try: {figures['first_try_percent']:g} %")
    click.echo(f"lost {figures['lost']:g}, duplicated {figures['duplicated']:g}")
    results.report("soak", figures, results_, quick)
    results.convict(rows)


if __name__ == "__main__":
    main()
