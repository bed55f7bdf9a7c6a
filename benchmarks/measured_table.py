"""The numbers to reach, and what benchmarks/results has of them, as the table of the README.

    python -m benchmarks.measured_table

Bars are here and nowhere else. What misses one is marked so; the commit is the one that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from benchmarks import results

Figures = Mapping[str, Any]
VENDOR_MS = 50


@dataclass(frozen=True, slots=True)
class Found:
    """What a result file has: the value held to the bars, and what the cell says."""

    value: float
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """A number to reach: the file it is in, the most it must and should be (the least where `least`)."""

    what: str
    file: str
    read: Callable[[Figures], Found]
    must: float | None = None
    aim: float | None = None
    unit: str = ""
    least: bool = False

    def verdict(self, value: float) -> str | None:
        for bar, words in ((self.must, "missed"), (self.aim, "aim missed")):
            if bar is not None and (value < bar if self.least else value > bar):
                return words
        return None


def accept_p99(rate: str) -> Callable[[Figures], Found]:
    def read(figures: Figures) -> Found:
        found = figures["conditions"][f"{rate}/s, vendors healthy"]
        p50, p99, disk = (found[name] for name in ("accept_ms_p50", "accept_ms_p99", "fdatasync_ms_p99"))
        return Found(
            p99["median"],
            f"{_ms(p99)} (p50 {p50['median']:.2g}); a bare fdatasync meanwhile: p99 {disk['median']:.2g} ms",
        )

    return read


def decoupling(figures: Figures) -> Found:
    ratios = figures["hanging_over_healthy"]
    return Found(ratios["116/s"], ", ".join(f"{ratio:g} at {rate}" for rate, ratio in ratios.items()))


def within_10_ms(figures: Figures) -> Found:
    rate = figures["highest_rate_with_p99_of_10_ms"]["healthy"]
    return Found(rate, f"{rate:g}/s")


def sustained(figures: Figures) -> Found:
    highest = figures["highest_sustained_per_s"]
    peak = _at(figures, 1157.0)
    late = f"; at 1,157/s {peak['first_try_percent']:g} % accepted at the first try" if peak else ""
    late += f", the last delivered {peak['last_delivery_after_s']:.2g} s late" if peak else ""
    return Found(highest, f"{highest:g}/s (accept p99 {_at(figures, highest)['accept_ms_p99']:.2g} ms there){late}")


def delivery_p99(figures: Figures) -> Found:
    low, high = _at(figures, 116.0), _at(figures, figures["highest_sustained_per_s"])
    p50, p99 = (low[f"delivery_beyond_vendor_ms_{p}"] for p in ("p50", "p99"))
    return Found(
        p99, f"{p99:g} ms (p50 {p50:g}); {high['delivery_beyond_vendor_ms_p99']:g} ms at {high['rate_per_s']:g}/s"
    )


def checkout(vendors: str) -> Callable[[Figures], Found]:
    """The lesser of two improvements is held to the bar."""

    def read(figures: Figures) -> Found:
        found = figures["change_percent"][vendors]
        before, after = (figures[when][vendors]["p99_ms"]["median"] for when in ("before", "after"))
        words = f"p50 {found['p50_ms']:g} %, p99 {found['p99_ms']:g} % ({before:,.0f} → {after:.0f} ms)"
        return Found(max(found.values()), words)

    return read


def dispatch_cost(figures: Figures) -> Found:
    cost = {name: subject["cpu_ms"]["median"] for name, subject in figures["subjects"].items()}
    ours, floor = cost.pop("ours"), cost.pop("floor")
    peers = ", ".join(f"{name} {ms:.2g}" for name, ms in sorted(cost.items(), key=lambda peer: peer[1]))
    spread = figures["subjects"]["ours"]["cpu_ms"]
    below = "" if all(ours < ms for ms in cost.values()) else " **not below every peer**"
    return Found(
        ours, f"{ours:.2g} ms ({spread['min']:.2g} to {spread['max']:.2g}), a bare loop {floor:.2g}; {peers}{below}"
    )


def cold_start(figures: Figures) -> Found:
    first = figures["first_delivery_of_the_first_trigger_s"]
    processes, mib, cores = (figures[f"idle_{what}"]["median"] for what in ("processes", "pss_mib", "cores"))
    return Found(
        first["median"],
        f"{first['median']:.1f} s ({first['min']:.1f} to {first['max']:.1f}); "
        f"idle {processes:g} processes, {mib / 1024:.1f} GiB, {cores:g} of a core",
    )


def bytes_of(what: str) -> Callable[[Figures], Found]:
    def read(figures: Figures) -> Found:
        found = {size: figures["bytes"][size][what] for size in figures["bytes"]}
        most = max(found.values())
        return Found(most, f"{most:.0f} B, the most of " + ", ".join(f"{int(size):,}" for size in found))

    return read


def growth(cost: str) -> Callable[[Figures], Found]:
    def read(figures: Figures) -> Found:
        found = {
            f"{name.removesuffix(f'_{cost}')} by {question}": ratio
            for question, ratios in figures["most_over_least"].items()
            for name, ratio in ratios.items()
            if name.endswith(cost)
        }
        worst = max(found, key=lambda name: found[name])
        return Found(found[worst], f"{found[worst]:.2f}, {worst}; the least {min(found.values()):.2f}")

    return read


def elastic(figures: Figures) -> Found:
    pools = [figures[name] for name in figures["watched"]]
    first, age, down = (
        max(pool[name] for pool in pools)
        for name in ("first_more_after_s", "age_under_1_s_again_after_s", "one_again_after_s")
    )
    words = f"{first:g} s; oldest waiting under 1 s again after {age:.0f} s; down again after {down:.0f} s"
    return Found(first, f"{words}; {_losses(figures)}")


def intake_elastic(figures: Figures) -> Found:
    first, least = figures["first_more_after_s"], figures["least_again_after_s"]
    words = f"{first:g} s; down again {least:.0f} s after it is well; {figures['first_try_percent']:g} % at first try"
    return Found(first, f"{words}; {_losses(figures)}")


def urgent(figures: Figures) -> Found:
    idle, behind, drains = (
        figures[f"urgent_{when}_p99_ms"]["median"] for when in ("idle", "behind_bulk", "while_fallback_drains")
    )
    return Found(
        behind / idle, f"{behind / idle:.2f} ({idle:.0f} → {behind:.0f} ms; {drains:.0f} while the fallback drains)"
    )


def fallback(figures: Figures) -> Found:
    first, moved = figures["fallback_first_delivery_s"], figures["moved_to_the_fallbacks_mailbox"]
    return Found(first["max"], f"{first['max']:.2g} s, {moved['max']:g} messages moved")


def soak(figures: Figures) -> Found:
    minutes = figures["minutes"]
    memory, p99 = ([minute[what] for minute in minutes] for what in ("actors_pss_mib", "accept_ms_p99"))
    messages = 2 * sum(minute["triggers"] for minute in minutes)
    return Found(
        figures["lost"] + figures["duplicated"],
        f"{_losses(figures)} of {messages:,.0f} messages in {len(minutes)} minutes; memory of the actors "
        f"{memory[0]:.0f} MiB to {memory[-1]:.0f}; accept p99 {min(p99):.1f} to {max(p99):.1f} ms a minute",
    )


ROWS = (
    Row("accept p99 at 116/s (10 M a day), everything running", "accept_latency", accept_p99("116"), 10, 5, " ms"),
    Row("accept p99 at 1,157/s, everything running", "accept_latency", accept_p99("1157"), 50, 10, " ms"),
    Row("accept p99, every vendor hanging ÷ healthy", "accept_latency", decoupling, 1.2, 1.0),
    Row("highest rate with an accept p99 of 10 ms", "accept_latency", within_10_ms),
    Row("end to end, sustained, two notifications a trigger", "end_to_end", sustained, 700, 1157, "/s", least=True),
    Row(f"delivery p99 at 116/s, beyond the vendor's {VENDOR_MS} ms", "end_to_end", delivery_p99, 50, 20, " ms"),
    Row("checkout latency, vendors at 50 ms", "checkout_before_after", checkout("50 ms"), -75, -95, " %"),
    Row("checkout latency, vendors hanging", "checkout_before_after", checkout("hanging"), -99, -99.9, " %"),
    Row("CPU of one dispatch, full duty, below every peer", "dispatch_cost", dispatch_cost, 0.50, 0.35, " ms"),
    Row("`up` to first delivery", "cold_start", cold_start, 30, 15, " s"),
    Row("Redis memory a queued notification", "growth", bytes_of("queued"), 1024, None, " B"),
    Row("Redis memory a retained notification", "growth", bytes_of("retained"), 600, None, " B"),
    Row("Redis's CPU, most ÷ least by size", "growth", growth("redis_cpu_ms"), 1.10),
    Row("time on the wall, most ÷ least by size", "growth", growth("wall_ms"), 1.10),
    Row("tenfold step: first more vendor actor", "elastic", elastic, 10, None, " s"),
    Row("store slow for 30 s: first more intake replica", "intake_elastic", intake_elastic),
    Row("a code behind 100,000 bulk messages, p99 ÷ idle", "backlog", urgent, 2),
    Row("first delivery by the fallback of that backlog", "backlog", fallback, 1, None, " s"),
    Row("soak: lost or repeated", "soak", soak, 0),
)


def as_markdown(read: Callable[[str], Mapping[str, Any]]) -> str:
    """`read` gives a result file by its name, whole."""
    lines = ["| what | must | aim | measured | of | command |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        document = read(row.file)
        found = row.read(document["figures"])
        verdict = row.verdict(found.value)
        cell = f"**{found.words}: {verdict}**" if verdict == "missed" else found.words
        cell += f"; {verdict}" if verdict == "aim missed" else ""
        bars = (f"{bar:g}{row.unit}".replace("-", "−") if bar is not None else "" for bar in (row.must, row.aim))
        lines.append(
            f"| {row.what} | {' | '.join(bars)} | {cell.replace(' -', ' −')} "
            f"| {document['environment']['commit'][:7]} | {_command(document)} |"
        )
    return "\n".join(lines)


def _command(document: Mapping[str, Any]) -> str:
    """`make bench` runs a benchmark without arguments but the folder; with others it was called itself."""
    name, arguments = document["benchmark"], list(document["arguments"])
    if "--results" in arguments:
        at = arguments.index("--results")
        del arguments[at : at + 2]
    return f"`python -m benchmarks.{' '.join([name, *arguments])}`" if arguments else f"`make bench NAME={name}`"


def _ms(spread: Mapping[str, Any]) -> str:
    one = len(spread["all"]) == 1
    return (
        f"{spread['median']:.2g} ms"
        if one
        else f"{spread['median']:.2g} ms ({spread['min']:.2g} to {spread['max']:.2g})"
    )


def _at(figures: Figures, rate: float) -> Mapping[str, Any]:
    """The row of a rate of end_to_end; empty: it was not measured."""
    return next((row for row in figures["rates"] if row["rate_per_s"] == rate), {})


def _losses(figures: Figures) -> str:
    return f"lost {figures['lost']:g}, repeated {figures['duplicated']:g}"


@click.command(help=__doc__)
def main() -> None:
    click.echo(as_markdown(results.read))


if __name__ == "__main__":
    main()
