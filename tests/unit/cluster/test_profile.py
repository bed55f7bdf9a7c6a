"""The costs that the capacity model uses: straight lines fitted to the measured points."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.profile import PARTS, fit, point, profile, sizes, sustained


def spread(value: float) -> dict[str, Any]:
    return {"median": value, "min": value, "max": value, "all": [value]}


def condition(rate: float, cores: float, vendors: str = "healthy", went_on: float = 1.0) -> dict[str, Any]:
    """Return a condition with 10 s of posting, in which each part kept `cores` busy during the 12.5 s for which CPU
    was counted.
    """
    return {
        "rate_per_s": rate,
        "vendors": vendors,
        "triggers": rate * 10,
        "sustained": spread(went_on),
        "metered_s": spread(12.5),
        **{f"cpu_ms_per_trigger_{part}": spread(cores * 12.5 * 1000 / (rate * 10)) for part in PARTS},
    }


def test_two_points_are_met_exactly() -> None:
    """A part uses 0.2 cores at 100 triggers a second and 0.6 cores at 500. The line through both points has 0.1 cores
    at rest plus 1 ms for each trigger.
    """
    line = fit([(500, 0.6), (100, 0.2)])
    assert (line.cores, line.ms, line.error_percent) == pytest.approx((0.1, 1.0, 0.0))


def test_three_points_are_met_as_well_as_a_line_can() -> None:
    """The fitted line has the least squares. The error of the line is its worst miss, in percent of the measured value:
    here 0.45 cores instead of 0.4, which is 12.5 %.
    """
    line = fit([(100, 0.3), (200, 0.4), (300, 0.65)])
    assert (line.cores, line.ms) == pytest.approx((0.1, 1.75))
    assert line.error_percent == 12.5


def test_no_cost_at_rest_is_below_nothing() -> None:
    """The best straight line through the measured points has a negative cost at rest.

    It is replaced by the best line among those with a cost of 0 at rest.
    """
    line = fit([(100, 0.1), (500, 1.0)])
    assert line.cores == 0.0
    assert line.ms == pytest.approx(1000 * (100 * 0.1 + 500 * 1.0) / (100**2 + 500**2), abs=1e-4)


@given(
    st.dictionaries(st.integers(10, 2000), st.floats(0.01, 2), min_size=2, max_size=5),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_no_other_line_is_nearer(points: dict[int, float], cores: float, ms: float) -> None:
    """`fit` returns the line with the smallest sum of squared errors. No other line with costs of at least zero has a
    smaller sum.
    """

    def squares(cores: float, ms: float) -> float:
        return sum((cores + ms * rate / 1000 - used) ** 2 for rate, used in points.items())

    line = fit(list(points.items()))
    assert line.cores >= 0
    assert line.ms >= 0
    rounding = 1e-3 * sum(abs(used) + 1 for used in points.values())
    assert squares(line.cores, line.ms) <= squares(cores, ms) + rounding


def test_a_point_is_over_the_time_for_which_cpu_was_counted() -> None:
    """1,000 triggers in the 12.5 s for which CPU was counted are 80/s, although they were posted at 100/s."""
    assert point(condition(100, 0.4), "intake") == pytest.approx((80.0, 0.4))


def test_only_what_could_have_gone_on_is_fitted() -> None:
    """The cost of a trigger is fitted only to rates that were sustained with healthy vendors.

    Runs with an overload, with hanging vendors or with vendors that an operator had opened do not show this cost.
    """
    found = [
        condition(100, 0.2),
        condition(200, 0.3),
        condition(500, 9.0, went_on=0.0),
        condition(100, 9.0, vendors="hanging"),
        condition(100, 9.0, vendors="held"),
    ]
    assert [c["rate_per_s"] for c in sustained(found)] == [100, 200]


def test_one_rate_is_no_line() -> None:
    with pytest.raises(click.ClickException, match="two rates that were sustained, and it has 100;"):
        sustained([condition(100, 0.2), condition(500, 0.9, went_on=0.0)])


def test_each_size_is_of_the_largest_number_it_was_measured_for() -> None:
    """Each size is taken from the largest number of notifications for which it was measured.

    Numbers are not compared as texts.
    """
    kinds = ("queued", "retained", "aof_written", "aof_kept_queued", "aof_kept_retained")
    found = sizes({"9": dict.fromkeys(kinds, 1.0), "10": dict.fromkeys(kinds, 2.0), "100": {"queued": 3.0}})
    assert found["queued_bytes_per_notification"] == 3.0
    assert found["aof_written_bytes_per_notification"] == 2.0


def test_the_parts_of_redis_add_up() -> None:
    """Redis's costs of one accept and of two deliveries, taken together, equal Redis's cost of a trigger in the line
    that was fitted to the whole service.
    """
    conditions = {"a": condition(100, 0.2), "b": condition(500, 0.6)}
    kinds = ("queued", "retained", "aof_written", "aof_kept_queued", "aof_kept_retained")
    environment = {"machine": "m", "python": "p", "commit": "c"}
    found = profile(
        {
            "accept_latency": {"figures": {"conditions": conditions}, "environment": environment},
            "growth": {
                "figures": {
                    "bytes": {"1": dict.fromkeys(kinds, 1.0)},
                    "backlog": {"1": {"accept_redis_cpu_ms": spread(0.3)}},
                },
                "environment": environment,
            },
        }
    )
    assert found["fitted_per_s"] == [100, 500]
    assert found["redis_cores_idle"] == pytest.approx(0.1, abs=1e-3)
    accepted, delivered = (
        found["redis_cpu_ms_per_trigger_accepted"],
        found["redis_cpu_ms_per_notification_delivered"],
    )
    assert accepted == 0.3
    assert accepted + 2 * delivered == pytest.approx(1.25, abs=1e-3)  # 0.4 cores for 320 more a second
    assert found["intake_cores_idle"] == pytest.approx(0.05, abs=1e-3)  # two replicas
    assert found["vendor_cores_idle"] == pytest.approx(0.025, abs=1e-3)  # four actors
