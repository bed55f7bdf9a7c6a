"""`dispatcher demo`: posts realistic checkout triggers during a vendor outage, then judges what the vendors
received.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import aiohttp
import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cluster.api_answers import VendorRow
from cluster.local.service import Service
from cluster.rehearsal.checkouts import checkouts
from cluster.rehearsal.load import Posted, percentile, post_steadily
from cluster.rehearsal.verdict import Verdict, judge
from dispatcher.core.breaker.config import SECOND_NS, BreakerConfig

CHANNELS = {"sms-a": "sms", "sms-b": "sms", "email-a": "email", "email-b": "email"}
SICK = "sms-a"
DRAIN_S = 30.0
QUIET_S = 0.7
"""The number of seconds without a failed call of the sick vendor after which a burst of failures has ended.

In the sandbox's configuration an open breaker waits for at least a second.
"""
BREAKER = BreakerConfig(open_wait_ms=2_000, open_wait_ms_max=8_000, slow_ns=2 * SECOND_NS, half_open_min_calls=5)
"""The breaker of the sandbox's SMS vendors. A test compares it with their configuration file."""
PROBES_MAX = BREAKER.half_open_calls
"""The most failed calls when a breaker tries to close again and no call succeeds."""
RAMP_MAX = PROBES_MAX + BREAKER.ramp_calls * len(BREAKER.ramp)
"""The most failed calls when a breaker tries to close again, its probes succeed, and it fails on the ramp."""


@dataclass(slots=True)
class Outage:
    """The outage as the sick vendor's call log shows it.

    Times are epoch seconds. None means that the event did not happen. `first_failure_s` is the first failed call. The
    failed calls before the vendor was cut off are the burst, and `last_burst_s` is the last of them. Failed calls after
    it are probes. `recovered_s` is the first accepted call after `healed_s`.
    """

    failing_s: float = 0.0
    healed_s: float = 0.0
    first_failure_s: float | None = None
    last_burst_s: float | None = None
    probes: int = 0
    recovered_s: float | None = None

    @property
    def cut_off_s(self) -> float | None:
        if self.first_failure_s is None or self.last_burst_s is None:
            return None
        return self.last_burst_s - self.first_failure_s


@dataclass(slots=True)
class Progress:
    """The figures that the live view shows."""

    total: int
    phase: str = "starting"
    done: int = 0
    accepted: int = 0
    latency_ms: list[float] = field(default_factory=list)
    vendors: list[VendorRow] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)

    def note(self, posted: Posted) -> None:
        self.done += 1
        if posted.accept_ms is not None:
            self.accepted += 1
            self.latency_ms.append(posted.accept_ms)


def outage_of(calls: list[tuple[float, str]], failing_s: float, healed_s: float) -> Outage:
    """Return the outage that `calls` show. `calls` is the call log of the vendor that was made to fail: (epoch seconds,
    outcome).

    After its breaker has opened, the vendor gets only probes. To tell them from ordinary messages, the failed calls are
    grouped into bursts that are at least `QUIET_S` seconds apart. The first burst is ordinary traffic. A later burst is
    ordinary traffic if it has more failed calls than the probes of a breaker can have. All bursts after the last burst
    of ordinary traffic are probes.
    """
    outage = Outage(failing_s, healed_s)
    during = [t for t, outcome in calls if outcome != "accepted" and t >= failing_s]
    if during:
        bursts = _bursts(during)
        yes = [t for t, outcome in calls if outcome == "accepted"]
        last = max(n for n, burst in enumerate(bursts) if n == 0 or _no_probes(burst, bursts[n - 1][-1], yes))
        outage.first_failure_s, outage.last_burst_s = during[0], bursts[last][-1]
        outage.probes = sum(map(len, bursts[last + 1 :]))
    outage.recovered_s = next((t for t, outcome in calls if outcome == "accepted" and t > healed_s), None)
    return outage


def _bursts(times: list[float]) -> list[list[float]]:
    found = [[times[0]]]
    for t in times[1:]:
        if t - found[-1][-1] >= QUIET_S:
            found.append([])
        found[-1].append(t)
    return found


def _no_probes(burst: list[float], since_s: float, yes: list[float]) -> bool:
    ramped = any(since_s < t <= burst[-1] for t in yes)
    return len(burst) > (RAMP_MAX if ramped else PROBES_MAX)


