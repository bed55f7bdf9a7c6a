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
    """One row of the table: a figure of a drill and its unit.

    If the figure has a limit, `cluster.rehearsal.drills.bars` names the limit.
    """

    drill: str
    about: str
    figure: str
    what: str
    unit: str = " s"


ERROR = "a vendor answers every call with 500"
HANG = f"a vendor hangs (slow threshold {SLOW_S:g} s)"
HALF = "a vendor fails every second call"
GAP = "longest time without an SMS delivery"
DONE = "time until everything due before is delivered"
FIRST_TRY = "triggers accepted at the first try"
REFUSING = "time in which triggers are refused"

ROWS = (
    Row("vendor-error", ERROR, "failover s", "time until it gets only probes"),
    Row("vendor-error", ERROR, "probes", "probes that fail", ""),
    Row("vendor-hang", HANG, "failover s", "time until it gets only probes"),
    Row("vendor-hang", HANG, "probes", "probes that fail", ""),
    Row("vendor-half", HALF, "switches a minute", "most switches of its new work in a minute", ""),
    Row("vendor-half", HALF, "kept up %", "SMS delivered in percent of those due, worst 5 s", " %"),
    Row("vendor-flap", "a vendor fails and recovers every 2 s", "gap s", GAP),
    Row("all-vendors-down", "all vendors of a channel fail for 8 s", "back s", "time until no delivery is late"),
    Row("actor-kill", "an actor is killed", "begun before, done after s", DONE),
    Row("actor-freeze", "an actor is frozen", "begun before, done after s", DONE),
    Row("supervisor-kill", "the supervisor is killed", "gap s", GAP),
    Row("intake-kill", "one of two intake replicas is killed", "availability %", FIRST_TRY, " %"),
    Row("redis-restart", "Redis is killed and started again", "refusing s", REFUSING),
    Row("stack-kill", "everything is killed, then `up` runs", "gap s", GAP),
    Row("cores-taken", "other programs use every core for 10 s", "gap s", GAP),
    Row("proxy-kill", "haproxy is killed", "refusing s", REFUSING),
    Row("proxy-wrapper-kill", "haproxy and its wrapper are killed", "refusing s", REFUSING),
    Row("storm", "a random fault every 20 s for 10 minutes", "availability %", FIRST_TRY, " %"),
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
            f"| under `hold` | messages that stay held in the named drills: {counts} "
            f"| 0 repeated | {repeated} repeated | | {lost}, {repeated} | 1 |"
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
    return f"| {row.drill} | {row.about}: {row.what} | {must} | {cell} | {flight} | {lost}, {repeated} | {runs} |"


@click.command(help=__doc__)
def main() -> None:
    click.echo(as_markdown(results.read("drills", results.FOLDER)["drills"]))


if __name__ == "__main__":
    main()
