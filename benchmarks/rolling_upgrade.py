"""Measures what is lost, repeated or refused during an upgrade under load, and during the downgrade after it.

    python -m benchmarks.rolling_upgrade [--runs 3] [--rate 40] [--told] [--before CHECKOUT]

Two installations use one Redis, the previous version and this version. The previous version starts and serves. Then
this version joins, and the previous version is stopped by SIGTERM. For the downgrade, the previous version joins again
and this version is stopped. Between the two, SIGHUP applies a change of one vendor, and then a change of the whole
configuration.

Callers post all the time, and all events are under `hold`. The callers know both addresses. If one installation does
not accept a trigger, they repeat the trigger at the other and stay there. With `--told` the callers know one address,
and are moved to the other installation before each stop, as docs/upgrading.md advises.

Prints for each part of the run how many triggers were accepted at their first try. Prints what was lost, repeated or
held, by what the vendors received and Redis holds. Without `--before`, the previous version is the one in tests/data.
The exit code is 1 if anything was lost or repeated.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import redis
import yaml

from benchmarks import results
from benchmarks.callers import Callers
from benchmarks.processes import private_redis, workspace
from benchmarks.whole_service import FIXED, bodies, collect, merged, sandbox_config
from cluster.local.service import Service
from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.load import Posted, percentile
from dispatcher.errors import DispatcherError
from tests import version_before
from tests.chaos.bench.checker import examine, waiting

SETTLE_S = 60.0
PAUSE_S = 5.0
"""The seconds of load between two changes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a run. It lasts from `begin_s` (epoch seconds) to the beginning of the next part."""

    name: str
    begin_s: float


def hold_config(folder: Path, **vendor: Any) -> Path:
    """Write the sandbox's configuration with every event under `hold`, and return its path.

    `vendor` has options that replace those of the vendor sms-a.
    """
    config = merged(sandbox_config(), FIXED)
    for event in config["events"].values():
        event["on_unknown"] = "hold"
    config["vendors"]["sms-a"] |= vendor
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(slots=True)
class Pair:
    """Both installations on one Redis. `before` runs the previous version, and `now` runs this version."""

    folder: Path
    before: Service
    now: Service
    url: str
    told: bool
    marks: list[Stretch]

    def mark(self, name: str) -> None:
        self.marks.append(Stretch(name, time.time()))
        click.echo(f"  {self.marks[-1].begin_s - self.marks[0].begin_s:6.1f} s  {name}")

    def replace(self, callers: Callers, old: Service, new: Service, names: tuple[str, str]) -> None:
        """Start `new` beside `old`, move the callers to `new` if `told` is True, and stop `old`."""
        self.mark(f"{names[1]} joins {names[0]}")
        new.start()
        self.mark("both run")
        time.sleep(PAUSE_S)
        if self.told:
            callers.host = 0 if new is self.before else 1
            time.sleep(1.0)
        self.mark(f"{names[0]} stops")
        old.stop()
        self.mark(f"{names[1]} alone")
        time.sleep(PAUSE_S)

    def reload(self, name: str, change: Callable[[], object]) -> None:
        """Call `change`, reload the configuration of `now`, and wait until it is applied. `name` marks this part."""
        seen = self.now.log.read_text().count("configuration applied")
        change()
        self.mark(name)
        self.now.reload()
        until_s = time.monotonic() + 120.0
        while self.now.log.read_text().count("configuration applied") == seen:
            if time.monotonic() > until_s:
                raise DispatcherError(f"the configuration was not applied:\n{self.now.tail()}")
            time.sleep(0.1)
        time.sleep(PAUSE_S)

    def play(self, rate_per_s: float, back: bool, changes: bool) -> list[Posted]:
        """Perform the upgrade, the changes of the configuration and the downgrade under load. Return what was posted.

        `changes` and `back` say whether the changes and the downgrade are done.
        """
        self.before.start()
        hosts = [self.before.api, f"http://127.0.0.1:{self.now.port}"]
        with Callers(hosts, rate_per_s, lambda n: bodies(1, n)[0], roam=not self.told) as callers:
            self.mark("before alone")
            time.sleep(PAUSE_S)
            self.replace(callers, self.before, self.now, ("before", "now"))
            if changes:
                self.reload("one vendor changed", lambda: hold_config(self.folder, timeout_s=6.0))
                self.reload("all changed", lambda: self._change_all())
            if back:
                self.replace(callers, self.now, self.before, ("now", "before"))
        return callers.posted

    def _change_all(self) -> None:
        path = hold_config(self.folder, timeout_s=6.0)
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(merged(config, {"courier": {"take_s": 2.0}})))


def run(
    rate_per_s: float, *, told: bool, before: Path | None, back: bool = True, changes: bool = True
) -> dict[str, Any]:
    """Perform one run on a Redis of its own, and return its figures."""
    with workspace() as folder, private_redis(folder) as server:
        code = before or version_before.unpack(folder)
        config = hold_config(folder)
        first = Service(folder / "before", config, ("--redis-url", server.url), code=code)
        second = Service(folder / "now", config, ("--redis-url", server.url), beside=first)
        pair = Pair(folder, first, second, server.url, told, [])
        try:
            posted = pair.play(rate_per_s, back, changes)
            with redis.Redis(unix_socket_path=server.url.removeprefix("unix://"), decode_responses=True) as store:
                return {"told": told, "before": name_of(before), **judged(posted, first, store, pair.marks)}
        finally:
            for service in (second, first):
                service.stop()
            for service in (second, first):
                service.clean_up()


def name_of(before: Path | None) -> str:
    """Return the commit of the previous version. It is in the checkout `before`, or in tests/data if that is None."""
    if before is None:
        return version_before.COMMIT
    command = ["git", "-C", str(before), "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def judged(posted: Sequence[Posted], service: Service, store: redis.Redis, marks: Sequence[Stretch]) -> dict[str, Any]:
    """Wait until no notification waits in the store, at most `SETTLE_S` seconds. Return the figures of the run."""
    until_s = time.monotonic() + SETTLE_S
    while waiting(store) and time.monotonic() < until_s:
        time.sleep(0.2)
    found = examine(posted, collect(service), CHANNELS, store)
    times = sorted(found.verdict.delivered_at.values())
    return {
        "triggers": len(posted),
        "first_try_percent": percent(posted),
        "never_accepted": sum(p.accepted_s is None for p in posted),
        "accept_ms_p50": round(percentile([ms for p in posted if (ms := p.accept_ms) is not None], 0.5), 1),
        "accept_ms_p99": round(percentile([ms for p in posted if (ms := p.accept_ms) is not None], 0.99), 1),
        "delivery_gap_s": round(max((b - a for a, b in pairwise(times)), default=0.0), 2),
        "lost": len(found.lost),
        "repeated": found.verdict.repeats,
        "held": found.states["held"],
        "contradictions": len(found.contradictions),
        "stretches": stretches(posted, marks),
    }


def percent(posted: Sequence[Posted]) -> float:
    """Return how many percent of the triggers were accepted at the first try."""
    return round(100 * sum(p.first_status == 202 for p in posted) / len(posted), 3) if posted else 100.0


def stretches(posted: Sequence[Posted], marks: Sequence[Stretch]) -> list[dict[str, Any]]:
    """Return for each part of the run its name, the number of its triggers, and how many failed at the first try."""
    found = []
    for mark, end in pairwise([*marks, Stretch("", float("inf"))]):
        inside = [p for p in posted if mark.begin_s <= p.due_s < end.begin_s]
        failed = [p.first_status for p in inside if p.first_status != 202]
        found.append({"name": mark.name, "triggers": len(inside), "failed_first": len(failed), "statuses": failed[:8]})
    return found


def table(figures: Mapping[str, Any]) -> str:
    """Return the table of docs/benchmarks.md. Counts are summed over the runs. Other figures are medians, with the
    worst in brackets.
    """
    names = ("upgrade and back, `hold`", "from", "runs", "accepted at first try", "never accepted")
    heading = (*names, "longest gap in deliveries", "lost", "repeated", "held")
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for told, before in dict.fromkeys((one["told"], one["before"]) for one in figures["runs"]):
        runs = [one for one in figures["runs"] if (one["told"], one["before"]) == (told, before)]
        first = sorted(one["first_try_percent"] for one in runs)
        gap = sorted(one["delivery_gap_s"] for one in runs)
        never, *counts = (str(sum(one[n] for one in runs)) for n in ("never_accepted", "lost", "repeated", "held"))
        middle = len(runs) // 2
        cells = [f"{first[middle]:g} % ({first[0]:g} %)", never, f"{gap[middle]:g} s ({gap[-1]:g} s)", *counts]
        name = "callers are moved before each stop" if told else "callers find out"
        lines.append(f"| {name} | {before} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=40.0, show_default=True, help="triggers a second")
@click.option("--told", is_flag=True, help="callers are moved before each stop")
@click.option("--before", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--add", is_flag=True, help="keep the runs that the results have")
@results.options
def main(
    *, runs: int, rate: float, told: bool, before: Path | None, add: bool, quick: bool, results_: Path | None
) -> None:
    kept = results.read("rolling_upgrade", results_)["figures"]["runs"] if add else []
    for n in range(1 if quick else runs):
        click.echo(f"run {n + 1}")
        kept.append(run(rate, told=told, before=before, back=not quick, changes=not quick))
        click.echo({name: value for name, value in kept[-1].items() if name != "stretches"})
        for stretch in kept[-1]["stretches"]:
            click.echo(f"  {stretch}")
        results.report("rolling_upgrade", {"rate_per_s": rate, "runs": kept}, results_, quick)
    click.echo(table({"runs": kept}))
    broken = sum(one[count] for one in kept for count in ("lost", "repeated", "contradictions"))
    if broken:
        raise click.ClickException(f"lost, repeated or contradictory: {broken}")


if __name__ == "__main__":
    main()