async def play(service: Service, count: int, rate: float, progress: Progress) -> tuple[list[Posted], float, float]:
    """Post `count` checkouts at `rate` a second, with an outage of the first SMS vendor in the middle.

    The vendor fails after a third of the time, and recovers later. Return what was posted, and the epoch seconds when
    the vendor began to fail and when it recovered.
    """
    bodies = checkouts(count)
    times = [0.0, 0.0]

    async def script() -> None:
        await asyncio.sleep(count / rate / 3)
        await asyncio.to_thread(service.fault, SICK, mode="error")
        times[0], progress.phase = time.time(), f"{SICK} answers 500 to everything"
        await asyncio.sleep(count / rate * 0.3)
        await asyncio.to_thread(service.fault, SICK, mode="none")
        times[1], progress.phase = time.time(), f"{SICK} is healthy again"

    progress.phase = "all vendors are healthy"
    scripted = asyncio.ensure_future(script())
    watching = asyncio.ensure_future(_watch(service, progress))
    try:
        posted = await post_steadily(service.api, bodies, rate, progress.note)
        await scripted
    finally:
        watching.cancel()
    return posted, times[0], times[1]


async def _watch(service: Service, progress: Progress) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
                async with session.get(f"{service.api}/v1/vendors") as answer:
                    progress.vendors = (await answer.json())["vendors"]
                async with session.get(f"{service.api}/healthz") as answer:
                    progress.stalled |= {stall["vendor"] for stall in (await answer.json())["stalled"]}
            await asyncio.sleep(0.5)


def drained(service: Service, posted: list[Posted], drain_s: float = DRAIN_S) -> Verdict:
    """Wait until the vendors have received everything that was acknowledged, at most `drain_s` seconds. Then judge."""
    until = time.monotonic() + drain_s
    while True:
        received = {vendor: service.received(vendor)["received"] for vendor in CHANNELS}
        verdict = judge(posted, received, CHANNELS)
        if not verdict.lost or time.monotonic() > until:
            return verdict
        time.sleep(0.5)


def view(progress: Progress) -> Table:
    """Return the live view: the phase, the progress, and a row for each vendor."""
    p99 = percentile(progress.latency_ms[-500:], 0.99)
    title = f"{progress.phase}  —  {progress.done}/{progress.total} posted, {progress.accepted} accepted"
    table = Table(title=title + ("" if p99 != p99 else f", accept p99 {p99:.1f} ms"), title_justify="left")
    for name in ("vendor", "state", "breaker", "drains", "queued", "oldest", "in flight", "outcomes"):
        table.add_column(name)
    for v in progress.vendors:
        colour = {"closed": "green", "half_open": "yellow"}.get(v["state"], "red")
        table.add_row(
            v["name"],
            f"[{colour}]{v['state']}[/]",
            ", ".join(" without ".join([b["state"], *sorted(b["cut_off"])]) for b in v["breaker"]),
            ", ".join(v["drains"]) or "–",
            str(v["queued"]),
            f"{v['oldest_age_ms'] / 1000:.1f} s",
            str(sum(b["in_flight"] for b in v["breaker"])),
            ", ".join(f"{n:.0f} {outcome}" for outcome, n in sorted(v["attempts"].items())),
        )
    return table


Summary = TypedDict(
    "Summary",
    {
        "posted": int,
        "accepted": int,
        "expected notifications": int,
        "delivered": int,
        "delivered per vendor": "dict[str, int]",
        "lost": int,
        "duplicates": int,
        "to somebody else, or never posted": int,
        "accept p50 ms": "float | None",
        "accept p99 ms": "float | None",
        "delivery p50 ms": "float | None",
        "delivery p99 ms": "float | None",
        "first failure to last call on the dead vendor s": "float | None",
        "probes while it was dead": int,
        "recovered after s": "float | None",
        "start to ready s": float,
        "stalled": "list[str]",
    },
)
"""The figures of one demo, as they are shown."""


