"""Reads result files for the table of numbers to reach (`benchmarks.measured_table`).

Each function reads the figures of one file. It returns three things: the value that is compared with the limits `must`
and `aim` of the table's row, the text of the table's cell, and a sentence for each further rule that does not hold. A
value that was not measured is infinite, so that it never counts as reached. `measured_table` compares the value with
the limits. The functions here check the further rules.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]
DECOUPLED_TO = 500.0
"""The highest rate, in triggers a second, at which accepts with hanging and with healthy vendors are compared.

At higher rates two cores are full, whatever the vendors do.
"""

COUNTED_ELSEWHERE = ("rounds", "minutes", "before")
"""Keys of a result file that `losses` skips.

`rounds` and `minutes` are already part of a sum. `before` holds the figures of the checkout server that sends without
the dispatcher.
"""

GROWTH = 1.10
OVERLOAD, CALM, STEP_TO = 1157.0, 116.0, 700.0
FIRST_TRY = 0.999
"""The least share of triggers that are accepted at their first try, in every row with a rate."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value as it was read from a result file.

    `value` is compared with the row's `must` and `aim`, and `text` is shown. `misses` are sentences about other rules
    of the row that the figures break.
    """

    value: float
    text: str
    misses: tuple[str, ...] = ()


def losses(figures: Any) -> int:
    """Return how many notifications the result file `figures` counts as lost or as repeated without an explanation.

    An unknown outcome explains a repeat.
    """
    if isinstance(figures, Mapping):
        own = sum(_total(figures[name]) for name in ("lost", "unexplained") if name in figures)
        return own + sum(losses(value) for name, value in figures.items() if name not in COUNTED_ELSEWHERE)
    return sum(map(losses, figures)) if isinstance(figures, list) else 0


def _total(value: Any) -> int:
    return round(sum(value["all"]) if isinstance(value, Mapping) else value)


# ---- accepting


def accept_p99(rate: str) -> Callable[[Figures], Found]:
    def read(figures: Figures) -> Found:
        found = figures["conditions"][f"{rate}/s, vendors healthy"]
        p50, p99, disk = (found[name] for name in ("accept_ms_p50", "accept_ms_p99", "fdatasync_ms_p99"))
        return Found(
            p99["median"],
            f"{_ms(p99)} (p50 {p50['median']:.2g}); a bare fdatasync meanwhile: p99 {disk['median']:.2g} ms",
        )

    return read


def pair(figure: str) -> Callable[[Figures], Found]:
    """Read the ratio of one figure in `benchmarks.pairs`: this commit ÷ the other commit, median of the pairs."""

    def read(figures: Figures) -> Found:
        ratio, ours, other = (figures[figure][name] for name in ("ratio", "ours", "other"))
        text = f"{ratio['median']:.2f}{_between(ratio['all'], '.2f')}: "
        text += f"{ours['median']:.3g} and {other['median']:.3g} ms, {len(ratio['all'])} pairs with {figures['other']}"
        return Found(ratio["median"], text)

    return read


def decoupling(figures: Figures) -> Found:
    """Read the ratios of accept p99 with hanging vendors to accept p99 with healthy vendors.

    The value to judge is the largest ratio at the rates up to `DECOUPLED_TO`. The text names the ratio at every rate.
    """
    ratios = figures["hanging_over_healthy"]
    compared = [ratio for rate, ratio in ratios.items() if float(rate.removesuffix("/s")) <= DECOUPLED_TO]
    return Found(max(compared, default=math.inf), ", ".join(f"{ratio:g} at {rate}" for rate, ratio in ratios.items()))


def within_10_ms(figures: Figures) -> Found:
    rate = figures["highest_rate_with_p99_of_10_ms"]["healthy"]
    return Found(rate, f"{rate:g}/s")


def step_p99(part: str) -> Callable[[Figures], Found]:
    """Read the accept p99 of `load_step` as shipped. `part` is `step` for all of the step, or `second_half`.

    Two further rules must hold: the step goes to `STEP_TO` triggers a second, and the first try is accepted.
    """

    def read(figures: Figures) -> Found:
        shipped, pinned = (figures[name][f"{part}_p99_ms"] for name in ("as shipped", "pinned"))
        first_try, rate = figures["as shipped"]["first_try"]["min"], figures["rate_per_s"]
        misses: tuple[str, ...] = (f"{first_try:.2%} at the first try",) if first_try < FIRST_TRY else ()
        misses += (f"not {STEP_TO:g}/s",) if rate < STEP_TO else ()
        told, beside = (f"{p99['median']:.0f} ms{_between(p99['all'], '.0f')}" for p99 in (shipped, pinned))
        return Found(shipped["median"], f"{told} at {rate:g}/s; pools pinned {beside}", misses)

    return read


def step_ratio(figures: Figures) -> Found:
    ratio, rate = figures["p99_ratio"], figures["rate_per_s"]
    misses = (f"not {STEP_TO:g}/s",) if rate < STEP_TO else ()
    return Found(ratio["median"], f"{ratio['median']:.2f}{_between(ratio['all'], '.2f')} at {rate:g}/s", misses)


# ---- end to end


def sustained(figures: Figures) -> Found:
    highest = figures["highest_sustained_per_s"]
    row = at(figures, highest)
    text = f"{highest:g}/s (accept p99 {row['accept_ms_p99']:.2g} ms there)" if row else "none"
    if row and "triggers" in row:
        text += f" for {row['triggers'] / highest:.0f} s"
    if rounds := rounds_of(at(figures, OVERLOAD)) if highest < OVERLOAD else []:
        first_try, late_s = ([each[name] for each in rounds] for name in ("first_try_percent", "last_delivery_after_s"))
        text += f"; at {OVERLOAD:,.0f}/s {min(first_try):g} % accepted at the first try"
        text += f", the last delivered {max(late_s):.2g} s late" + (" (worst round)" if len(rounds) > 1 else "")
    return Found(highest, text)


def delivery_p99(figures: Figures) -> Found:
    low, high = at(figures, CALM), at(figures, figures["highest_sustained_per_s"])
    if not low:
        return Found(math.inf, f"not measured at {CALM:g}/s")
    p50, p99 = (low[f"delivery_beyond_vendor_ms_{p}"] for p in ("p50", "p99"))
    spread = _between([each["delivery_beyond_vendor_ms_p99"] for each in rounds_of(low)])
    text = f"{p99:g} ms{spread} (p50 {p50:g})"
    if high:
        text += f"; {high['delivery_beyond_vendor_ms_p99']:g} ms at {high['rate_per_s']:g}/s"
    return Found(p99, text)


def vendor_cpu(figures: Figures) -> Found:
    """Read the vendor actors' CPU per notification at the highest sustained rate. A trigger has two notifications."""
    high = at(figures, figures["highest_sustained_per_s"])
    if not high:
        return Found(math.inf, "no rate was sustained")
    rows = {row["rate_per_s"]: row["cpu_ms_per_trigger"]["vendors"] / 2 for row in (at(figures, CALM), high) if row}
    text = ", ".join(f"{ms:.2g} ms at {rate:g}/s" for rate, ms in sorted(rows.items(), reverse=True))
    return Found(rows[high["rate_per_s"]], text)


