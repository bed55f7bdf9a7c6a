"""The capacity model against loads it was not fitted on: arithmetic that can be followed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.model_check import points
from benchmarks.profile import cpu_line
from cluster.capacity import Profile

PROFILE = Profile(
    intake_cores_idle=0.02,
    intake_cpu_ms_per_trigger=1.0,
    ingress_cores_idle=0.0,
    ingress_cpu_ms_per_trigger=0.2,
    vendor_cores_idle=0.04,
    dispatch_cpu_ms_per_notification=0.5,
    redis_cores_idle=0.01,
    redis_cpu_ms_per_trigger_accepted=0.1,
    redis_cpu_ms_per_notification_delivered=0.1,
    queued_bytes_per_notification=500.0,
    retained_bytes_per_notification=400.0,
    aof_written_bytes_per_notification=1.0,
    aof_kept_bytes_per_notification_queued=1.0,
    aof_kept_bytes_per_notification_retained=1.0,
)


def condition(rate: float, ms: float) -> dict[str, Any]:
    return {"rate_per_s": rate, "cpu_ms_per_trigger_intake": {"median": ms}}


def test_the_line_goes_through_the_least_and_the_greatest_rate() -> None:
    """0.2 cores at 100/s and 0.6 at 500/s: 0.1 at rest, and 1 ms a trigger."""
    assert cpu_line([condition(500, 1.2), condition(200, 9.0), condition(100, 2.0)], "intake") == (0.1, 1.0)


def test_one_rate_gives_no_idle_cost() -> None:
    assert cpu_line([condition(100, 2.0)], "intake") == (0.0, 2.0)


def test_no_cost_at_rest_is_below_nothing() -> None:
    assert cpu_line([condition(100, 1.0), condition(500, 2.0)], "intake") == (0.0, 2.25)


def test_the_model_is_compared_at_every_rate_that_was_sustained() -> None:
    """At 100/s: 0.04 + 0.1 intake, 0.02 HAProxy, 0.16 + 0.1 vendors; Redis 0.01 + 100 × 0.3 ms."""
    used = {"intake": 1.5, "haproxy": 0.2, "vendors": 2.5, "redis": 0.4, "client": 9.0}
    rates = [
        {"rate_per_s": 100.0, "sustained": True, "cpu_ms_per_trigger": used},
        {"rate_per_s": 900.0, "sustained": False, "cpu_ms_per_trigger": used},
    ]
    ours, redis, memory = points(PROFILE, {"rates": rates}, {"redis_bytes_per_trigger": 1000.0})
    assert (ours["modelled"], ours["measured"], ours["error_percent"]) == (0.42, 0.42, pytest.approx(0.0))
    assert (redis["modelled"], redis["measured"], redis["error_percent"]) == (0.04, 0.04, pytest.approx(0.0))
    assert (memory["modelled"], memory["measured"], memory["error_percent"]) == (800.0, 1000.0, -20.0)
