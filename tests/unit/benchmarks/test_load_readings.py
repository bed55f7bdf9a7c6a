"""The table's rows about load name the rate that was measured. Another rate than that of the limit is a miss."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import results
from benchmarks.measured_table import ROWS, cell, of
from benchmarks.pairs import SERVICE
from tests.unit.benchmarks.load_figures import LOAD


def cell_of(what: str, figures: Any) -> str:
    """Return the table cell of the one row whose name begins with `what`."""
    (found,) = [row for row in ROWS if row.what.startswith(what)]
    return cell(found, figures)


# ---- end to end


def rate(per_s: float, intake_ms: float, sustained: bool = True, **more: Any) -> dict[str, Any]:
    cpu = {**dict.fromkeys(SERVICE, 0.1), "intake": intake_ms, "client": 9.0, "sandbox vendors": 9.0}
    return {"rate_per_s": per_s, "sustained": sustained, "cpu_ms_per_trigger": cpu, **more}


CPU = "CPU time of the service for one trigger with two"


def test_the_cpu_of_a_trigger_is_of_the_service_alone() -> None:
    """The client and the vendors do not count. The figure is the median of the rounds, with the least and greatest."""
    rounds = [rate(700, ms) for ms in (1.0, 1.2, 1.6)]
    figures = {"highest_sustained_per_s": 700, "rates": [{**rate(700, 1.2), "rounds": rounds}]}
    found = cell_of(CPU, figures)
    assert found.startswith("1.70 ms (1.50 to 2.10) at 700/s (intake 1.2, ")
    figures["rates"][0]["rounds"] = [rate(700, 1.6)]
    assert "MISSED" in cell_of(CPU, figures)


def test_a_rate_that_was_not_carried_gives_no_figure() -> None:
    """If 700/s was not sustained, the cell has the figure at the highest sustained rate, and says MISSED."""
    figures = {"highest_sustained_per_s": 300, "rates": [rate(300, 0.5), rate(700, 0.1, sustained=False)]}
    found = cell_of(CPU, figures)
    assert found.startswith("**1.00 ms at 300/s (")
    assert found.endswith(": MISSED (700/s was not carried)**")
    assert cell_of(CPU, {"highest_sustained_per_s": 0, "rates": []}).startswith("**no rate was carried: MISSED")


def test_the_usual_rate_is_accepted_at_the_first_try() -> None:
    accepts = {"accept_ms_p99": 3.9, "accept_ms_p50": 2.0, "first_try_percent": 100.0, "fdatasync_ms_p99": 1.2}
    figures = {"rates": [{"rate_per_s": 116.0, **accepts}]}
    what = "accept p99 at 116 triggers/s (10 million"
    assert cell_of(what, figures) == "3.9 ms (p50 2); a bare fdatasync meanwhile: p99 1.2 ms"
    figures["rates"][0]["rounds"] = [accepts, {**accepts, "first_try_percent": 99.8}]
    assert cell_of(what, figures).endswith("MISSED (99.80% at the first try)**")
    assert "not measured at 116/s: MISSED" in cell_of(what, {"rates": []})


# ---- the peak

PEAK = "the load is 1,157 triggers/s for 60 s: accept p99"
AFTER = "116 triggers/s right after"


@pytest.mark.parametrize("what", [PEAK, "the load is 1,157 triggers/s for 60 s: time", AFTER])
def test_a_lower_peak_does_not_reach_the_limits_of_the_peak(what: str) -> None:
    """The limits hold for 1,157/s. A run at a lower rate names its rate and counts as missed, whatever its figures."""
    assert "MISSED" not in cell_of(what, LOAD["peak"])
    lower = cell_of(what, {**LOAD["peak"], "rate_per_s": 300.0})
    assert " at 300/s, of which 1,150/s were delivered meanwhile: MISSED (not 1,157/s)**" in lower


def test_a_peak_is_judged_by_its_median_and_by_every_refusal() -> None:
    assert cell_of(PEAK, LOAD["peak"]).startswith("25 ms (20 to 90) at 1,157/s")
    assert "MISSED" in cell_of(PEAK, {**LOAD["peak"], "peak_p99_ms": results.spread([101.0])})
    refused = {**LOAD["peak"], "peak_first_try": results.spread([1.0, 0.9, 1.0])}
    assert "(90.00% at the first try)" in cell_of(PEAK, refused)
    assert "MISSED" not in cell_of(AFTER, refused)


def test_the_ratio_of_a_lower_step_is_no_ratio_of_the_step() -> None:
    what = "the load steps up from 116 triggers/s: accept p99 as shipped"
    assert (
        cell_of(what, {"p99_ratio": results.spread([1.0, 1.0]), "rate_per_s": 700.0}) == "1.00 (1.00 to 1.00) at 700/s"
    )
    assert "MISSED (not 700/s)" in cell_of(what, {"p99_ratio": results.spread([1.0]), "rate_per_s": 200.0})


# ---- tenants


@pytest.mark.parametrize("name", ["accept", "delivery"])
def test_a_flood_may_double_the_p99_of_another_tenant(name: str) -> None:
    what = f"tenant A has 1,000,000 notifications waiting in the same lanes: {name}"
    found = cell_of(what, LOAD["fair_tenants"])
    assert found == "1.50 (1.20 to 2.50): 12 → 18 ms, 999,500 queued, 820/s of A sent"
    worse = {**LOAD["fair_tenants"], f"{name}_p99_ratio": results.spread([2.1])}
    assert "MISSED" in cell_of(what, worse)
    assert "MISSED" in cell_of(what, {**LOAD["fair_tenants"], "left": results.spread([5, 0, 5])})


def test_a_dispatch_for_many_tenants_is_compared_round_by_round_with_redis() -> None:
    """The ratio of a round is (our CPU + Redis's CPU) of a thousand tenants ÷ the same of one tenant."""

    def subject(cpu: list[float], redis: list[float]) -> dict[str, Any]:
        return {"cpu_ms": results.spread(cpu), "redis_cpu_ms": results.spread(redis)}

    subjects = {"ours": subject([0.3, 0.6], [0.1, 0.2]), "tenants": subject([0.3, 0.6], [0.12, 0.24])}
    what = "a backlog of a thousand tenants"
    assert cell_of(what, {"subjects": subjects}) == "1.05 (1.05 to 1.05): 0.600 → 0.630 ms with Redis"
    subjects["tenants"] = subject([0.33, 0.66], [0.12, 0.24])
    assert "MISSED" in cell_of(what, {"subjects": subjects})
    assert "not measured: MISSED" in cell_of(what, {"subjects": {"ours": subjects["ours"]}})


# ---- soak

MEMORY = "2 h at 116 triggers/s: growth of the service's memory"


def soak(memory: list[float], name: str = "service_pss_mib") -> dict[str, Any]:
    return {"minutes": [{name: mib} for mib in memory]}


def test_a_soak_grows_by_no_more_than_it_varies() -> None:
    """The last third of the minutes is compared with the first third. The first minute warms up and does not count."""
    level = [500.0 + n % 3 for n in range(119)]
    assert cell_of(MEMORY, soak([0.0, *level])).startswith("0.00: 501 → 501 MiB, varying by 2 MiB, in 120 minutes")
    risen = [mib + (n > 60) * 3 for n, mib in enumerate(level)]
    assert cell_of(MEMORY, soak([0.0, *risen])) == ("**1.50: 501 → 504 MiB, varying by 2 MiB, in 120 minutes: MISSED**")


def test_a_few_disturbed_minutes_neither_hide_growth_nor_are_growth() -> None:
    level = [500.0 + n % 3 for n in range(119)]
    disturbed = [mib + (n in (7, 100)) * 300 for n, mib in enumerate(level)]
    assert cell_of(MEMORY, soak([0.0, *disturbed])).startswith("0.00: 501 → 501 MiB, varying by 2 MiB")
    risen = [mib + (n > 60) * 3 for n, mib in enumerate(disturbed)]
    assert "1.50: 501 → 504 MiB, varying by 2 MiB, in 120 minutes: MISSED" in cell_of(MEMORY, soak([0.0, *risen]))


def test_a_soak_that_refuses_is_a_miss() -> None:
    figures = {**soak([500.0] * 120), "first_try_percent": 99.8}
    assert cell_of(MEMORY, figures).endswith("in 120 minutes: MISSED (99.80% at the first try)**")


def test_a_short_soak_proves_nothing_about_two_hours() -> None:
    found = cell_of(MEMORY, soak([500.0] * 30, "actors_pss_mib"))
    assert found.endswith("varying by 0 MiB of the actors, in 30 minutes: MISSED (not 120 minutes)**")


# ---- of which machine


@pytest.mark.parametrize(
    ("at", "machine", "notes"),
    [
        ("2026-11-26T00:00:00+00:00", "Linux x86_64, AMD EPYC, 2 cores", ", first machine"),
        ("2026-11-29T00:00:00+00:00", "Linux x86_64, AMD EPYC, 2 cores", ", second machine"),
        ("2026-11-30T00:00:00+00:00", "Linux x86_64, Intel(R) Xeon(R) Processor, 2 cores", ""),
    ],
)
def test_a_processor_tells_the_second_machine_from_the_third(at: str, machine: str, notes: str) -> None:
    environment = {"at": at, "commit": "0123456789", "machine": machine}
    assert of({"benchmark": "elastic", "figures": {}, "environment": environment}) == f"0123456{notes}"


@pytest.mark.parametrize(
    ("at", "benchmark", "figures", "notes"),
    [
        ("2026-11-26T00:00:00+00:00", "accept_latency", {}, ", first machine, pools pinned"),
        ("2026-11-26T00:00:00+00:00", "elastic", {}, ", first machine"),
        ("2026-11-29T00:00:00+00:00", "accept_latency", {}, ""),
        ("2026-11-29T00:00:00+00:00", "end_to_end", {"pools": "at their smallest sizes"}, ", pools pinned"),
        ("2026-11-29T00:00:00+00:00", "end_to_end", {"pools": "as shipped"}, ""),
    ],
)
def test_a_row_says_which_machine_and_which_pools(at: str, benchmark: str, figures: Any, notes: str) -> None:
    document = {"benchmark": benchmark, "figures": figures, "environment": {"at": at, "commit": "0123456789"}}
    assert of(document) == f"0123456{notes}"
