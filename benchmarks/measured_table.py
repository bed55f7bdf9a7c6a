"""Prints the table of docs/benchmarks.md: the numbers to reach, and what benchmarks/results has measured.

    python -m benchmarks.measured_table [--limits]

`ROWS` has the numbers to reach. `benchmarks/readings.py` reads the values from the result files, and checks further
rules. A value that does not reach its number is marked. The commit in the table is the commit that was measured.
`--limits` does not print the table. It prints which costs prevent better values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from benchmarks import cell_readings, fault_readings, load_readings, readings, results
from benchmarks.readings import GROWTH, OVERLOAD, Figures, Found

VENDOR_MS = 50
SLOW_VENDORS = "vendors take 200 ms, and an actor makes eight calls at once"
LARGE_REDIS = "Redis may use 4 GiB"
BULK = f"{LARGE_REDIS}, and the vendor's contract allows 100/s"
SHORT_WAITS = "breakers wait shorter, and a vendor's return takes no time"
OVER_SIZES = "without vendors: greatest ÷ smallest over backlog, kept records and number of vendors"
SECOND_MACHINE_SINCE = "2026-11-27"
"""The day from which figures are of the second machine, or of the third one. docs/benchmarks.md compares them."""

OLD_PROCESSOR = "AMD"
"""The make of the processors of the first and of the second machine. The third machine has another one."""

PINNED_ON_THE_FIRST = ("accept_latency", "end_to_end")
"""The benchmarks that fixed the pools at their smallest sizes, until the second machine was used."""

TAILS = ("116/s, vendors healthy", "500/s, vendors healthy", "1157/s, vendors healthy")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: the result file, the function that reads a value from it, and the numbers to reach.

    `must` is a maximum that every release has to keep, and `aim` is the maximum that we want. If `least` is True, both
    are minimums. `changed` says what differs from the configuration as shipped.
    """

    what: str
    file: str
    read: Callable[[Figures], Found]
    must: float | None = None
    aim: float | None = None
    unit: str = ""
    least: bool = False
    changed: str = ""

    def verdict(self, value: float) -> str | None:
        for bar, mark in ((self.must, "missed"), (self.aim, "aim missed")):
            if bar is not None and (value < bar if self.least else value > bar):
                return mark
        return None


