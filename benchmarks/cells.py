"""Measures what two cells carry beside one, where Redis is what limits, and what a dead cell takes from the other.

    python -m benchmarks.cells [--rounds 3] [--share 0.04] [--clients 24] [--seconds 20]

Each Redis is held to a share of one core by a control group, which needs root. So Redis is slower than the rest of the
service on this machine, as it would be under a load for which one Redis is not enough. The service has its shipped
configuration.

*What is carried.* A round has a fresh installation with one cell and then one with two. To each come clients that post
one trigger after another, the same number for each cell. A trigger has an SMS and an e-mail. What counts is a window
of `--seconds` that begins 10 s after the first post. What is carried is the smaller of two rates: of the triggers that
were accepted in the window, and of those that were delivered. The ratio is that of the two installations of one round.
Then the quotas end, and everything accepted must arrive.

*That Redis limits.* In the same window: the CPU time of each Redis ÷ its quota, the periods in which it was throttled,
and the share of the machine's cores that was idle.

*A dead cell.* The last installation with two cells gets 20 triggers a second, its Redis servers held again. After 10 s
the Redis of cell 1 is killed. Each trigger is tried once. The keys of cell 0 must all be accepted and delivered, and
those of cell 1 must get 503. Then the Redis starts again, and what cell 1 had accepted must arrive too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import click
import uvloop

from benchmarks import results
from benchmarks.cpu_meter import CpuMeter
from benchmarks.cpu_quota import CpuQuota, Reading
from benchmarks.processes import cpu_s, workspace
from benchmarks.whole_service import MESSAGES, bodies, drained, losses, running, vendor_actors
from cluster.local.redis_server import RedisServer
from cluster.local.service import Service
from cluster.rehearsal.load import Posted, first_try, post_in_turn, post_steadily
from cluster.rehearsal.verdict import Verdict
from dispatcher.core.cells.owners import owner
from dispatcher.core.json_object import JsonObject

SHARE, CLIENTS, SECONDS, RAMP_S = 0.04, 24, 20.0, 10.0
MOST_PER_S = 2000
"""More triggers a second than any machine has carried here. So many are made before the load begins."""

TENANT, DEAD = "default", "1"
RATE_PER_S, BEFORE_S, AFTER_S = 20.0, 10.0, 30.0
"""The load while a cell dies, and the seconds before and after its death."""

FIRST_APART = 500_000
"""The order number of the first trigger of that load. The load before it has smaller ones."""


@dataclass(slots=True)
class Installation:
    """A running service, and for each of its cells the process id of its Redis. `further` are the cells from 1 on."""

    service: Service
    further: Sequence[RedisServer]

    @property
    def redis_pids(self) -> list[int]:
        """The process ids of the Redis servers, in the order of the cells."""
        pids = [*self.service.redis_pids(), *(pid for server in self.further if (pid := server.pid()) is not None)]
        if len(pids) != len(self.further) + 1:
            raise click.ClickException(f"{len(self.further) + 1} Redis servers should run, but {len(pids)} do")
        return pids


@contextlib.contextmanager
def installed(cells: int) -> Iterator[Installation]:
    """Yield a warm installation with this number of cells."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(workspace())
        servers = [RedisServer(folder / f"redis-{n}", folder / f"s{n}") for n in range(1, cells)]
        for n, server in enumerate(servers, 1):
            server.start()
            stack.callback(server.stop)
            (folder / f"url-{n}").write_text(server.url)
        urls = [f"file:{folder}/url-{n}" for n in range(1, cells)]
        service, _ = stack.enter_context(running({"store": {"cells": urls}} if urls else None))
        yield Installation(service, servers)


