"""Reads the result file of `benchmarks.cells`, for the table of numbers to reach (`benchmarks.measured_table`).

`benchmarks.readings` says what such a function returns.
"""

from __future__ import annotations

from typing import Any

from benchmarks.readings import Figures, Found

ROUNDS, SECONDS = 3, 30.0
"""The least number of rounds, and of seconds with a dead cell, whose figures count."""

OF_QUOTA, IDLE = 0.9, 0.1
"""Redis limits an installation if it uses at least this part of its quota, and this part of the machine is idle."""


def two_cells(figures: Figures) -> Found:
    """Read what two cells carried ÷ what one cell carried, as the median of the rounds.

    Further rules: in each window of each installation, each Redis used `OF_QUOTA` of its quota, `IDLE` of the machine
    was idle, and there were `ROUNDS` rounds.
    """
    one, two, ratio = figures["one"], figures["two"], figures["ratio"]["carried"]
    text = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}; {figures['rounds']} rounds): "
    text += f"{one['carried_per_s']['median']:.0f}/s → {two['carried_per_s']['median']:.0f}/s"
    text += f", each Redis held to {figures['share']:.0%} of a core"
    text += f", of which it used {_least(figures, 'redis_of_quota'):.0%} or more, throttled in "
    text += f"{_least(figures, 'throttled'):.0%} of the periods or more"
    text += f"; {_least(figures, 'idle'):.0%} of the machine or more was idle"
    misses: tuple[str, ...] = (f"only {figures['rounds']} rounds",) if figures["rounds"] < ROUNDS else ()
    for name, least, what in (
        ("redis_of_quota", OF_QUOTA, "Redis did not limit"),
        ("idle", IDLE, "the machine was busy"),
    ):
        misses += (what,) if _least(figures, name) < least else ()
    return Found(ratio["median"], text, misses)


def dead_cell(figures: Figures) -> Found:
    """Read how many percent of the other cell's triggers were accepted at the first try.

    Further rules: all of them were delivered, none was repeated, every trigger of the dead cell got 503, and the cell
    was dead for `SECONDS`.
    """
    found: dict[str, Any] = dict(figures["dead_cell"])
    count, statuses = found["others"], found["dead_statuses"]
    percent = 100 * found["others_first_try"] / count
    told = ", ".join(f"{number} got {status}" for status, number in sorted(statuses.items()))
    text = f"{percent:g} % of {count}, {found['others_delivered']} delivered; of the dead cell's keys {told}"
    misses: tuple[str, ...] = ("not all delivered",) if found["others_delivered"] < count else ()
    misses += (f"{found['others_repeated']} repeated",) if found["others_repeated"] else ()
    misses += ("not only 503",) if set(statuses) != {"503"} else ()
    misses += (f"only {found['seconds']:g} s",) if found["seconds"] < SECONDS else ()
    return Found(percent, text, misses)


def _least(figures: Figures, name: str) -> float:
    return min(float(figures[cells][name]["min"]) for cells in ("one", "two"))