ROWS = (
    Row(
        "accept p99 at 116 triggers/s (10 million a day), whole service running",
        "end_to_end",
        load_readings.accept_p99,
        6,
        4,
        " ms",
    ),
    Row(
        "accept p99 at 1,157 triggers/s, whole service running",
        *("accept_latency", readings.accept_p99("1157"), 100, 20, " ms"),
        changed=SHORT_WAITS,
    ),
    Row(
        "the load is 1,157 triggers/s for 60 s: accept p99",
        *("peak", load_readings.peak("peak_p99_ms", "ms", "peak_first_try"), 100, None, " ms"),
    ),
    Row(
        "the load is 1,157 triggers/s for 60 s: time from the last trigger to the last delivery",
        *("peak", load_readings.peak("peak_late_s", "s", "peak_first_try"), 5, None, " s"),
    ),
    Row(
        "116 triggers/s right after 60 s at 1,157/s: accept p99 from the fifth second on",
        *("peak", load_readings.peak("after_p99_ms", "ms", "after_first_try"), 10, None, " ms"),
    ),
    Row(
        "accept p99 at 116 triggers/s ÷ accept p99 of an earlier commit, in pairs of one run",
        *("pairs", readings.pair("accept_ms_p99"), 1.1),
    ),
    Row(
        "CPU time of the service for one trigger at 116/s ÷ that of an earlier commit, in pairs of one run",
        *("pairs", readings.pair("cpu_ms_per_trigger"), 1.1),
    ),
    Row(
        "accept p99 with hanging vendors ÷ accept p99 with healthy vendors, greatest ratio up to 500 triggers/s",
        *("accept_latency", readings.decoupling, 1.2, 1.0),
        changed=SHORT_WAITS,
    ),
    Row(
        "highest rate of triggers with an accept p99 of at most 10 ms",
        *("accept_latency", readings.within_10_ms),
        changed=SHORT_WAITS,
    ),
    Row(
        "highest sustained rate of triggers, each with two notifications, from accept to delivery",
        "end_to_end",
        readings.sustained,
        700,
        1157,
        "/s",
        least=True,
    ),
    Row(
        f"delivery p99 at 116 triggers/s, without the vendor's own {VENDOR_MS} ms",
        *("end_to_end", readings.delivery_p99, 50, 20, " ms"),
    ),
    Row(
        "change of a shop's checkout latency by the dispatcher, if vendors answer after 50 ms",
        *("checkout_before_after", readings.checkout("50 ms"), -75, -95, " %"),
    ),
    Row(
        "change of a shop's checkout latency by the dispatcher, if vendors hang",
        *("checkout_before_after", readings.checkout("hanging"), -99, -99.9, " %"),
    ),
    Row(
        "CPU time to send one notification of a backlog, in one vendor actor outside Ray; less than in every peer",
        *("dispatch_cost", readings.dispatch_cost, 0.32, None, " ms"),
    ),
    Row(
        "a backlog of a thousand tenants instead of one: CPU time to send one notification ÷ of one tenant",
        *("dispatch_cost", load_readings.many_tenants, 1.05),
    ),
    Row(
        "CPU time of the service for one trigger with two notifications, at 700/s",
        *("end_to_end", load_readings.service_cpu, 2.0, None, " ms"),
    ),
    Row(
        "CPU time of the vendor actors for one notification in the whole service, with their idle time",
        *("end_to_end", readings.vendor_cpu, 0.50, 0.35, " ms"),
    ),
    Row(
        "the load steps up from 116 triggers/s for 60 s: accept p99 over all of the step",
        *("load_step", readings.step_p99("step"), 60, 25, " ms"),
    ),
    Row(
        "the load steps up from 116 triggers/s for 60 s: accept p99 of the last 30 s",
        *("load_step", readings.step_p99("second_half"), 20, 12, " ms"),
    ),
    Row(
        "the load steps up from 116 triggers/s: accept p99 as shipped ÷ accept p99 with pools pinned",
        *("load_step", readings.step_ratio, 1.1, 1.0),
    ),
    Row("time from `dispatcher up` to the first delivery", "cold_start", readings.cold_start, 10, 8, " s"),
    Row("memory (PSS) of an installation without load", "cold_start", readings.idle_memory, 1229, 1024, " MiB"),
    Row("CPU of an installation without load, in cores", "cold_start", readings.idle_cores, 0.15, 0.10),
    Row("memory in Redis for one queued notification", "growth", readings.bytes_of("queued"), 1024, None, " B"),
    Row(
        "memory in Redis for one finished notification that is kept",
        *("growth", readings.bytes_of("retained"), 600, None, " B"),
    ),
    Row(
        f"Redis CPU time of accepting or delivering, {OVER_SIZES}",
        *("growth", readings.growth("redis_cpu_ms"), GROWTH),
    ),
    Row(
        f"wall time of accepting or delivering, {OVER_SIZES}",
        *("growth", readings.growth("wall_ms"), GROWTH),
    ),
    Row(
        "1, 2 and 4 vendor actors send a backlog: notifications a second, and the service's CPU time for one",
        *("scaling", readings.scaling("drain")),
    ),
    Row(
        "1, 2 and 4 intake replicas accept from 64 clients: triggers a second, and the service's CPU time for one",
        *("scaling", readings.scaling("accept")),
    ),
    Row(
        "load becomes tenfold: time until the first additional vendor actor",
        *("elastic", readings.elastic, 8, 4, " s"),
        changed=SLOW_VENDORS,
    ),
    Row(
        "load becomes tenfold: time until the oldest waiting message is younger than 1 s again",
        *("elastic", readings.elastic_age, 15, 10, " s"),
        changed=SLOW_VENDORS,
    ),
    Row(
        "store slow for 30 s, with `intake.ongoing_target: 2`: time until the first additional intake replica",
        *("intake_elastic", readings.intake_elastic, 10, None, " s"),
    ),
    Row(
        "delivery p99 of an urgent code while a bulk run waits ÷ p99 without the bulk run",
        *("backlog", readings.urgent, 2),
        changed=BULK,
    ),
    Row(
        "vendor of a waiting bulk run fails: time until its fallback's first delivery",
        *("backlog", readings.fallback, 1, None, " s"),
        changed=BULK,
    ),
    Row("soak at 10 million triggers a day: messages lost or repeated", "soak", readings.soak, 0),
    Row(
        "2 h at 116 triggers/s: growth of the service's memory, without Redis ÷ its variation",
        *("soak", load_readings.soak_growth("service_pss_mib", "MiB"), 1),
    ),
    Row(
        "2 h at 116 triggers/s: growth of the accept p99 of a minute ÷ its variation",
        *("soak", load_readings.soak_growth("accept_ms_p99", "ms"), 1),
    ),
    Row(
        "2 h at 116 triggers/s: growth of the actors' open file descriptors ÷ its variation",
        *("soak", load_readings.soak_growth("actors_descriptors", "descriptors"), 1),
    ),
    Row(
        "tenant A has 1,000,000 notifications waiting in the same lanes: accept p99 of tenant B ÷ without A",
        *("fair_tenants", load_readings.tenants("accept"), 2),
        changed=LARGE_REDIS,
    ),
    Row(
        "tenant A has 1,000,000 notifications waiting in the same lanes: delivery p99 of tenant B ÷ without A",
        *("fair_tenants", load_readings.tenants("delivery"), 2),
        changed=LARGE_REDIS,
    ),
    Row(
        "starts with callers waiting, each with one process killed or frozen: `up` that ended, and starts over 30 s",
        *("starts", fault_readings.starts, 0),
    ),
    Row(
        "the same starts: time from `dispatcher up` to the first accept",
        *("starts", fault_readings.first_accept, None, None, " s"),
    ),
    Row(
        "everything killed at 40/s, 5,000 callers wait: time from `dispatcher up` to the first accept",
        *("killed_whole", fault_readings.killed_whole("first_accept_s"), 15, None, " s"),
    ),
    Row(
        "everything killed at 40/s, 5,000 callers wait: time from `dispatcher up` until the last of them is accepted",
        *("killed_whole", fault_readings.killed_whole("last_accept_s"), 25, None, " s"),
    ),
    Row(
        "a process is killed or frozen every 4 to 9 s for 8 minutes: triggers accepted at the first try",
        *("random_kills", fault_readings.random_kills, 98, None, " %"),
        least=True,
    ),
    Row(
        "two cells ÷ one cell, each Redis held to a part of a core that limits it: triggers carried",
        *("cells", cell_readings.two_cells, 1.8),
        least=True,
    ),
    Row(
        "one of two cells is killed at 20 triggers/s: accepted at the first try of the other cell's keys",
        *("cells", cell_readings.dead_cell, 100, None, " %"),
        least=True,
    ),
)