def figures(
    posted: list[Posted], verdict: Verdict, outage: Outage, ready_s: float, *, stalled: Collection[str] = ()
) -> Summary:
    """Return the summary as plain values, by name. The name of a time ends in its unit.

    A figure is None if it could not be measured, for example when nothing was accepted.
    """
    latency = [ms for p in posted if (ms := p.accept_ms) is not None]

    def rounded(value: float, digits: int | None = None) -> float | None:
        return None if math.isnan(value) else round(value, digits)  # nothing was accepted or delivered

    def after(t: float | None, since: float) -> float | None:
        return None if t is None else round(t - since, 2)

    return {
        "posted": len(posted),
        "accepted": verdict.accepted,
        "expected notifications": verdict.expected,
        "delivered": verdict.delivered,
        "delivered per vendor": verdict.by_vendor,
        "lost": len(verdict.lost),
        "duplicates": verdict.repeats,
        "to somebody else, or never posted": len(verdict.misdirected) + len(verdict.unexpected),
        "accept p50 ms": rounded(percentile(latency, 0.5), 1),
        "accept p99 ms": rounded(percentile(latency, 0.99), 1),
        "delivery p50 ms": rounded(percentile(verdict.delivery_s, 0.5) * 1000),
        "delivery p99 ms": rounded(percentile(verdict.delivery_s, 0.99) * 1000),
        "first failure to last call on the dead vendor s": None
        if outage.cut_off_s is None
        else round(outage.cut_off_s, 2),
        "probes while it was dead": outage.probes,
        "recovered after s": after(outage.recovered_s, outage.healed_s),
        "start to ready s": round(ready_s, 1),
        "stalled": sorted(stalled),
    }


def verdict_sentence(summary: Summary) -> str | None:
    """Return a sentence about the first thing that is wrong with the run, or None if nothing is wrong."""
    if summary["accepted"] != summary["posted"]:
        return f"{summary['posted'] - summary['accepted']} triggers were never acknowledged"
    if summary["stalled"]:
        return f"delivery was stalled though its vendor was healthy: {', '.join(summary['stalled'])}"
    if summary["lost"]:
        return f"{summary['lost']} acknowledged notifications were not delivered"
    if summary["duplicates"]:
        return f"{summary['duplicates']} notifications were delivered more than once"
    if summary["to somebody else, or never posted"]:
        return (
            f"{summary['to somebody else, or never posted']} notifications went to somebody else or were never posted"
        )
    return None


@click.command()
@click.option("--triggers", default=2000, show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="How many triggers are posted a second.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the summary to this file.")
def demo(triggers: int, rate: float, json_file: Path | None) -> None:
    """Run checkouts through a vendor outage on a fresh installation. The exit code is 0 only if nothing was lost
    or repeated.
    """
    folder = Path(tempfile.mkdtemp(prefix="nd-demo-"))
    service, console = Service(folder / "state"), Console()
    left: list[str] = []
    try:
        console.print("starting Redis, Ray, two intake replicas, a supervisor, four vendor pools and the sandbox …")
        ready_s = service.start()
        console.print(f"ready after {ready_s:.1f} s: {service.api}")
        progress = Progress(triggers)
        posted, failing_s, healed_s = _run_shown(service, triggers, rate, progress, console=console)
        console.print("all posted; waiting until the vendors have everything …")
        verdict = drained(service, posted)
        progress.stalled |= {stall["vendor"] for stall in service.get("/healthz")["stalled"]}
        outage = outage_of(service.received(SICK)["call_log"], failing_s, healed_s)
        code = service.stop()
    finally:
        left = service.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
    summary = figures(posted, verdict, outage, ready_s, stalled=progress.stalled)
    _show(console, summary)
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=1) + "\n")
    wrong = verdict_sentence(summary) or (f"`up` exited with {code}" if code else None)
    wrong = wrong or (f"processes were left: {left}" if left else None)
    console.print(f"[red]FAILED: {wrong}[/]" if wrong else "[green]nothing lost, nothing repeated, all delivered[/]")
    sys.exit(1 if wrong else 0)


def _run_shown(
    service: Service, count: int, rate: float, progress: Progress, *, console: Console
) -> tuple[list[Posted], float, float]:
    async def run() -> tuple[list[Posted], float, float]:
        playing = asyncio.ensure_future(play(service, count, rate, progress))
        if console.is_terminal:
            with Live(view(progress), console=console, refresh_per_second=4) as live:
                while not playing.done():
                    await asyncio.wait({playing}, timeout=0.25)
                    live.update(view(progress))
        else:
            while not playing.done():
                await asyncio.wait({playing}, timeout=5)
                states = " ".join(f"{v['name']}={v['state']}({v['queued']})" for v in progress.vendors)
                console.print(f"{progress.done}/{count} posted  {progress.phase}  {states}")
        return await playing

    return asyncio.run(run())


def _show(console: Console, summary: Summary) -> None:
    table = Table(title="What happened, by the sandbox vendors' own records", title_justify="left", show_header=False)
    for name, value in summary.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, text)
    console.print(table)
