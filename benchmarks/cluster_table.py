"""Prints what the loss and the change of machines cost, as measured on three machines made of Linux namespaces.

    python -m benchmarks.cluster_table

This module measures nothing itself. It reads what `make cluster-bench` wrote.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import click

from cluster.rehearsal.provenance import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "cluster.json"
COLUMNS = {
    "accepted_at_first_try": "accepted at first try",
    "last_failure_s": "last first-try failure, s",
    "gap_s": "longest gap in deliveries, s",
    "back_s": "spread again or deployed, s",
    "lost": "lost",
    "repeated": "repeated",
    "held": "held",
}
WORST = {"accepted_at_first_try": min}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: the median of each fault's runs, and the worst in brackets."""
    lines = ["| fault | runs | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        found = [row for row in rows if row["name"] == name]
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in found if row[column] is not None]
            if not values:
                cells.append("")
                continue
            middle, worst = statistics.median(values), WORST.get(column, max)(values)
            cells.append(f"{middle:g}" if middle == worst else f"{middle:g} ({worst:g})")
        policy = " (`hold`)" if name in ("off-hold", "cut", "head", "split", "change-one", "change-all") else ""
        lines.append(f"| {found[0]['fault']}{policy} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command(help=__doc__)
def main() -> None:
    click.echo(table(json.loads(RESULTS.read_text())["rows"]))


if __name__ == "__main__":
    main()