@contextlib.contextmanager
def limited(installation: Installation, share: float) -> Iterator[list[CpuQuota]]:
    """Hold each Redis to `share` of a core inside the `with` block."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(CpuQuota(pid, share)) for pid in installation.redis_pids]


# ---- what is carried


class Carried(TypedDict):
    """The rates of one installation in its window, in triggers a second, and whether Redis limited it.

    `redis_of_quota` and `throttled` are of the Redis that was limited least: CPU time ÷ quota, and the share of the
    periods in which it was throttled. `idle` is the idle share of the machine's cores, and `own_cores` is what the
    service, its Redis servers, the clients and the vendors used.
    """

    carried_per_s: float
    accepted_per_s: float
    delivered_per_s: float
    first_try_percent: float
    redis_of_quota: float
    throttled: float
    throttled_s: float
    idle: float
    own_cores: float
    vendor_actors: float


class Window:
    """Reads the counters of the kernel at the beginning and at the end of the window, in a thread of its own."""

    def __init__(self, installation: Installation, quotas: Sequence[CpuQuota], seconds: float) -> None:
        self._installation, self._quotas, self._seconds = installation, quotas, seconds
        self.began_s = self.ended_s = 0.0
        self.redis: list[Reading] = []
        self.idle = self.own_cores = 0.0
        self.actors = 0
        self._thread = threading.Thread(target=self._watch, name="window", daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _watch(self) -> None:
        time.sleep(RAMP_S)
        meter, own_s = CpuMeter(self._installation.service), self._others_s()
        before, idle_before_s, self.began_s = [quota.read() for quota in self._quotas], idle_s(), time.time()
        time.sleep(self._seconds)
        self.redis = [quota.read().since(at) for quota, at in zip(self._quotas, before, strict=True)]
        self.ended_s = time.time()
        self.idle = (idle_s() - idle_before_s) / (self.ended_s - self.began_s) / (os.cpu_count() or 1)
        self.actors = vendor_actors(self._installation.service)
        self.own_cores = (sum(meter.read().values()) + self._others_s() - own_s) / meter.seconds()

    def _others_s(self) -> float:
        """Return the CPU seconds of the further Redis servers, the vendors and this process."""
        return cpu_s([*self._installation.redis_pids[1:], self._installation.service.sandbox_pid, os.getpid()])


def idle_s() -> float:
    """Return the seconds that the cores of this machine were idle since it started, added up."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def rates(
    posted: Sequence[Posted], delivered_at: Mapping[str, float], window: tuple[float, float]
) -> tuple[float, float]:
    """Return how many triggers a second were accepted and delivered in the window.

    `window` is its beginning and its end in epoch seconds. A delivered notification counts as its part of a trigger.
    """
    began_s, ended_s = window
    accepted = sum(p.accepted_s is not None and began_s <= p.accepted_s < ended_s for p in posted)
    delivered = sum(began_s <= at < ended_s for at in delivered_at.values())
    return accepted / (ended_s - began_s), delivered / MESSAGES / (ended_s - began_s)


def carried(installation: Installation, share: float, clients: int, seconds: float) -> tuple[Carried, dict[str, int]]:
    """Load an installation, and return what it carried and what was lost or repeated of it."""
    some = bodies(int(MOST_PER_S * (RAMP_S + seconds)))
    with limited(installation, share) as quotas:
        window = Window(installation, quotas, seconds)
        posted = uvloop.run(
            post_in_turn(installation.service.api, iter(some), clients * len(quotas), RAMP_S + seconds + 0.5)
        )
        window.join()
    verdict = drained(installation.service, posted)
    accepted_per_s, delivered_per_s = rates(posted, verdict.delivered_at, (window.began_s, window.ended_s))
    found: Carried = {
        "carried_per_s": round(min(accepted_per_s, delivered_per_s), 1),
        "accepted_per_s": round(accepted_per_s, 1),
        "delivered_per_s": round(delivered_per_s, 1),
        "first_try_percent": round(100 * first_try(posted), 3),
        "redis_of_quota": round(min(one.cpu_s / one.at_s for one in window.redis) / share, 3),
        "throttled": round(min(one.throttled / max(1, one.periods) for one in window.redis), 3),
        "throttled_s": round(min(one.throttled_s for one in window.redis), 2),
        "idle": round(window.idle, 3),
        "own_cores": round(window.own_cores, 3),
        "vendor_actors": window.actors,
    }
    return found, losses(installation.service, verdict)


def ratios(one: Sequence[Carried], two: Sequence[Carried]) -> dict[str, results.Spread]:
    """Return what two cells carried ÷ what one carried, over the rounds. Also return it of accepts and deliveries."""
    pairs = list(zip(one, two, strict=True))
    return {
        "carried": results.spread([b["carried_per_s"] / a["carried_per_s"] for a, b in pairs]),
        "accepted": results.spread([b["accepted_per_s"] / a["accepted_per_s"] for a, b in pairs]),
        "delivered": results.spread([b["delivered_per_s"] / a["delivered_per_s"] for a, b in pairs]),
    }


# ---- a dead cell


class Apart(TypedDict):
    """The triggers of both cells around the death of cell 1, counted by their answers.

    `others` are the triggers of cell 0, before and after the death. `dead_statuses` counts the answers to the triggers
    of cell 1 that were due after it.
    """

    others: int
    others_first_try: int
    others_delivered: int
    others_repeated: int
    dead: int
    dead_statuses: dict[str, int]