# ---- checkout, dispatch, start


def checkout(vendors: str) -> Callable[[Figures], Found]:
    """Return a function that reads how the dispatcher changes the latency of a checkout, in percent.

    The value to compare is the change of p50 or the change of p99, whichever is the smaller improvement.
    """

    def read(figures: Figures) -> Found:
        found = figures["change_percent"][vendors]
        before, after = (figures[when][vendors]["p99_ms"]["median"] for when in ("before", "after"))
        text = f"p50 {found['p50_ms']:g} %, p99 {found['p99_ms']:g} % ({before:,.0f} → {after:.0f} ms)"
        return Found(max(found.values()), text)

    return read


def dispatch_cost(figures: Figures) -> Found:
    """Read the CPU time that the dispatcher needs for one notification.

    The result also lists each measured peer that needs as little CPU time as we do, or less. If no peer was measured,
    the list says "no peer measured".
    """
    cost = {name: subject["cpu_ms"]["median"] for name, subject in figures["subjects"].items()}
    ours, floor = cost.pop("ours"), cost.pop("floor")
    for also_ours in ("against", "tenants"):  # of another commit, and with a thousand tenants
        cost.pop(also_ours, None)
    spread = figures["subjects"]["ours"]["cpu_ms"]
    text = f"{ours:.2g} ms ({spread['min']:.2g} to {spread['max']:.2g}), a bare loop {floor:.2g}; "
    text += ", ".join(f"{name} {ms:.2g}" for name, ms in sorted(cost.items(), key=lambda peer: peer[1])) or "no peer"
    above = tuple(f"not below {name}" for name, ms in cost.items() if ours >= ms)
    return Found(ours, text, above if cost else ("no peer measured",))


