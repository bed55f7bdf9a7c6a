"""Measures what is lost, repeated or refused during an upgrade under load, and during the downgrade after it.

    python -m benchmarks.rolling_upgrade [--runs 3] [--rate 40] [--callers KIND] [--before CHECKOUT]

Two installations use one Redis: the previous version and this version. The previous version starts and serves. Then
this version joins, and the previous version is stopped by SIGTERM. Next, this version gets SIGHUP twice: once with a
change of one vendor, and once with a change of the whole configuration. For the downgrade, the previous version joins
again and this version is stopped.

Callers post all the time, and all events are under `hold`. There are three kinds of callers:

- `balanced`: the callers ask /readyz of both addresses, as a load balancer does, and leave an address that is not
  ready. This version announces its stop for `NOTICE_S` seconds, as docs/upgrading.md advises.
- `moved`: the callers know one address. Before each stop they are moved to the other installation.
- `find_out`: the callers know both addresses, and no stop is announced. If an address does not accept a trigger, the
  callers repeat the trigger at the other address and stay there.

Prints for each part of the run how many triggers were accepted at their first try. Triggers that were sent first to an
installation that is being started or stopped are counted apart. Prints what was lost, repeated or held. These counts
come from what the vendors received and what Redis holds. Without `--before`, the previous version is the code in
tests/data. The exit code is 1 if anything was lost or repeated.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
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
from cluster.rehearsal.load import Posted, first_try, percentile
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import DispatcherError
from tests import version_before
from tests.chaos.bench.checker import examine, waiting

SETTLE_S = 60.0
KINDS = {
    "balanced": "a balancer asks /readyz",
    "moved": "callers are moved before each stop",
    "find_out": "callers find out",
}
NOTICE_S = 5.0
WATCH_S = 1.0
"""How often a balancer asks /readyz, in seconds."""
PAUSE_S = 5.0
"""The seconds of load between two changes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One part of a run. It lasts from `begin_s` (epoch seconds) to the beginning of the next part.

    `changing` is the index of the host that is being started or stopped, or None.
    """

    name: str
    begin_s: float
    changing: int | None = None


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
    """Two installations on one Redis. `before` runs the previous version, and `now` runs this version."""

    folder: Path
    before: Service
    now: Service
    url: str
    kind: str
    marks: list[Stretch]

    def mark(self, name: str, changing: Service | None = None) -> None:
        """Begin the next part of the run. `changing` is the installation that is being started or stopped."""
        host = None if changing is None else 0 if changing is self.before else 1
        self.marks.append(Stretch(name, time.time(), host))
        click.echo(f"  {self.marks[-1].begin_s - self.marks[0].begin_s:6.1f} s  {name}")

    def replace(self, callers: Callers, old: Service, new: Service, names: tuple[str, str]) -> None:
        """Start `new` beside `old`, and then stop `old`. If the kind of this pair is `moved`, the callers change to
        `new` before.
        """
        self.mark(f"{names[1]} joins {names[0]}", new)
        new.start()
        self.mark("both run")
        time.sleep(PAUSE_S)
        if self.kind == "moved":
            callers.host = 0 if new is self.before else 1
            time.sleep(1.0)
        self.mark(f"{names[0]} stops", old)
        old.stop()
        self.mark(f"{names[1]} alone")
        time.sleep(PAUSE_S)

    def reload(self, name: str, change: Callable[[], object]) -> None:
        """Call `change`, which changes the configuration, and let the installation `now` reload it. Return when the new
        configuration is applied.

        `name` is the name of this part of the run in the results.
        """
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

    def play(self, rate_per_s: float, back: bool, changes: bool) -> Callers:
        """Perform the upgrade, the changes of the configuration and the downgrade under load. Return the callers.

        `changes` and `back` say whether the changes and the downgrade are done.
        """
        self.before.start()
        hosts = [self.before.api, f"http://127.0.0.1:{self.now.port}"]
        watch_s = WATCH_S if self.kind == "balanced" else None
        with Callers(
            hosts, rate_per_s, lambda n: bodies(1, n)[0], roam=self.kind == "find_out", watch_s=watch_s
        ) as callers:
            self.mark("before alone")
            time.sleep(PAUSE_S)
            self.replace(callers, self.before, self.now, ("before", "now"))
            if changes:
                self.reload("one vendor changed", lambda: hold_config(self.folder, timeout_s=6.0))
                self.reload("all changed", lambda: self._change_all())
            if back:
                self.replace(callers, self.now, self.before, ("now", "before"))
        return callers

    def _change_all(self) -> None:
        path = hold_config(self.folder, timeout_s=6.0)
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(merged(config, {"courier": {"take_s": 2.0}})))


def run(rate_per_s: float, *, kind: str, before: Path | None, back: bool = True, changes: bool = True) -> JsonObject:
    """Perform one run on a Redis of its own, and return its figures. `kind` is one of `KINDS`."""
    with workspace() as folder, private_redis(folder) as server:
        code = before or version_before.unpack(folder)
        config = hold_config(folder)
        options, said = ("--redis-url", server.url), ("--stop-notice", f"{NOTICE_S:g}") if kind == "balanced" else ()
        first = Service(folder / "before", config, (*options, *(said if knows_notice(code) else ())), code=code)
        second = Service(folder / "now", config, (*options, *said), beside=first)
        pair = Pair(folder, first, second, server.url, kind, [])
        try:
            callers = pair.play(rate_per_s, back, changes)
            with redis.Redis(unix_socket_path=server.url.removeprefix("unix://"), decode_responses=True) as store:
                found = judged(callers.posted, first, store)
            parts = stretches(callers.posted, pair.marks, callers.aimed)
            return {"callers": kind, "before": name_of(before), **found, **apart(parts), "stretches": parts}
        finally:
            for service in (second, first):
                service.stop()
            for service in (second, first):
                service.clean_up()


def knows_notice(code: Path) -> bool:
    """Return True if the version in the folder `code` has the option `--stop-notice`."""
    return "--stop-notice" in (code / "cluster" / "cli" / "main.py").read_text()


def name_of(before: Path | None) -> str:
    """Return the commit of the previous version, whose code is in the folder `before`.

    If `before` is None, the previous version is the archive in tests/data, and the commit of that archive is returned.
    """
    if before is None:
        return version_before.COMMIT
    command = ["git", "-C", str(before), "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def judged(posted: Sequence[Posted], service: Service, store: redis.Redis) -> JsonObject:
    """Wait until no notification waits in the store, at most `SETTLE_S` seconds. Return the figures of the run."""
    until_s = time.monotonic() + SETTLE_S
    while waiting(store) and time.monotonic() < until_s:
        time.sleep(0.2)
    found = examine(posted, collect(service), CHANNELS, store)
    times = sorted(found.verdict.delivered_at.values())
    soon = sum(p.accepted_s is not None and p.tries <= 2 for p in posted)
    return {
        "triggers": len(posted),
        "first_try_percent": percent(posted),
        "second_try_percent": round(100 * soon / len(posted), 3),
        "never_accepted": sum(p.accepted_s is None for p in posted),
        "accept_ms_p50": round(percentile([ms for p in posted if (ms := p.accept_ms) is not None], 0.5), 1),
        "accept_ms_p99": round(percentile([ms for p in posted if (ms := p.accept_ms) is not None], 0.99), 1),
        "delivery_gap_s": round(max((b - a for a, b in pairwise(times)), default=0.0), 2),
        "lost": len(found.lost),
        "repeated": found.verdict.repeats,
        "held": found.states["held"],
        "contradictions": len(found.contradictions),
    }


def percent(posted: Sequence[Posted]) -> float:
    """Return how many percent of the triggers were accepted at the first try."""
    return round(100 * first_try(posted), 3) if posted else 100.0


def stretches(posted: Sequence[Posted], marks: Sequence[Stretch], aimed: Sequence[int]) -> list[JsonObject]:
    """Return for each part of the run its name, the number of its triggers, and how many failed at the first try.

    `marks` are the parts. `aimed` is, for each trigger, the index of the host to which it was posted first.
    `failed_at_changing` counts the failures at the host that was being started or stopped.
    """
    found = []
    for mark, end in pairwise([*marks, Stretch("", float("inf"))]):
        inside = [(p, host) for p, host in zip(posted, aimed, strict=True) if mark.begin_s <= p.due_s < end.begin_s]
        failed = [(p.first_status, host) for p, host in inside if p.first_status != 202]
        found.append(
            {
                "name": mark.name,
                "triggers": len(inside),
                "failed_first": len(failed),
                "failed_at_changing": sum(host == mark.changing for _, host in failed),
                "statuses": dict(Counter(str(status) for status, _ in failed)),
            }
        )
    return found


def apart(parts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count, over all parts of a run, the triggers whose first try failed.

    `failed_at_changing` is how many failed at a host that was being started or stopped. `failed_elsewhere` is how many
    failed at another host.
    """
    at_changing = sum(part["failed_at_changing"] for part in parts)
    return {"failed_at_changing": at_changing, "failed_elsewhere": sum(p["failed_first"] for p in parts) - at_changing}


