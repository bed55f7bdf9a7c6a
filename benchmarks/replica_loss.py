"""Measures what `store.durability: replica` keeps if the primary and its disk are lost, and what this durability costs.

    python -m benchmarks.replica_loss [--runs 3] [--pairs 4] [--rate 40]

The loss is measured on a whole service under load. Its Redis has a primary, one replica or two, and three sentinels.
The primary is killed and its disk is deleted, and the sentinels promote a replica. With one replica, a new server at
once begins to follow the promoted server, as docs/deployment.md asks for. With two replicas, `replicas_away_max` is 1,
so no new server is needed. All events are under `hold`.

Prints how many notifications were acknowledged, lost and repeated, and the longest time without an accept. To find
losses, the acknowledged triggers are compared with what the vendors received and what the promoted server holds.

The cost is measured with two services on the same servers. One service has `durability: primary`, and the other has
`replica`. The load goes to the two services in turn, and two successive turns are a pair. Prints the accept p50 and p99
of each service, and the ratio of the two services in each pair.

The exit code is 1 if anything was lost or repeated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import redis
import yaml

from benchmarks import results
from benchmarks.callers import Callers
from benchmarks.processes import workspace
from benchmarks.rolling_upgrade import hold_config, judged
from benchmarks.whole_service import bodies
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, first_try, percentile, waited_ms
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import DispatcherError
from tests.sentinels import DOWN_MS, fleet

STEADY_S = 8.0
BACK_S = 60.0
TURN_S = 12.0
REPLICAS = (1, 2)


def config(folder: Path, replicas: int, durability: str) -> Path:
    """Write the configuration of a service with this `store.durability`, and return its path."""
    path = hold_config(folder)
    found = yaml.safe_load(path.read_text())
    if durability == "replica":
        found["store"] = {"durability": durability, "replicas_away_max": replicas - 1}
    path = folder / f"{durability}.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


def loss(replicas: int, rate_per_s: float) -> JsonObject:
    """Kill the primary and delete its disk, while triggers are posted at `rate_per_s`. Return the figures of this run.

    The primary has this many `replicas`, one of which is promoted.
    """
    with workspace() as folder, fleet(replicas, 3, hz="10") as servers:
        service = Service(folder / "state", config(folder, replicas, "replica"), ("--redis-url", servers.url))
        try:
            service.start()
            old = servers.primary()
            with Callers([service.api], rate_per_s, lambda n: bodies(1, n)[0]) as callers:
                time.sleep(STEADY_S)
                lost_s = time.time()
                old.lose_disk()
                new = servers.promoted(old)
                promoted_s = time.time() - lost_s
                if replicas == 1:
                    old.follow(new)
                _accepted_after(callers, lost_s + promoted_s)
                time.sleep(STEADY_S)
            with redis.Redis(port=new.port, decode_responses=True) as store:
                found = judged(callers.posted, service, store)
        finally:
            service.stop()
            service.clean_up()
    return {
        "replicas": replicas,
        "down_after_ms": DOWN_MS,
        "promoted_s": round(promoted_s, 2),
        "refusing_s": round(refusing_s(callers.posted), 2),
        "acknowledged": sum(p.accepted_s is not None for p in callers.posted),
        **found,
    }


def _accepted_after(callers: Callers, since_s: float) -> None:
    until_s = time.monotonic() + BACK_S
    while not any((p.accepted_s or 0.0) > since_s for p in list(callers.posted)):
        if time.monotonic() > until_s:
            raise DispatcherError(f"no trigger is accepted within {BACK_S:g} s after the promotion")
        time.sleep(0.05)


def refusing_s(posted: Sequence[Posted]) -> float:
    """Return the longest time between two consecutive accepts, in seconds."""
    times = sorted(p.accepted_s for p in posted if p.accepted_s is not None)
    return max((b - a for a, b in pairwise(times)), default=0.0)


def price(replicas: int, pairs: int, rate_per_s: float) -> Iterator[JsonObject]:
    """Post to two services on the same servers alternately.

    Yield for each pair of turns the accept p50 and p99 of both services, in milliseconds.
    """
    with workspace() as folder, fleet(replicas, 3, hz="10") as servers:
        services = {
            name: Service(folder / name, config(folder, replicas, name), ("--redis-url", servers.url))
            for name in ("primary", "replica")
        }
        try:
            for at, service in enumerate(services.values()):
                service.start()
                _turn(service, rate_per_s, 900_000 + 10_000 * at, 3.0)
            for n in range(pairs):
                order = list(services.items()) if n % 2 == 0 else list(services.items())[::-1]
                turns = {
                    name: _turn(service, rate_per_s, 10_000 * n + 5_000 * at, TURN_S)
                    for at, (name, service) in enumerate(order)
                }
                yield {"replicas": replicas, **turns}
        finally:
            for service in services.values():
                service.stop()
                service.clean_up()


def _turn(service: Service, rate_per_s: float, start: int, seconds: float) -> dict[str, float]:
    with Callers([service.api], rate_per_s, lambda n: bodies(1, start + n)[0]) as callers:
        time.sleep(seconds)
    found, first = waited_ms(callers.posted), first_try(callers.posted)
    return {
        "p50_ms": round(percentile(found, 0.5), 2),
        "p99_ms": round(percentile(found, 0.99), 2),
        "first_try_percent": round(100 * first, 2),
    }


REFUSING_S = 15.0
"""The longest time in seconds for which triggers may be refused."""


def table(figures: Mapping[str, Any]) -> str:
    """Return the Markdown tables about the loss of a primary, for docs/benchmarks.md.

    The numbers of acknowledged, lost and repeated messages are summed over the runs. Other figures are medians, with
    the worst run in brackets. A figure that does not reach its bar in each run says MISSED.
    """
    names = ("primary lost with its disk, `hold`", "runs", "acknowledged", "lost", "repeated", "refusing", "promoted")
    lines = _headed(names)
    for replicas in REPLICAS:
        runs = [one for one in figures["losses"] if one["replicas"] == replicas]
        if runs:
            sums = {name: sum(one[name] for one in runs) for name in ("acknowledged", "lost", "repeated")}
            cells = [_told(str(count), name != "acknowledged" and count > 0) for name, count in sums.items()]
            refusing, promoted = ([one[name] for one in runs] for name in ("refusing_s", "promoted_s"))
            cells += [_told(_middle(refusing, " s"), max(refusing) > REFUSING_S), _middle(promoted, " s")]
            what = "1 replica, replaced at the promotion" if replicas == 1 else "2 replicas, 1 may be away"
            lines.append(f"| {what} | {len(runs)} | {' | '.join(cells)} |")
    kinds = [f"{name}, {kind}" for name in ("p50", "p99") for kind in ("`primary`", "`replica`", "ratio")]
    if figures["pairs"]:
        lines += ["", *_headed(["accepts, taking turns", "pairs", *kinds])]
    for replicas in REPLICAS:
        pairs = [one for one in figures["pairs"] if one["replicas"] == replicas]
        if pairs:
            cells = []
            for name in ("p50_ms", "p99_ms"):
                cells += [_middle([one[kind][name] for one in pairs], " ms") for kind in ("primary", "replica")]
                cells.append(_middle([one["replica"][name] / one["primary"][name] for one in pairs], ""))
            lines.append(f"| {replicas} replica{'s' if replicas > 1 else ''} | {len(pairs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _told(text: str, missed: bool) -> str:
    return f"**{text}: MISSED**" if missed else text


def _headed(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _middle(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.3g}{unit} ({max(values):.3g}{unit})"


@click.command(help=__doc__)
@click.option(
    "--runs", default=3, show_default=True, type=click.IntRange(0), help="losses with each number of replicas"
)
@click.option("--pairs", default=4, show_default=True, type=click.IntRange(0))
@click.option("--rate", default=40.0, show_default=True, help="triggers a second")
@click.option("--replicas", multiple=True, type=click.Choice(["1", "2"]), help="only with so many")
@click.option("--add", is_flag=True, help="keep what the results have")
@results.options
def main(
    *, runs: int, pairs: int, rate: float, replicas: tuple[str, ...], add: bool, quick: bool, results_: Path | None
) -> None:
    chosen = [int(one) for one in replicas] or list(REPLICAS)
    figures: dict[str, Any] = {"losses": [], "pairs": []}
    if add:
        figures = results.read("replica_loss", results_)["figures"]
    for count in chosen[:1] if quick else chosen:
        for _ in range(1 if quick else runs):
            figures["losses"].append(loss(count, rate))
            click.echo(figures["losses"][-1])
            results.report("replica_loss", figures, results_, quick)
        if pairs and not quick:
            for pair in price(count, pairs, rate):
                figures["pairs"].append(pair)
                click.echo(pair)
                results.report("replica_loss", figures, results_, quick)
    click.echo(table(figures))
    broken = sum(one[name] for one in figures["losses"] for name in ("lost", "repeated", "contradictions"))
    if broken:
        raise click.ClickException(f"lost, repeated or contradictory: {broken}")


if __name__ == "__main__":
    main()