def idle_memory(figures: Figures) -> Found:
    pss = figures["idle_pss_mib"]
    return Found(pss["median"], f"{pss['median']:,.0f} MiB in {figures['idle_processes']['median']:g} processes")


def idle_cores(figures: Figures) -> Found:
    cores = figures["idle_cores"]
    return Found(cores["median"], f"{cores['median']:.2g}{_between(cores['all'], '.2g')}")


def cold_start(figures: Figures) -> Found:
    first = figures["first_delivery_of_the_first_trigger_s"]
    return Found(first["median"], f"{first['median']:.1f} s ({first['min']:.1f} to {first['max']:.1f})")


# ---- growth, scaling


def bytes_of(what: str) -> Callable[[Figures], Found]:
    def read(figures: Figures) -> Found:
        found = {size: figures["bytes"][size][what] for size in figures["bytes"]}
        most = max(found.values())
        return Found(most, f"{most:.0f} B, the most of " + ", ".join(f"{int(size):,}" for size in found))

    return read


def growth(cost: str) -> Callable[[Figures], Found]:
    """Return a function that reads how much costs grow. The function looks at every cost whose name ends with `cost`.

    The growth of a cost is its greatest value divided by its smallest value. The values belong to different sizes of
    one thing: of the backlog, of the kept records, or of the number of vendors. The figure to judge is the largest
    growth. The text names every cost that grows by more than `GROWTH`. If no cost does, the text names the cost that
    grows most.
    """

    def read(figures: Figures) -> Found:
        found = {
            f"{name.removesuffix(f'_{cost}')} by {question}": ratio
            for question, ratios in figures["most_over_least"].items()
            for name, ratio in ratios.items()
            if name.endswith(cost)
        }
        named = [name for name in found if found[name] > GROWTH] or [max(found, key=lambda name: found[name])]
        text = ", ".join(f"{found[name]:.2f} {name}" for name in sorted(named, key=lambda name: -found[name]))
        return Found(max(found.values()), f"{text}; the least of {len(found)} is {min(found.values()):.2f}")

    return read


def scaling(what: str) -> Callable[[Figures], Found]:
    """Return a function that reads the rate of each measured pool size. The value to compare is the highest rate.

    `what` is `drain` (sizes of a vendor's pool) or `accept` (numbers of intake replicas).
    """

    def read(figures: Figures) -> Found:
        rows = figures[what]
        return Found(
            max(row["per_s"] for row in rows.values()), ", ".join(f"{n}: {_rate(row)}" for n, row in rows.items())
        )

    return read


def _rate(row: Mapping[str, Any]) -> str:
    client = f" (its client {row['client_cpu_ms']:.2g})" if "client_cpu_ms" in row else ""
    return f"{row['per_s']:,.0f}/s at {row['cpu_ms']:.2g} ms{client}"


# ---- elastic


def elastic(figures: Figures) -> Found:
    """Read the seconds until the first additional actor, as the median of the rounds.

    A pool that never shrank again is a miss too, and so is a lost or repeated notification.
    """
    first, down = (_of_rounds(figures, name) for name in ("first_more_after_s", "one_again_after_s"))
    text = f"{_times(first)}; down again after {_times(down)}; {_said(figures)}"
    never = ("never down again",) if math.isinf(max(down)) else ()
    return Found(statistics.median(first), text, (*_lossless(figures), *never))


