"""The table of measured numbers marks what misses its bar, and names the command and the commit of each figure."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from unittest import mock

import pytest

from benchmarks import results
from benchmarks.__main__ import QUESTIONS
from benchmarks.elastic import together
from benchmarks.measured_table import ALONE, ROWS, SHORT_WAITS, Found, Row, as_markdown, cell, limits
from tests.unit.benchmarks.cell_figures import CELLS
from tests.unit.benchmarks.fault_figures import FAULTS
from tests.unit.benchmarks.load_figures import LOAD

MADE_UP = {**FAULTS, **LOAD, **CELLS}


def row(**bars: Any) -> Row:
    return Row("x", "x", lambda figures: Found(0, ""), **bars)


def cell_of(what: str, figures: Any) -> str:
    """Return the table cell of the one row whose name begins with `what`."""
    (found,) = [row for row in ROWS if row.what.startswith(what)]
    return cell(found, figures)


def spread(*values: float) -> dict[str, Any]:
    return results.spread(values)


@pytest.mark.parametrize(
    ("bars", "value", "verdict"),
    [
        ({"must": 10, "aim": 5}, 5.0, None),
        ({"must": 10, "aim": 5}, 5.1, "aim missed"),
        ({"must": 10, "aim": 5}, 10.1, "missed"),
        ({"must": 700, "aim": 1157, "least": True}, 1157, None),
        ({"must": 700, "aim": 1157, "least": True}, 700, "aim missed"),
        ({"must": 700, "aim": 1157, "least": True}, 699, "missed"),
        ({"must": 0}, 1, "missed"),
        ({}, 10**9, None),
    ],
)
def test_a_value_is_held_to_what_it_must_be_and_then_to_the_aim(
    bars: dict[str, Any], value: float, verdict: str | None
) -> None:
    assert row(**bars).verdict(value) == verdict


def test_each_row_is_of_a_benchmark_there_is() -> None:
    """Each row reads the results of a listed benchmark, or of one that is run by its module alone."""
    listed = {question.name for question in QUESTIONS}
    assert not listed & set(ALONE)
    assert {row.file for row in ROWS} <= listed | set(ALONE)
    assert all(callable(import_module(f"benchmarks.{name}").main) for name in ALONE)


def test_a_row_without_a_result_file_says_that_it_was_not_measured() -> None:
    def read(name: str) -> Any:
        if name in ("starts", "soak"):
            raise FileNotFoundError(name)
        return results.read(name)

    rows = [row for row in ROWS if row.file in ("starts", "soak", "elastic")]
    with mock.patch("benchmarks.measured_table.ROWS", rows):
        lines = as_markdown(read).splitlines()
    missing = [line for line in lines if "| not measured |  |" in line]
    assert [line.rsplit(" | ", 1)[1] for line in missing] == [
        *["`make bench NAME=soak` |"] * 4,
        "`python -m benchmarks.starts` |",
        "`python -m benchmarks.starts` |",
    ]
    assert len(lines) == len(rows) + 2


def test_command_and_commit_are_those_of_the_file() -> None:
    def read(name: str) -> Any:
        found = results.read(name)
        if name == "soak":
            found |= {"arguments": ["--minutes", "7", "--results", "elsewhere"]}
            found["environment"]["commit"] = "0123456789"
        if name == "accept_latency":
            found |= {"arguments": ["--results", "elsewhere"]}
        return found

    lines = {line.split(" | ")[0].removeprefix("| "): line for line in as_markdown(read).splitlines()}
    assert lines["soak at 10 million triggers a day: messages lost or repeated"].endswith(
        " | 0123456 | `python -m benchmarks.soak --minutes 7` |"
    )
    accept = lines[f"accept p99 at 1,157 triggers/s, whole service running [{SHORT_WAITS}]"]
    assert accept.startswith(
        f"| accept p99 at 1,157 triggers/s, whole service running [{SHORT_WAITS}] | 100 ms | 20 ms | "
    )
    assert accept.endswith("| `make bench NAME=accept_latency` |")


# ---- what misses


def test_decoupling_is_held_to_its_bar_at_every_rate_up_to_500() -> None:
    """The cell about decoupling shows the ratio at every rate, and is judged by the largest ratio at rates up to 500/s.

    Without a ratio at such a rate, the cell says MISSED.
    """

    def of(**ratios: float) -> str:
        return cell_of("accept p99 with hanging vendors", {"hanging_over_healthy": dict(ratios)})

    assert of(**{"116/s": 1.0, "500/s": 0.9, "1157/s": 9.0}) == "1 at 116/s, 0.9 at 500/s, 9 at 1157/s"
    assert of(**{"116/s": 1.0, "500/s": 1.1}).endswith("; aim missed")
    assert of(**{"116/s": 1.0, "500/s": 1.3}) == "**1 at 116/s, 1.3 at 500/s: MISSED**"
    assert "MISSED" in of(**{"1157/s": 0.5})


def test_a_dispatch_must_cost_less_than_with_every_peer() -> None:
    """The table's row about the CPU of a dispatch is missed if one peer needs no more CPU than our worker.

    The row is also missed if no peer was measured. Another commit of ours is no peer.
    """

    def of(**cpu_ms: float) -> str:
        subjects = {name: {"cpu_ms": spread(ms)} for name, ms in {"ours": 0.3, "floor": 0.2, **cpu_ms}.items()}
        return cell_of("CPU time to send one notification", {"subjects": subjects})

    assert "MISSED" not in of(taskiq=0.5, arq=0.9)
    assert of(taskiq=0.3, arq=0.9).endswith("taskiq 0.3, arq 0.9: MISSED (not below taskiq)**")
    assert of(against=0.9).endswith("; no peer: MISSED (no peer measured)**")
    assert "MISSED" in of(taskiq=0.9, ours=0.51)


def end_to_end(highest: float, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"highest_sustained_per_s": highest, "rates": list(rows)}


def rate(per_s: float, vendors_ms: float = 0.8, p99: float = 15.0, **more: Any) -> dict[str, Any]:
    return {
        "rate_per_s": per_s,
        "accept_ms_p99": 9.0,
        "delivery_beyond_vendor_ms_p50": 10.0,
        "delivery_beyond_vendor_ms_p99": p99,
        "first_try_percent": 100.0,
        "last_delivery_after_s": 0.1,
        "cpu_ms_per_trigger": {"vendors": vendors_ms, "redis": 0.2},
        "cpu_ms_per_trigger_all": vendors_ms + 0.2,
        **more,
    }


def test_the_sustained_rate_shows_the_worst_round_of_the_overload() -> None:
    rounds = [{"first_try_percent": first, "last_delivery_after_s": late} for first, late in ((100, 1), (90, 3))]
    found = cell_of("highest sustained rate", end_to_end(700, rate(700), rate(1157, rounds=rounds)))
    assert found.endswith(
        "at 1,157/s 90 % accepted at the first try, the last delivered 3 s late (worst round); aim missed"
    )
    assert cell_of("highest sustained rate", end_to_end(1157, rate(1157))) == "1157/s (accept p99 9 ms there)"
    assert "MISSED" in cell_of("highest sustained rate", end_to_end(550, rate(550)))
    assert cell_of("highest sustained rate", end_to_end(0, rate(550))) == "**none: MISSED**"


def test_a_rate_that_was_not_measured_is_missed() -> None:
    assert "MISSED" in cell_of("delivery p99 at 116 triggers/s", end_to_end(700, rate(700)))
    assert "MISSED" in cell_of("delivery p99 at 116 triggers/s", end_to_end(700, rate(116, p99=51.0), rate(700)))
    assert "MISSED" in cell_of("CPU time of the vendor actors", end_to_end(0, rate(116)))


def test_the_whole_services_dispatch_is_a_notifications_at_the_highest_rate() -> None:
    """A notification costs half of a trigger's CPU, because a trigger has two notifications.

    The table compares the cost at the highest sustained rate with its bar. At lower rates the idle time of the actors
    counts for more.
    """
    found = cell_of("CPU time of the vendor actors", end_to_end(700, rate(116, 1.6), rate(700, 0.7)))
    assert found == "0.35 ms at 700/s, 0.8 ms at 116/s"
    assert "MISSED" in cell_of("CPU time of the vendor actors", end_to_end(116, rate(116, 1.6)))


POOL = {
    "first_more_after_s": 5.0,
    "age_most_s": 4.0,
    "age_under_1_s_again_after_s": 9.0,
    "one_again_after_s": 40.0,
}
STEP = {"watched": ["a", "b"], "a": POOL, "b": POOL, "lost": 0, "duplicated": 0, "unexplained": 0}
FIRST = "load becomes tenfold: time until the first"
OLDEST = "load becomes tenfold: time until the oldest"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (FIRST, {"b": {**POOL, "first_more_after_s": 10.5}}),
        (FIRST, {"b": {**POOL, "first_more_after_s": None}}),
        (FIRST, {"b": {**POOL, "one_again_after_s": None}}),
        (FIRST, {"duplicated": 1}),
        (OLDEST, {"b": {**POOL, "age_under_1_s_again_after_s": 40.5}}),
        (OLDEST, {"lost": 1}),
    ],
)
def test_a_step_is_judged_by_every_pool_by_age_and_by_losses(what: str, change: dict[str, Any]) -> None:
    assert "MISSED" not in cell_of(what, STEP)
    assert "MISSED" in cell_of(what, {**STEP, **change})


def test_a_step_of_several_rounds_is_judged_by_the_median_round_and_by_every_loss() -> None:
    def slow(first_s: float, age_s: float) -> dict[str, Any]:
        return {**STEP, "b": {**POOL, "first_more_after_s": first_s, "age_under_1_s_again_after_s": age_s}}

    figures = together([{**slow(7.0, 14.0), "accepted": 9, "unacknowledged": 0}] * 2)
    assert (figures["accepted"], len(figures["rounds"])) == (18, 2)
    figures = {**STEP, "rounds": [slow(7.0, 14.0), slow(30.0, 60.0), slow(6.0, 10.0)]}
    assert cell_of(FIRST, figures).startswith("7 s (6 to 30); down again after 40 s (40 to 40); lost 0")
    assert cell_of(OLDEST, figures) == "14 s (10 to 60), and 4 s old at most; aim missed"
    assert "MISSED" in cell_of(FIRST, {**figures, "lost": 1})


@pytest.mark.parametrize(
    "change", [{"first_more_after_s": None}, {"first_more_after_s": 11}, {"least_again_after_s": None}, {"lost": 1}]
)
def test_intake_is_judged_by_losses_too(change: dict[str, Any]) -> None:
    figures = {"first_more_after_s": 5, "least_again_after_s": 60, "first_try_percent": 100, "lost": 0, "duplicated": 0}
    assert "MISSED" not in cell_of("store slow", figures)
    assert "MISSED" in cell_of("store slow", {**figures, **change})


def test_every_growth_above_the_bar_is_named() -> None:
    ratios = {
        "backlog": {"accept_wall_ms": 1.12, "deliver_wall_ms": 1.05, "accept_redis_cpu_ms": 1.5},
        "vendors": {"accept_wall_ms": 1.03, "deliver_wall_ms": 1.2},
    }
    found = cell_of("wall time of accepting or delivering", {"most_over_least": ratios})
    assert found == "**1.20 deliver by vendors, 1.12 accept by backlog; the least of 4 is 1.03: MISSED**"
    ratios["backlog"]["accept_wall_ms"] = ratios["vendors"]["deliver_wall_ms"] = 1.1
    assert "MISSED" not in cell_of("wall time of accepting or delivering", {"most_over_least": ratios})


def test_a_soak_tells_its_slopes_and_misses_by_one_repeat() -> None:
    minutes = [{"triggers": 10, "accept_ms_p50": 2.0 + n / 10, "accept_ms_p99": 5.0 + n} for n in range(12)]
    figures = {"minutes": minutes, "slope_per_hour": {"actors_pss_mib": 57.4}, "lost": 0, "duplicated": 0}
    found = cell_of("soak", figures)
    assert found.startswith("lost 0, repeated 0 of 240 messages in 12 minutes; first 5 to last 5 minutes: ")
    assert found.endswith("accept p50 2.2 → 2.9 ms, p99 7 → 14 ms; memory of the actors +57 MiB an hour")
    assert "MISSED" in cell_of("soak", {**figures, "duplicated": 1})
    assert "first 1 to last 1 minutes" in cell_of("soak", {**figures, "minutes": minutes[:2]})


def test_a_bulk_run_is_as_long_as_it_was() -> None:
    times = {"idle": 50, "behind_bulk": 60, "while_fallback_drains": 300}
    figures = {f"urgent_{when}_p99_ms": spread(ms) for when, ms in times.items()} | {"queued": spread(990_000)}
    found = cell_of("delivery p99 of an urgent code", figures)
    assert found == "1.20 (50 → 60 ms; 300 while the fallback drains), 990,000 queued"
    assert "MISSED" in cell_of("delivery p99 of an urgent code", {**figures, "urgent_behind_bulk_p99_ms": spread(101)})


def test_scaling_shows_every_size() -> None:
    sizes = {"1": {"per_s": 1064.3, "cpu_ms": 0.58, "client_cpu_ms": 0.2}, "2": {"per_s": 1989.2, "cpu_ms": 0.55}}
    assert (
        cell_of("1, 2 and 4 vendor actors", {"drain": sizes})
        == "1: 1,064/s at 0.58 ms (its client 0.2), 2: 1,989/s at 0.55 ms"
    )


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_a_loss_in_any_run_of_a_file_spoils_each_of_its_rows(row: Row) -> None:
    """If any run in a file had an unexplained repeat, each row of that file shows it."""
    figures = MADE_UP[row.file] if row.file in MADE_UP else results.read(row.file)["figures"]
    assert "without a reason: 1" in cell(row, {**figures, "elsewhere": [{"unexplained": spread(0, 1)}]})


def test_what_the_monolith_lost_is_no_miss_of_ours() -> None:
    sides = {side: {"50 ms": {"p99_ms": spread(ms)}} for side, ms in (("before", 50), ("after", 5))}
    sides["before"]["50 ms"]["lost"] = spread(7)
    figures = {**sides, "change_percent": {"50 ms": {"p50_ms": -96, "p99_ms": -96}}}
    what = "change of a shop's checkout latency by the dispatcher, if vendors answer"
    assert cell_of(what, figures) == "p50 -96 %, p99 -96 % (50 → 5 ms)"
    sides["after"]["50 ms"]["lost"] = spread(1)
    assert "MISSED" in cell_of(what, figures)


# ---- what limits them


def on(processor: str, day: str = "2026-11-30") -> dict[str, Any]:
    machine = f"Linux x86_64, {processor}, 4 cores"
    return {"benchmark": "x", "environment": {"machine": machine, "at": day, "commit": "0123456789"}}


def test_the_tail_of_an_accept_is_shown_beside_the_disks_of_its_round() -> None:
    condition = {"accept_ms_p99": spread(4, 8), "fdatasync_ms_p99": spread(1, 3)}
    documents = {
        "accept_latency": {
            "figures": {"conditions": {"116/s, vendors healthy": condition, "9/s, vendors held": {}}},
            **on("AMD", "2026-11-28"),
        },
        "end_to_end": {"figures": end_to_end(700, rate(116, 1.6), rate(700, 0.7), rate(300)), **on("Some CPU")},
    }
    disk, cores = limits(documents.__getitem__).splitlines()
    assert disk.endswith("of the accept p99: 116/s: 4 beside 1, 8 beside 3 (50 to 75 %). Of 0123456, second machine.")
    assert "at 116/s 1.80 (vendors 1.60, redis 0.20); at 700/s 0.90 (vendors 0.70, redis 0.20)." in cores
    assert "300/s" not in cores
    assert cores.endswith("At 1,157/s 4 cores have 3.46 ms for each trigger. Of 0123456.")
