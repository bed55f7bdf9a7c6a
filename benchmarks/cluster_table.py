"""Prints what the loss and the change of machines cost, as measured on three machines made of Linux namespaces.

    python -m benchmarks.cluster_table

This module measures nothing itself. It reads what `make cluster-bench` wrote, and compares it with what must hold.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from cluster.rehearsal.provenance import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "cluster.json"
COLUMNS = {
    "accepted_at_first_try": "accepted at first try",
    "last_failure_s": "last first-try failure, s",
    "gap_s": "longest gap in deliveries, s",
    "gap_after_heal_s": "gap after the heal, s",
    "back_s": "spread again or deployed, s",
    "lost": "lost",
    "repeated": "repeated",
    "repeated_after_heal": "repeated after the heal",
    "held": "held",
}
WORST: Mapping[str, Callable[..., float]] = {"accepted_at_first_try": min}

NEVER = {"lost": 0.0, "repeated": 0.0}
"""Must hold in each run under `hold`. Under `resend` a lost answer may repeat a message."""
BARS: Mapping[str, Mapping[str, float]] = {
    "off": {"last_failure_s": 5.0, "gap_s": 5.0, "back_s": 60.0, "lost": 0.0},
    "off-hold": {"last_failure_s": 5.0, "gap_s": 5.0, "back_s": 60.0, **NEVER},
    "cut": {"gap_s": 5.0, "gap_after_heal_s": 1.0, "back_s": 60.0, **NEVER},
    "head": {"accepted_at_first_try": 0.999, "gap_s": 3.0, **NEVER},
    "split": {"repeated_after_heal": 0.0, **NEVER},
    "change-one": {"accepted_at_first_try": 0.999, **NEVER},
    "change-all": {"accepted_at_first_try": 0.999, **NEVER},
}
"""The bars that each run of a fault must reach: the least share of first tries, or the most of any other figure.

Without a fault, a gap of up to 0.7 s lies between two deliveries. So a gap of up to a second after the heal is none.
"""


def figure(row: Mapping[str, Any], column: str) -> Any:
    """Return a figure of one run. Some faults have figures of their own, in `later`. None means that it has none."""
    return row[column] if column in row else row["later"].get(column)


def missed(row: Mapping[str, Any]) -> list[str]:
    """Return the columns in which one run did not reach what it must."""
    found = []
    for column, bar in BARS[row["name"]].items():
        value = figure(row, column)
        kept = value is not None and (value >= bar if WORST.get(column) is min else value <= bar)
        found += [] if kept else [column]
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: the median of each fault's runs, and the worst in brackets.

    A cell in which a run did not reach its bar says MISSED. The last column names the measured commits.
    """
    names = ("fault", "runs", *COLUMNS.values(), "of")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        found = [row for row in rows if row["name"] == name]
        below = {column for row in found for column in missed(row)}
        cells = [_cell(found, column, missed=column in below) for column in COLUMNS]
        policy = " (`hold`)" if "repeated" in BARS[name] else ""
        commits = ", ".join(dict.fromkeys(str(row["commit"])[:7] for row in found))
        lines.append(f"| {found[0]['fault']}{policy} | {len(found)} | {' | '.join(cells)} | {commits} |")
    return "\n".join(lines)


def _cell(rows: Sequence[Mapping[str, Any]], column: str, *, missed: bool) -> str:
    values = [value for row in rows if (value := figure(row, column)) is not None]
    if not values:
        return "**not measured: MISSED**" if missed else ""
    middle, worst = statistics.median(values), WORST.get(column, max)(values)
    text = f"{middle:g}" if middle == worst else f"{middle:g} ({worst:g})"
    return f"**{text}: MISSED**" if missed else text


@click.command(help=__doc__)
def main() -> None:
    click.echo(table(json.loads(RESULTS.read_text())["rows"]))


if __name__ == "__main__":
    main()