def kind_of(one: Mapping[str, Any]) -> str:
    """Return the kind of a run: one of `KINDS`.

    The result of a newer run says its kind in the field `callers`. An older result has only the field `told`, which is
    true if callers were moved before each stop.
    """
    return str(one["callers"]) if "callers" in one else "moved" if one["told"] else "find_out"


FIRST_TRY_PERCENT = 99.9
"""The least share of triggers that are to be accepted at their first try, in percent."""


def table(figures: Mapping[str, Any]) -> str:
    """Return the table of docs/benchmarks.md. Counts are summed over the runs. Other figures are medians, with the
    worst in brackets. A figure that does not reach its bar in each run says MISSED.
    """
    names = ("upgrade and back, `hold`", "from", "runs", "accepted at first try", "never accepted")
    heading = (*names, "longest gap in deliveries", "lost", "repeated", "held")
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for kind, before in dict.fromkeys((kind_of(one), one["before"]) for one in figures["runs"]):
        runs = [one for one in figures["runs"] if (kind_of(one), one["before"]) == (kind, before)]
        first = sorted(one["first_try_percent"] for one in runs)
        gap = sorted(one["delivery_gap_s"] for one in runs)
        never, *counts = (str(sum(one[n] for one in runs)) for n in ("never_accepted", "lost", "repeated", "held"))
        middle = len(runs) // 2
        tried = f"{first[middle]:g} % ({first[0]:g} %)"
        tried = tried if first[0] >= FIRST_TRY_PERCENT else f"**{tried}: MISSED**"
        lost, repeated = (text if text == "0" else f"**{text}: MISSED**" for text in counts[:2])
        cells = [tried, never, f"{gap[middle]:g} s ({gap[-1]:g} s)", lost, repeated, counts[2]]
        lines.append(f"| {KINDS[kind]} | {before} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=40.0, show_default=True, help="triggers a second")
@click.option("--callers", "kind", default="balanced", show_default=True, type=click.Choice(list(KINDS)))
@click.option("--before", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--add", is_flag=True, help="keep the runs that the results have")
@results.options
def main(
    *, runs: int, rate: float, kind: str, before: Path | None, add: bool, quick: bool, results_: Path | None
) -> None:
    kept = results.read("rolling_upgrade", results_)["figures"]["runs"] if add else []
    for n in range(1 if quick else runs):
        click.echo(f"run {n + 1}")
        kept.append(run(rate, kind=kind, before=before, back=not quick, changes=not quick))
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
