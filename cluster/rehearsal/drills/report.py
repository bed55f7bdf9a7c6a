"""Reports a drill as figures, a table and a plot, all from the logs of the clients and the vendors."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

from rich.table import Table

from cluster.local.service import Service
from cluster.rehearsal.demo import outage_of
from cluster.rehearsal.drills.catalogue import FIRST
from cluster.rehearsal.drills.play import Run
from cluster.rehearsal.load import percentile
from dispatcher.errors import DispatcherError

KEEP_UP_S = 5.0

LATE_S = 1.0
"""A notification delivered more than this many seconds after its due time counts as delayed by the fault."""

FIELDS = {
    "steady p99 ms": "accept p99 before the fault",
    "fault p99 ms": "accept p99 while it lasted and after",
    "availability %": "share of triggers acknowledged at the first try",
    "refusing s": "from the fault until the last trigger was due that was not acknowledged at its first try",
    "failover s": "first failed call of the sick vendor to its last call that is not a probe",
    "probes": "failed calls on it after that: as few at a time as its breaker's way back allows",
    "switches a minute": "the most often that new work was led away from or back to one vendor within any minute",
    "gap s": "longest time without any delivery on the channel, from the fault on",
    "begun before, done after s": "from the fault until the last notification of triggers due before it was delivered",
    "kept up %": "of what came in, the least that was delivered in any five seconds while the fault lasted",
    "back s": "from the fault until deliveries are no later than a second again",
    "recovered s": "from mending until the vendor delivers again",
    "accepted": "triggers acknowledged",
    "delivered": "notifications received by vendors",
    "held": "under `hold`: maybe sent, never received, and kept back by the service instead of sent again",
    "lost": "acknowledged, never received and not held",
    "repeated in flight": "received twice, and in flight or unsettled when its vendor's actor was killed or stopped",
    "repeated": "received twice, otherwise",
}


Figures = dict[str, float | None]
"""The figures of one run, by the names in FIELDS. None means that a figure does not apply to the drill."""


class Spread(TypedDict):
    """The median and the worst value of one figure, over all runs of a drill."""

    median: float
    worst: float


def figures(service: Service, run: Run) -> Figures:
    """Return the figures of one run, by the names in FIELDS. None means that a figure does not apply to this drill."""
    v, fault_s = run.verdict, run.fault_s
    unexplained = len(run.unexplained())
    found: Figures = {
        "steady p99 ms": _ms([p for p in run.posted if p.due_s < fault_s]),
        "fault p99 ms": _ms([p for p in run.posted if p.due_s >= fault_s]),
        "availability %": round(100 * sum(p.first_status == 202 for p in run.posted) / len(run.posted), 3),
        "refusing s": refusing_s(run),
        "failover s": None,
        "probes": None,
        "switches a minute": switches_a_minute(service.get("/v1/plan?limit=1000")["history"], run.began_s),
        "recovered s": None,
        "gap s": _gap_s(service, run),
        "begun before, done after s": begun_before_s(run),
        "kept up %": kept_up(run),
        "back s": _back_s(run),
        "accepted": v.accepted,
        "unacknowledged": v.unacknowledged,
        "expected": v.expected,
        "delivered": v.delivered,
        "held": len(run.held) if run.on_unknown == "hold" else None,
        "lost": len(v.lost),
        "misdirected": len(v.misdirected) + len(v.unexpected),
        "repeated in flight": v.repeats - unexplained if run.on_unknown == "resend" else 0,
        "repeated": unexplained if run.on_unknown == "resend" else v.repeats,
    }
    if len(run.faults) == 1 and run.faults[0].drill.sick:
        window = run.faults[0]
        outage = outage_of(service.received(window.drill.sick[0])["call_log"], window.began_s, window.ended_s)
        found["failover s"] = None if outage.cut_off_s is None else round(outage.cut_off_s, 3)
        found["probes"] = outage.probes
        found["recovered s"] = None if outage.recovered_s is None else round(outage.recovered_s - window.ended_s, 2)
    return found


def wrong(found: Figures) -> str | None:
    """Return why the service did not survive this run of a drill, or None if it survived.

    A run in which the fault met no call is not survived either, because it shows nothing.
    """
    if found["unacknowledged"]:
        return f"{found['unacknowledged']} triggers never acknowledged"
    if found["lost"]:
        return f"{found['lost']} lost"
    if found["misdirected"]:
        return f"{found['misdirected']} to somebody else, or never posted"
    if found["probes"] is not None and found["failover s"] is None:
        return "the fault met no call: nothing was shown"
    if found["repeated"]:
        excuse = "without a kill to explain it" if found["held"] is None else "under `hold`, where nothing may be"
        return f"{found['repeated']} repeated {excuse}"
    return None


def _ms(posted: Sequence[Any]) -> float | None:
    latency = [p.accept_ms for p in posted if p.accept_ms is not None]
    return round(percentile(latency, 0.99), 1) if latency else None


def _gap_s(service: Service, run: Run) -> float:
    """Return the longest time without an SMS delivery from the fault on, in seconds. All drills affect SMS."""
    times = sorted(
        at for name, at in run.verdict.delivered_at.items() if name.endswith("/sms") and at >= run.fault_s - 1
    )
    last_s = max((p.due_s for p in run.posted), default=0.0)
    return round(max((b - a for a, b in pairwise(times) if a < last_s), default=0.0), 2)


def switches_a_minute(history: Sequence[Mapping[str, Any]], since_s: float) -> int:
    """Return the largest number of switches that any one vendor had within any one minute.

    A switch is a plan that gives new work to a vendor which got none under the previous plan, or the reverse. `history`
    holds plans, the newest first. Switches before `since_s` (epoch seconds) are ignored.
    """
    switched: dict[str, list[float]] = {}
    for before, after in pairwise(reversed(history)):
        for name, entry in after["vendors"].items():
            was = before["vendors"].get(name)
            if was is not None and was["takes_new"] != entry["takes_new"] and after["at_ms"] / 1000 >= since_s:
                switched.setdefault(name, []).append(after["at_ms"] / 1000)
    return max((sum(at <= t < at + 60 for t in times) for times in switched.values() for at in times), default=0)


def refusing_s(run: Run) -> float:
    """Return the seconds for which triggers were refused after the last fault, or 0 if none was refused.

    The refusing ends at the due time of the last trigger that was not accepted at its first try. Triggers that were due
    before the fault do not count.
    """
    began_s = run.faults[-1].began_s
    late = [p.due_s - began_s for p in run.posted if p.due_s >= began_s and p.first_status != 202]
    return round(max(late, default=0.0), 3)


def begun_before_s(run: Run) -> float | None:
    """Return the seconds from the first fault until all triggers that were due before it have been delivered.

    Triggers that were never delivered are left out. Return None if none of these triggers was delivered.
    """
    began_s = run.fault_s
    before = {p.key for p in run.posted if p.due_s < began_s}
    late = [at - began_s for name, at in run.verdict.delivered_at.items() if name.split("/")[0] in before]
    return round(max(0.0, *late), 2) if late else None


def kept_up(run: Run) -> float | None:
    """Return how many SMS were delivered in percent of those that were due, in the worst `KEEP_UP_S` seconds of the
    first fault.

    Return None if the fault was shorter than `KEEP_UP_S` seconds.
    """
    window = run.faults[0]
    due = [p.due_s for p in run.posted]
    done = [at for name, at in run.verdict.delivered_at.items() if name.endswith("/sms")]
    begins = [window.began_s + s for s in range(int(window.ended_s - window.began_s - KEEP_UP_S) + 1)]
    shares = [
        sum(b <= at < b + KEEP_UP_S for at in done) / came
        for b in begins
        if (came := sum(b <= at < b + KEEP_UP_S for at in due))
    ]
    return round(100 * min(1.0, *shares), 1) if shares else None


def _back_s(run: Run) -> float:
    """Return the seconds from the last fault to the last late delivery, or 0 if no delivery was late.

    A delivery is late if it comes more than `LATE_S` seconds after its due time.
    """
    due = {p.key: p.due_s for p in run.posted}
    began_s = run.faults[-1].began_s
    late = [
        at - began_s
        for name, at in run.verdict.delivered_at.items()
        if due[name.split("/")[0]] >= began_s - LATE_S and at - due[name.split("/")[0]] > LATE_S
    ]
    return round(max(late, default=0.0), 2)


def summary(runs: Sequence[Figures]) -> dict[str, Spread]:
    """Return the median and the worst of each figure over the runs of one drill.

    The worst is the largest value, except for figures such as availability, where it is the smallest.
    """
    found: dict[str, Spread] = {}
    for name in FIELDS:
        values = [value for run in runs if (value := run[name]) is not None]
        if values:
            worst = min(values) if name in ("availability %", "kept up %", "accepted", "delivered") else max(values)
            found[name] = {"median": statistics.median(values), "worst": worst}
    return found


def table(results: dict[str, list[Figures]]) -> Table:
    shown = Table(title="Drills, median (worst) over their runs", title_justify="left")
    shown.add_column("drill")
    for name in FIELDS:
        shown.add_column(name, justify="right")
    shown.add_column("runs")
    for drill, runs in results.items():
        sums = summary(runs)
        cells = [_cell(sums[name]) if name in sums else "–" for name in FIELDS]
        shown.add_row(drill, *cells, str(len(runs)))
    return shown


def _cell(value: Spread) -> str:
    return f"{value['median']:g}" if value["median"] == value["worst"] else f"{value['median']:g} ({value['worst']:g})"


def plot(path: Path, title: str, run: Run) -> None:
    """Write a PNG of the deliveries and acknowledgements per second around the faults.

    Raises DispatcherError if matplotlib (the extra `bench`) is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise DispatcherError("a plot needs matplotlib: pip install 'resilient-dispatcher[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    start_s = run.posted[0].due_s
    figure, axes = pyplot.subplots(figsize=(9, 4))
    for label, times in (
        ("triggers acknowledged/s", [p.accepted_s for p in run.posted if p.accepted_s is not None]),
        ("SMS delivered/s", [at for name, at in run.verdict.delivered_at.items() if name.endswith("/sms")]),
        ("e-mails delivered/s", [at for name, at in run.verdict.delivered_at.items() if name.endswith("/email")]),
    ):
        seconds = [int(at - start_s) for at in times]
        axes.plot([seconds.count(s) for s in range(max(seconds, default=0) + 1)], label=label)
    for window in run.faults:
        axes.axvspan(window.began_s - start_s, window.ended_s - start_s, alpha=0.15, color="red")
    axes.set(title=title, xlabel="seconds", ylabel="per second")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


__all__ = ["FIELDS", "FIRST", "figures", "plot", "refusing_s", "summary", "switches_a_minute", "table", "wrong"]
