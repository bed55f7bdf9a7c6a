"""Reads the result files of the benchmarks of faults, for the table of numbers to reach (`benchmarks.measured_table`).

`benchmarks.readings` says what such a function returns. Nothing may be lost, and `measured_table` marks a loss in every
row.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.readings import Figures, Found

STARTS, CLIENTS, SECONDS = 25, 5000, 480.0
"""The least size of each benchmark whose figures count. A shorter run is marked in its row."""


def starts(figures: Figures) -> Found:
    """Read how often `up` ended or took over 30 s.

    Further rules: there are `STARTS` starts, after each of them all callers were served, and the faults had every part,
    both kinds, and every second of a start.
    """
    count, missed = figures["starts"], figures["seconds_missed"]
    text = f"{count} starts with seed {figures['seed']}: `up` ended {figures['ended']}"
    text += f", over 30 s {figures['over_30_s']}, {figures['late']} of the faults later than drawn"
    text += f"; ready after {_seconds(figures['ready_s'])}; {_kept(figures)}"
    misses = _at_least(count, STARTS, "starts")
    misses += (f"callers not served after {figures['never_served']}",) if figures["never_served"] else ()
    misses += tuple(f"never {pair}" for pair in figures["pairs_missed"])
    misses += (f"no fault in second {', '.join(map(str, missed))}",) if missed else ()
    return Found(figures["ended"] + figures["over_30_s"], text, misses)


def first_accept(figures: Figures) -> Found:
    """Read the median time from the beginning of `up` to the first accept."""
    return _median(figures, "first_accept_s")


def killed_whole(name: str) -> Callable[[Figures], Found]:
    """Return a function that reads a time of `benchmarks.killed_whole`. A further rule: `CLIENTS` callers wait."""

    def read(figures: Figures) -> Found:
        found = _median(figures, name)
        misses = _at_least(figures["clients"], CLIENTS, "callers")
        misses += (f"`up` ended {figures['ended']}",) if figures["ended"] else ()
        return Found(found.value, f"{found.text}; {_kept(figures)}", misses)

    return read


def random_kills(figures: Figures) -> Found:
    """Read how many percent of the triggers were accepted at the first try.

    The text names the kind of fault after which the most first tries failed. Further rules: the load lasted `SECONDS`,
    and `up` did not end.
    """
    percent = figures["first_try_percent"]
    text = f"{percent:g} % of {figures['triggers']:,} at {figures['rate_per_s']:g}/s, {figures['faults']} faults"
    worst, row = max(figures["by_fault"].items(), key=lambda item: item[1]["failed_first"], default=("", None))
    if row is not None and row["failed_first"]:
        text += f", most failed by {worst} ({row['failed_first']} after {row['faults']})"
    misses = _at_least(figures["seconds"], SECONDS, "s")
    misses += (f"`up` ended {figures['ended']}",) if figures["ended"] else ()
    return Found(percent, f"{text}; {_kept(figures)}", misses)


def _median(figures: Figures, name: str) -> Found:
    spread = figures[name]
    return Found(math.inf, "never") if spread is None else Found(spread["median"], _seconds(spread))


def _seconds(spread: Figures | None) -> str:
    return "never" if spread is None else f"{spread['median']:.3g} s ({spread['min']:.3g} to {spread['max']:.3g})"


def _kept(figures: Figures) -> str:
    told = f"lost {figures['lost']} of {figures['accepted']:,}"
    told += f", repeated {figures['repeated']} under `{figures['on_unknown']}`"
    return told + (f", held {figures['held']}" if figures["held"] else "")


def _at_least(found: float, least: float, what: str) -> tuple[str, ...]:
    return (f"only {found:g} {what}",) if found < least else ()
