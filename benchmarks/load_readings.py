"""Reads result files for the table's rows about load: CPU time at a rate, a peak, tenants, and a long soak.

Like `benchmarks.readings`, each function returns the value to compare, the text of the cell, and the further rules that
do not hold. A limit holds for one rate of triggers. If a machine cannot carry this rate, the text names the rate that
was measured, and the row counts as missed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.pairs import SERVICE
from benchmarks.readings import CALM, FIRST_TRY, OVERLOAD, STEP_TO, Figures, Found, at, rounds_of
from cluster.rehearsal.load import percentile

SOAK_MINUTES = 120


def between(values: Sequence[float], digits: str) -> str:
    return f" ({min(values):{digits}} to {max(values):{digits}})" if len(values) > 1 else ""


def first_try_missed(share: float) -> tuple[str, ...]:
    return (f"{share:.2%} at the first try",) if share < FIRST_TRY else ()


# ---- end to end


def accept_p99(figures: Figures) -> Found:
    """Read the accept p99 at `CALM` triggers a second, with the p99 of a bare fdatasync in the same rounds."""
    row = at(figures, CALM)
    if not row:
        return Found(math.inf, f"not measured at {CALM:g}/s")
    spread = between([each["accept_ms_p99"] for each in rounds_of(row)], ".2g")
    text = f"{row['accept_ms_p99']:.2g} ms{spread} (p50 {row['accept_ms_p50']:.2g})"
    if "fdatasync_ms_p99" in row:  # not in the oldest files
        text += f"; a bare fdatasync meanwhile: p99 {row['fdatasync_ms_p99']:.2g} ms"
    worst = min(each["first_try_percent"] for each in rounds_of(row)) / 100
    return Found(row["accept_ms_p99"], text, first_try_missed(worst))


def service_cpu(figures: Figures) -> Found:
    """Read the service's CPU time for one trigger at `STEP_TO` triggers a second, without the client and the vendors.

    A rate that was not sustained gives no such figure. Then the figure is of the highest sustained rate, and the row
    counts as missed.
    """
    misses: tuple[str, ...] = ()
    row = at(figures, STEP_TO)
    if not (row and row["sustained"]):
        row, misses = at(figures, figures["highest_sustained_per_s"]), (f"{STEP_TO:g}/s was not carried",)
    if not row:
        return Found(math.inf, "no rate was carried")
    costs = [sum(each["cpu_ms_per_trigger"][part] for part in SERVICE) for each in rounds_of(row)]
    cost = statistics.median(costs)
    parts = sorted(((row["cpu_ms_per_trigger"][part], part) for part in SERVICE), reverse=True)
    each = ", ".join(f"{part} {ms:.2g}" for ms, part in parts)
    return Found(cost, f"{cost:.2f} ms{between(costs, '.2f')} at {row['rate_per_s']:g}/s ({each})", misses)


# ---- the peak


def peak(name: str, unit: str, first_try: str) -> Callable[[Figures], Found]:
    """Return a function that reads one figure of `benchmarks.peak`. `first_try` names the share that belongs to it."""

    def read(figures: Figures) -> Found:
        found, rate = figures[name], figures["rate_per_s"]
        misses = first_try_missed(figures[first_try]["min"])
        misses += (f"not {OVERLOAD:,.0f}/s",) if rate < OVERLOAD else ()
        text = f"{found['median']:,.4g} {unit}{between(found['all'], ',.4g')} at {rate:,g}/s"
        delivered = figures["delivered_per_s"]["median"]
        return Found(found["median"], f"{text}, of which {delivered:,.0f}/s were delivered meanwhile", misses)

    return read


# ---- tenants


def tenants(name: str) -> Callable[[Figures], Found]:
    """Return a function that reads how much a flood of tenant A slows tenant B. `name` is accept or delivery.

    The value is B's p99 with the flood ÷ B's p99 without it. Rounds in which the flood ended too soon prove nothing.
    """

    def read(figures: Figures) -> Found:
        ratio = figures[f"{name}_p99_ratio"]
        idle, flood = (figures[f"{name}_p99_{when}_ms"]["median"] for when in ("idle", "flood"))
        text = f"{ratio['median']:.2f}{between(ratio['all'], '.2f')}: {idle:.0f} → {flood:.0f} ms"
        text += f", {figures['queued']['median']:,.0f} queued, {figures['flood_sent_per_s']['median']:,.0f}/s of A sent"
        over = figures["left"]["min"] == 0
        misses: tuple[str, ...] = ("the flood ended before B's last message",) if over else ()
        misses += first_try_missed(figures["first_try"]["min"]) if "first_try" in figures else ()  # not in older files
        return Found(ratio["median"], text, misses)

    return read


def many_tenants(figures: Figures) -> Found:
    """Read what a dispatch costs with a thousand tenants ÷ with one, the CPU time of Redis included, by rounds."""
    subjects = figures["subjects"]
    if "tenants" not in subjects:
        return Found(math.inf, "not measured")
    costs = {
        name: [sum(pair) for pair in zip(*(subjects[name][f]["all"] for f in ("cpu_ms", "redis_cpu_ms")), strict=True)]
        for name in ("tenants", "ours")
    }
    ratios = [many / one for many, one in zip(costs["tenants"], costs["ours"], strict=True)]
    many, one = (statistics.median(costs[name]) for name in ("tenants", "ours"))
    ratio = statistics.median(ratios)
    return Found(ratio, f"{ratio:.2f}{between(ratios, '.2f')}: {one:.3f} → {many:.3f} ms with Redis")


# ---- soak


def soak_growth(name: str, unit: str) -> Callable[[Figures], Found]:
    """Return a function that reads how much a figure of the soak's minutes has grown ÷ how much it varies anyway.

    The first minute warms up and is left out. The growth is the median of the last third of the minutes minus the
    median of the first third. The variation is what lies between the tenth and the ninetieth percentile of one of these
    two thirds, the larger of both. So a few disturbed minutes change neither. A ratio up to 1 is within the noise. It
    is a miss if the soak is shorter than `SOAK_MINUTES`, or if the figure varies by more than its own size: then other
    work on the machine hides any growth.
    """

    def read(figures: Figures) -> Found:
        minutes = figures["minutes"]
        values = [minute[_present(name, minute)] for minute in minutes[1:]]
        third = max(1, len(values) // 3)
        parts = (values[:third], values[-third:])
        before, after = (statistics.median(part) for part in parts)
        noise = max(percentile(part, 0.9) - percentile(part, 0.1) for part in parts)
        growth = after - before
        ratio = growth / noise if noise else math.inf if growth > 0 else 0.0
        whose = " of the actors" if _present(name, minutes[0]) != name else ""
        text = f"{max(0.0, ratio):.2f}: {before:,.4g} → {after:,.4g} {unit}, varying by {noise:,.3g} {unit}{whose}"
        text += f", in {len(minutes)} minutes"
        misses = [f"not {SOAK_MINUTES} minutes"] if len(minutes) < SOAK_MINUTES else []
        misses += ["the machine was too busy to tell"] if noise > before else []
        misses += first_try_missed(figures.get("first_try_percent", 100.0) / 100)
        return Found(max(0.0, ratio), text, tuple(misses))

    return read


def _present(name: str, minute: Mapping[str, Any]) -> str:
    """Return the figure's name in this minute. The oldest files have the memory of the actors alone."""
    return name if name in minute else "actors_pss_mib"