def elastic_age(figures: Figures) -> Found:
    age, most = (_of_rounds(figures, name) for name in ("age_under_1_s_again_after_s", "age_most_s"))
    return Found(statistics.median(age), f"{_times(age)}, and {max(most):.2g} s old at most", _lossless(figures))


def _of_rounds(figures: Figures, name: str) -> list[float]:
    """Return the largest value of `name` in any pool, for each round. A file without rounds is one round."""
    rounds = figures.get("rounds", [figures])
    return [_latest([each[pool] for pool in each["watched"]], name) for each in rounds]


def _times(values: list[float]) -> str:
    return f"{_seconds(statistics.median(values))}{_between(values, '.3g')}"


def intake_elastic(figures: Figures) -> Found:
    first, least = (_latest([figures], name) for name in ("first_more_after_s", "least_again_after_s"))
    text = f"{_seconds(first)}; down again {_seconds(least)} after it is well"
    text += f"; {figures['first_try_percent']:g} % at first try; {_said(figures)}"
    return Found(first, text, (*_lossless(figures), *(("never down again",) if math.isinf(least) else ())))


def _latest(pools: Iterable[Figures], name: str) -> float:
    """Return the largest value of `name` in any pool.

    The value None means that the event never happened in this pool. Then the result is infinity.
    """
    return max(math.inf if pool[name] is None else float(pool[name]) for pool in pools)


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.3g} s"


# ---- backlog, soak


def urgent(figures: Figures) -> Found:
    idle, behind, drains = (
        figures[f"urgent_{when}_p99_ms"]["median"] for when in ("idle", "behind_bulk", "while_fallback_drains")
    )
    text = f"{behind / idle:.2f} ({idle:.0f} → {behind:.0f} ms; {drains:.0f} while the fallback drains)"
    return Found(behind / idle, f"{text}, {figures['queued']['median']:,.0f} queued")


def fallback(figures: Figures) -> Found:
    first, moved = figures["fallback_first_delivery_s"], figures["moved_to_the_fallbacks_mailbox"]
    return Found(first["max"], f"{first['max']:.2g} s, {moved['max']:g} messages moved")


def soak(figures: Figures) -> Found:
    """Read how many notifications were lost or repeated. The text compares the first five minutes with the last five.

    In a soak of less than ten minutes, it compares the two halves.
    """
    minutes = figures["minutes"]
    part = max(1, min(5, len(minutes) // 2))
    p50, p99 = (
        " → ".join(f"{statistics.median(m[f'accept_ms_{p}'] for m in some):.2g}" for some in _ends(minutes, part))
        for p in ("p50", "p99")
    )
    messages = 2 * sum(minute["triggers"] for minute in minutes)
    return Found(
        figures["lost"] + figures["duplicated"],
        f"{_said(figures)} of {messages:,.0f} messages in {len(minutes)} minutes; first {part} to last {part} minutes: "
        f"accept p50 {p50} ms, p99 {p99} ms; memory of the actors "
        f"{figures['slope_per_hour']['actors_pss_mib']:+.0f} MiB an hour",
    )


def _ends(minutes: list[Any], part: int) -> tuple[list[Any], list[Any]]:
    return minutes[:part], minutes[-part:]


# ---- texts


def at(figures: Figures, rate: float) -> Mapping[str, Any]:
    """Return the measured row of the benchmark end_to_end at this rate, or an empty mapping if the rate was not
    measured.
    """
    return next((row for row in figures["rates"] if row["rate_per_s"] == rate), {})


def rounds_of(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rounds of an end_to_end row. A row without a list of rounds is its only round, and an empty row
    has none.
    """
    return list(row.get("rounds", [row] if row else []))


def _ms(spread: Mapping[str, Any]) -> str:
    return f"{spread['median']:.2g} ms{_between(spread['all'], '.2g')}"


def _between(values: list[float], digits: str = "g") -> str:
    return f" ({min(values):{digits}} to {max(values):{digits}})" if len(values) > 1 else ""


def _said(figures: Figures) -> str:
    return f"lost {figures['lost']:g}, repeated {figures['duplicated']:g}"


def _lossless(figures: Figures) -> tuple[str, ...]:
    return ("lost or repeated, whatever the reason",) if figures["lost"] or figures["duplicated"] else ()