ALONE = ("pairs", "peak", "starts", "killed_whole", "random_kills", "cells")
"""The benchmarks that `make bench` leaves out. Their command is the module."""


def as_markdown(read: Callable[[str], Mapping[str, Any]]) -> str:
    """Return the table of measured claims as Markdown.

    `read` takes the name of a benchmark and returns the whole content of its result file. If it raises
    FileNotFoundError, the rows of this benchmark say that it was not measured.
    """
    lines = ["| what | must | aim | measured | of | command |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        bars = (f"{bar:g}{row.unit}".replace("-", "−") if bar is not None else "" for bar in (row.must, row.aim))
        what = f"{row.what} [{row.changed}]" if row.changed else row.what
        head = f"| {what} | {' | '.join(bars)} |"
        try:
            document = read(row.file)
        except FileNotFoundError:
            lines.append(f"{head} not measured |  | {_command({'benchmark': row.file, 'arguments': []})} |")
            continue
        lines.append(
            f"{head} {cell(row, document['figures']).replace(' -', ' −')} | {of(document)} | {_command(document)} |"
        )
    return "\n".join(lines)


def of(document: Mapping[str, Any]) -> str:
    """Return the measured commit, and what a reader must know to compare the figures: the machine, and fixed pools.

    The first two machines give the same name in `environment`, so the day tells them apart. The third one has no note.
    """
    first = document["environment"]["at"] < SECOND_MACHINE_SINCE
    second = not first and OLD_PROCESSOR in document["environment"].get("machine", "")
    pools = document["figures"].get("pools", "as shipped")
    pinned = pools != "as shipped" or (first and document["benchmark"] in PINNED_ON_THE_FIRST)
    notes = ["first machine"] * first + ["second machine"] * second + ["pools pinned"] * pinned
    return ", ".join([document["environment"]["commit"][:7], *notes])


def cell(row: Row, figures: Figures) -> str:
    """Return the text of one cell of the table.

    If any run in the results file lost a notification, or repeated a notification without an explanation, every cell of
    this file says "MISSED" and names the loss.
    """
    found = row.read(figures)
    misses = list(found.misses)
    if lost := readings.losses(figures):
        misses.append(f"lost, or repeated without a reason: {lost}")
    verdict = row.verdict(found.value)
    if misses or verdict == "missed":
        return f"**{found.text}: MISSED{' (' + ', '.join(misses) + ')' if misses else ''}**"
    return f"{found.text}; {verdict}" if verdict else found.text


def _command(document: Mapping[str, Any]) -> str:
    """Return the command that repeats the measurement.

    If the benchmark was run with no argument but its folder, this is `make bench`, unless that leaves it out.
    """
    name, arguments = document["benchmark"], list(document["arguments"])
    if "--results" in arguments:
        at = arguments.index("--results")
        del arguments[at : at + 2]
    if not arguments and name not in ALONE:
        return f"`make bench NAME={name}`"
    return f"`python -m benchmarks.{' '.join([name, *arguments])}`"


# ---- what limits them


def limits(read: Callable[[str], Mapping[str, Any]]) -> str:
    """Return two lines of Markdown about the two things that keep the figures from being better: the disk and the
    cores.

    The first line compares accept p99 with the fdatasync p99 of the same rounds. The second line shows the CPU time of
    each part.
    """
    accept, end_to_end = read("accept_latency"), read("end_to_end")
    conditions, rates = accept["figures"]["conditions"], end_to_end["figures"]
    tails = [f"{name.split(',')[0]}: {_tail(conditions[name])}" for name in TAILS if name in conditions]
    costs = [_cost(row) for rate in _shown_rates(rates) if (row := readings.at(rates, rate))]
    cores = int(end_to_end["environment"]["machine"].rpartition(", ")[2].split()[0])
    return "\n".join(
        [
            "- *The disk.* An accept waits for one fsync, and for the one before it. For each rate: the accept p99 "
            "beside the p99 of a bare fdatasync in the same round, both in ms, and in brackets the time of two such "
            f"fdatasyncs in percent of the accept p99: {'; '.join(tails)}. Of {of(accept)}.",
            f"- *The cores.* CPU time of a trigger, in ms: {'; '.join(costs)}. "
            f"At {OVERLOAD:,.0f}/s {cores} cores have {cores * 1000 / OVERLOAD:.2f} ms for each trigger. "
            f"Of {of(end_to_end)}.",
        ]
    )


def _tail(condition: Mapping[str, Any]) -> str:
    pairs = list(zip(condition["accept_ms_p99"]["all"], condition["fdatasync_ms_p99"]["all"], strict=True))
    shares = [200 * disk / accept for accept, disk in pairs]
    beside = ", ".join(f"{accept:.2g} beside {disk:.2g}" for accept, disk in pairs)
    return f"{beside} ({' to '.join(dict.fromkeys(f'{share:.0f}' for share in (min(shares), max(shares))))} %)"


def _shown_rates(figures: Figures) -> list[float]:
    return sorted({readings.CALM, figures["highest_sustained_per_s"], OVERLOAD})


def _cost(row: Mapping[str, Any]) -> str:
    parts = sorted(row["cpu_ms_per_trigger"].items(), key=lambda part: -part[1])
    each = ", ".join(f"{part} {ms:.2f}" for part, ms in parts)
    return f"at {row['rate_per_s']:,g}/s {row['cpu_ms_per_trigger_all']:.2f} ({each})"


@click.command(help=__doc__)
@click.option("--limits", "limits_", is_flag=True, help="what limits them, instead of the table")
def main(limits_: bool) -> None:
    click.echo((limits if limits_ else as_markdown)(results.read))


if __name__ == "__main__":
    main()
