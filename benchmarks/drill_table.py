"""Prints the drills of results/drills.json as the table of docs/drills.md, with the limit of each figure.

    python -m benchmarks.drill_table

The figures are medians, with the worst run in brackets. A figure is marked if the worst run does not keep the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from benchmarks import results
from cluster.rehearsal.drills.bars import SLOW_S, bar_of


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a figure of a drill and its unit. `cluster.rehearsal.drills.bars` has its limit, if any."""

    drill: str
    about: str
    figure: str
    what: str
    unit: str = " s"


ROWS = (
    Row("vendor-error", "a vendor answers 500", "failover s", "failover"),
    Row("vendor-error", "", "probes", "open breaker: probes only", ""),
    Row("vendor-hang", f"a vendor hangs (slow threshold {SLOW_S:g} s)", "failover s", "failover"),
    Row("vendor-hang", "", "probes", "open breaker: probes only", ""),
    Row("vendor-half", "a vendor fails every second call", "switches a minute", "switches a minute", ""),
    Row("vendor-half", "", "kept up %", "delivered of what came in, worst 5 s", " %"),
    Row("vendor-flap", "a vendor fails and recovers every 2 s", "gap s", "longest gap in deliveries"),
    Row("all-vendors-down", "all vendors of a channel down for 8 s", "back s", "late until"),
    Row("actor-kill", "an actor killed", "begun before, done after s", "its claims done elsewhere"),
    Row("actor-freeze", "an actor frozen", "begun before, done after s", "its claims done elsewhere"),
    Row("supervisor-kill", "the supervisor killed", "gap s", "longest gap in deliveries"),
    Row("intake-kill", "one of two intake replicas killed", "availability %", "accepted at first try", " %"),
    Row("redis-restart", "Redis killed and started again", "refusing s", "refusing"),
    Row("stack-kill", "everything killed, then `up`", "gap s", "first delivery"),
    Row("cores-taken", "others want every core for 10 s", "gap s", "longest gap in deliveries"),
    Row("proxy-kill", "haproxy killed", "refusing s", "refusing"),
    Row("proxy-wrapper-kill", "haproxy killed with its wrapper", "refusing s", "refusing"),
    Row("storm", "a random fault every 20 s for 10 minutes", "availability %", "accepted at first try", " %"),
)


def as_markdown(drills: Mapping[str, Any]) -> str:
    lines = [
        "| drill | what | must | measured | repeated in flight | lost, repeated otherwise | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row, drills[row.drill]) for row in ROWS if row.drill in drills]
    held = [name for name in drills if name.endswith(", hold")]
    if held:
        found = [drills[name]["summary"] for name in held]
        counts = ", ".join(
            f"{name.removesuffix(', hold')} {s['held']['worst']}" for name, s in zip(held, found, strict=True)
        )
        repeated, lost = (max(s[what]["worst"] for s in found) for what in ("repeated", "lost"))
        lines.append(
            f"| under `hold` | held back: {counts} | 0 repeated | {repeated} repeated | | {lost}, {repeated} | 1 |"
        )
    return "\n".join(lines)


def _line(row: Row, drill: Mapping[str, Any]) -> str:
    summary, runs = drill["summary"], len(drill["runs"])
    found = summary.get(row.figure)
    cell, must = "–", ""
    if found is not None:
        cell = (
            f"{found['median']:.4g}{row.unit} ({found['worst']:.4g})" if runs > 1 else f"{found['worst']:.4g}{row.unit}"
        )
    bar = bar_of(row.drill, row.figure)
    if bar is not None:
        must = f"{bar.must:g}{row.unit}"
        if found is not None and not bar.met(found["worst"]):
            cell = f"**{cell}: missed**"
    flight, lost, repeated = (summary[name]["worst"] for name in ("repeated in flight", "lost", "repeated"))
    about = f"{row.about}: {row.what}" if row.about else row.what
    return f"| {row.drill} | {about} | {must} | {cell} | {flight} | {lost}, {repeated} | {runs} |"


@click.command(help=__doc__)
def main() -> None:
    click.echo(as_markdown(results.read("drills", results.FOLDER)["drills"]))


if __name__ == "__main__":
    main()