def apart(posted: Sequence[Posted], killed_s: float, verdict: Verdict) -> Apart:
    """Count what became of the triggers of both cells. `verdict` covers the triggers of cell 0."""
    of_dead = {p.key for p in posted if owner(TENANT, p.key, 2) == DEAD}
    others = [p for p in posted if p.key not in of_dead]
    dead = [p for p in posted if p.key in of_dead and p.due_s >= killed_s]
    lost = {name.split("/")[0] for name in verdict.lost}
    return {
        "others": len(others),
        "others_first_try": sum(p.first_status == 202 for p in others),
        "others_delivered": sum(p.accepted_s is not None and p.key not in lost for p in others),
        "others_repeated": verdict.repeats,
        "dead": len(dead),
        "dead_statuses": dict(Counter(str(p.first_status) for p in dead)),
    }


def killed(installation: Installation, share: float, before_s: float, after_s: float) -> tuple[Apart, dict[str, int]]:
    """Kill cell 1 under a steady load, and return what became of the load, and what was lost of it at last."""
    service, server = installation.service, installation.further[0]
    some = bodies(int(RATE_PER_S * (before_s + after_s)), FIRST_APART)
    killed_s = 0.0

    async def load() -> list[Posted]:
        nonlocal killed_s
        posting = asyncio.ensure_future(post_steadily(service.api, some, RATE_PER_S, give_up_s=0.0))
        await asyncio.sleep(before_s)
        os.kill(installation.redis_pids[1], signal.SIGKILL)
        killed_s = time.time()
        return await posting

    with limited(installation, share):
        posted = uvloop.run(load())
        others = [p for p in posted if owner(TENANT, p.key, 2) != DEAD]
        found = apart(posted, killed_s, drained(service, others))
    server.start()
    return found, losses(service, drained(service, posted))


# ---- the benchmark


def summed(rows: Sequence[Carried]) -> JsonObject:
    return {name: results.spread([row[name] for row in rows]) for name in Carried.__annotations__}  # type: ignore[literal-required]


def shown(cells: int, row: Carried) -> str:
    return (
        f"cells {cells}: {row['accepted_per_s']:.0f} triggers/s accepted ({row['first_try_percent']:g} % at the first "
        f"try), {row['delivered_per_s']:.0f}/s delivered; Redis used {row['redis_of_quota']:.0%} of its "
        f"quota and was throttled in {row['throttled']:.0%} of the periods; {row['idle']:.0%} of the machine was idle, "
        f"{row['own_cores']:.2f} cores were used here, {row['vendor_actors']:g} vendor actors"
    )


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--share", default=SHARE, show_default=True, type=click.FloatRange(0.01, 1.0), help="of a core, a Redis")
@click.option("--clients", default=CLIENTS, show_default=True, type=click.IntRange(1), help="for each cell")
@click.option("--seconds", default=SECONDS, show_default=True, help="of the window that counts")
@results.options
def main(*, rounds: int, share: float, clients: int, seconds: float, quick: bool, results_: Path | None) -> None:
    rounds, seconds, before_s, after_s = (1, 2.0, 2.0, 4.0) if quick else (rounds, seconds, BEFORE_S, AFTER_S)
    rows: dict[int, list[Carried]] = {1: [], 2: []}
    lost: list[Mapping[str, Any]] = []
    for n, cells in itertools.product(range(rounds), rows):
        with installed(cells) as installation:
            row, missing = carried(installation, share, clients, seconds)
            click.echo(shown(cells, row))
            rows[cells].append(row)
            lost.append(missing)
            if cells == 2 and n == rounds - 1:
                dead, missing = killed(installation, share, before_s, after_s)
                click.echo(f"cell {DEAD} dead: {dead}")
                lost.append(missing)
    ratio = ratios(rows[1], rows[2])
    results.spread_table({f"{what}: two cells ÷ one": each for what, each in ratio.items()})
    figures: JsonObject = {"share": share, "clients": clients, "seconds": seconds, "rounds": rounds, "ratio": ratio}
    figures |= {"one": summed(rows[1]), "two": summed(rows[2])}
    figures["dead_cell"] = {"rate_per_s": RATE_PER_S, "seconds": after_s, **dead}
    figures |= {name: sum(each[name] for each in lost) for name in ("lost", "duplicated", "unexplained")}
    results.report("cells", figures, results_, quick)
    results.convict(lost)


if __name__ == "__main__":
    main()
