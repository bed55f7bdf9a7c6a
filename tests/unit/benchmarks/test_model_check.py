"""The capacity model is compared with rates that it was not fitted to. The arithmetic can be followed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.model_check import as_markdown, error_percent, points

PROFILE: dict[str, Any] = {
    "intake_cores_idle": 0.02,
    "intake_cpu_ms_per_trigger": 1.0,
    "ingress_cores_idle": 0.0,
    "ingress_cpu_ms_per_trigger": 0.2,
    "vendor_cores_idle": 0.04,
    "dispatch_cpu_ms_per_notification": 0.5,
    "supervisor_cores_idle": 0.01,
    "supervisor_cpu_ms_per_trigger": 0.1,
    "ray_cores_idle": 0.1,
    "ray_cpu_ms_per_trigger": 0.0,
    "redis_cores_idle": 0.01,
    "redis_cpu_ms_per_trigger_accepted": 0.1,
    "redis_cpu_ms_per_notification_delivered": 0.1,
    "queued_bytes_per_notification": 500.0,
    "retained_bytes_per_notification": 400.0,
    "aof_written_bytes_per_notification": 1.0,
    "aof_kept_bytes_per_notification_queued": 1.0,
    "aof_kept_bytes_per_notification_retained": 1.0,
    "fitted_per_s": [50.0, 300.0],
}
USED = {"intake": 1.5, "haproxy": 0.2, "vendors": 2.5, "supervisor": 0.2, "ray": 1.0, "redis": 0.4, "client": 9.0}
SOAK = {"redis_bytes_per_trigger": 1000.0}


def row(rate: float, sustained: bool = True) -> dict[str, Any]:
    """Return a measured rate whose CPU was counted for ten seconds."""
    used = {"rate_per_s": rate, "triggers": rate * 10, "metered_s": 10.0, "cpu_ms_per_trigger": USED}
    return {**used, "sustained": sustained}


def test_the_model_is_compared_part_by_part() -> None:
    """The model's cores for each part are compared with the measured cores. The model's bytes are compared with those
    of the soak.

    In the example 100 triggers/s need 0.04 + 0.1 cores for intake, 0.02 for HAProxy, and 0.16 + 0.1 for the vendor
    actors. Redis needs 0.01 cores and 100 × 0.3 ms, and everything else needs 0.12 cores.
    """
    ours, redis, everything, memory = points(PROFILE, {"rates": [row(100.0)]}, SOAK)
    assert (ours["modelled"], ours["measured"], ours["error_percent"]) == (0.42, 0.42, pytest.approx(0.0))
    assert (redis["modelled"], redis["measured"], redis["error_percent"]) == (0.04, 0.04, pytest.approx(0.0))
    assert (everything["modelled"], everything["measured"]) == (0.58, 0.58)
    assert (memory["modelled"], memory["measured"], memory["error_percent"]) == (800.0, 1000.0, -20.0)


def test_a_rate_that_the_lines_were_fitted_to_is_no_check() -> None:
    """The model is checked only at sustained rates that differ enough from the rates to which its lines were fitted."""
    found = points(PROFILE, {"rates": [row(50.0), row(100.0), row(299.0), row(900.0, sustained=False)]}, SOAK)
    assert {point["where"] for point in found} == {"end_to_end, 100/s", "soak"}


def test_the_rate_is_of_the_time_for_which_cpu_was_counted() -> None:
    """CPU time was measured for 20 s, in which 1,000 triggers came. Modelled and measured cores are both computed for
    50/s.
    """
    slow = {**row(100.0), "metered_s": 20.0}
    ours, *_ = points(PROFILE, {"rates": [slow]}, SOAK)
    assert (ours["modelled"], ours["measured"]) == (0.31, 0.21)


def test_a_check_without_cpu_says_so() -> None:
    """If no measured rate can be compared with the model, the text says UNCHECKED.

    The comparison of memory alone would check only half of the model.
    """
    figures = {"fitted_per_s": [50.0], "fit_error_percent": {"intake": 0.0}, "intake_replicas": 2}
    assert "UNCHECKED" in as_markdown({**figures, "points": points(PROFILE, {"rates": [row(50.0)]}, SOAK)})
    assert "UNCHECKED" not in as_markdown({**figures, "points": points(PROFILE, {"rates": [row(99.0)]}, SOAK)})


def test_the_document_tells_the_worst_error_and_where_it_holds() -> None:
    figures = {
        "points": points(PROFILE, {"rates": [row(100.0)]}, SOAK),
        "fitted_per_s": [50.0, 300.0],
        "fit_error_percent": {"intake": 3.0, "redis": 12.5},
        "intake_replicas": 2,
    }
    text = as_markdown(figures)
    assert "| soak | Redis bytes a trigger | 800 | 1000 | -20 % |" in text
    assert "Largest error: -20 %, Redis bytes a trigger at soak." in text
    assert "miss these by up to 12.5 %" in text
    assert "from 25 to 150 triggers/s for each intake replica" in text


def test_the_profile_gets_the_largest_error_of_the_cpu_alone(tmp_path: Path) -> None:
    """The profile's error is the largest error of a CPU figure, which is 50 % in this example.

    The error of a memory figure (here -20 %) does not count. Without figures the profile's error is None.
    """
    assert error_percent(PROFILE, tmp_path) is None
    costly = {**row(100.0), "cpu_ms_per_trigger": {**USED, "redis": 0.8}}
    for name, figures in {"end_to_end": {"rates": [costly, row(200.0)]}, "soak": SOAK}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"figures": figures}))
    assert error_percent(PROFILE, tmp_path) == 50.0
