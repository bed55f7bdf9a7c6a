"""Checks what is computed from accept latencies: the next rate of a bisection, the highest rate whose p99 is within the
bound, and the decoupling.

The decoupling is the p99 with hanging vendors divided by the p99 with healthy ones.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accept_latency import NEAR, TRIGGERS_MAX, Condition, between, decoupling, highest_within


@pytest.mark.parametrize(
    ("p99_ms", "expected"),
    [
        pytest.param({100: 5, 400: 20}, 200, id="the middle of two"),
        pytest.param({100: 5, 200: 9, 400: 20}, 283, id="the upper half"),
        pytest.param({100: 5, 200: 11, 400: 20}, 141, id="the lower half"),
        pytest.param({100: 12, 200: 9, 400: 20}, 283, id="a bad minute at a low rate does not end it"),
        pytest.param({100: 5, 110: 20}, None, id="near enough"),
        pytest.param({100: 5, 400: 9}, None, id="all within"),
        pytest.param({100: 50, 400: 90}, None, id="none within"),
    ],
)
def test_the_next_rate_lies_between_good_and_bad(p99_ms: dict[float, float], expected: float | None) -> None:
    assert between(p99_ms, 10.0) == expected


def test_the_bisection_closes_in() -> None:
    """The search for the highest good rate ends after at most four steps.

    The true highest rate is at least the rate that was found, and at most `NEAR` times that rate.
    """
    p99_ms, steps = {116.0: 5.0, 500.0: 50.0}, 0
    while (rate := between(p99_ms, 10.0)) is not None:
        p99_ms[rate], steps = (5.0 if rate <= 333 else 50.0), steps + 1
    low = max(rate for rate, p99 in p99_ms.items() if p99 <= 10)
    assert low <= 333 <= low * NEAR
    assert steps <= 4


def conditions(**p99_ms: float) -> dict[str, Any]:
    """Build the results of several conditions.

    `healthy_100=5` means healthy vendors, 100/s and an accept p99 of 5 ms.
    """
    found = {}
    for name, ms in p99_ms.items():
        state, _, rate = name.partition("_")
        found[name] = {"rate_per_s": float(rate), "vendors": state, "accept_ms_p99": {"median": ms}}
    return found


def test_a_ratio_needs_both_sides() -> None:
    assert decoupling(conditions(healthy_100=5, hanging_100=6, healthy_250=7)) == {"100/s": 1.2}


def test_the_highest_is_told_for_each_state() -> None:
    found = conditions(healthy_100=5, healthy_250=9, healthy_500=30, hanging_100=11)
    assert highest_within(found, 10.0) == {"healthy": 250.0, "hanging": 0.0}


def test_a_round_is_bounded_in_triggers() -> None:
    """A round posts at most `TRIGGERS_MAX` triggers. The backlog of a longer overload would take minutes to drain."""
    assert Condition(116, "healthy", 20).count == 2320
    assert Condition(1157, "healthy", 20).count == TRIGGERS_MAX
