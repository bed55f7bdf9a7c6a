"""Checks the token bucket: it never grants more than the contract's rate, and saves up no more than one burst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.limits.token_bucket import Throughput, TokenBucket


def test_without_a_rate_there_is_no_limit() -> None:
    """Without a rate the number of permits is None, which means no limit, and there is nothing to wait for."""
    bucket = TokenBucket(None, 0.0)
    bucket.spend(1_000_000)
    assert (bucket.available(0.0), bucket.wait_s()) == (None, 0.0)


@pytest.mark.parametrize(
    ("rate_per_s", "after_s", "expected"),
    [(10.0, 0.0, 0), (10.0, 0.1, 1), (100.0, 0.1, 10), (100.0, 3600.0, 10), (0.5, 2.0, 1), (0.5, 60.0, 1)],
)
def test_permits_come_with_time_up_to_the_burst(rate_per_s: float, after_s: float, expected: int) -> None:
    """Permits grow with time up to one burst, which is the rate of a tenth of a second, but at least one permit."""
    assert TokenBucket(rate_per_s, 0.0).available(after_s) == expected


def test_what_was_overspent_is_paid_back() -> None:
    """If more permits are spent than were available, later permits come correspondingly later."""
    bucket = TokenBucket(10.0, 0.0)
    assert bucket.available(0.1) == 1
    bucket.spend(3)
    assert bucket.available(0.25) == 0
    assert bucket.wait_s() == pytest.approx(0.15)
    assert bucket.available(0.41) == 1


def test_a_new_share_counts_from_now() -> None:
    """The rate of a bucket changes. The new rate counts from that moment, and gives no permits for the time before."""
    bucket = TokenBucket(1.0, 0.0)
    bucket.set_rate(100.0, 0.5)
    assert bucket.available(0.5) == 0
    assert bucket.available(0.6) == 10
    bucket.set_rate(None, 1.0)
    assert bucket.available(1.0) is None
    bucket.set_rate(10.0, 100.0)
    assert bucket.available(100.0) is not None
    assert (bucket.available(100.0) or 0) <= 10


@given(
    st.floats(0.1, 5000.0),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 100)), max_size=50),
)
def test_no_window_sees_more_than_rate_and_burst(rate_per_s: float, steps: list[tuple[float, int]]) -> None:
    """Whatever was asked for, the permits granted are at most the rate times the time and one burst."""
    bucket, now_s, granted = TokenBucket(rate_per_s, 0.0), 0.0, 0
    for gap_s, wish in steps:
        now_s += gap_s
        permits = min(wish, max(0, bucket.available(now_s) or 0))
        bucket.spend(permits)
        granted += permits
        assert granted <= rate_per_s * now_s + max(1.0, rate_per_s * 0.1) + 1e-6


def test_throughput_is_what_was_done_of_late() -> None:
    """`Throughput` gives the recent calls a second and their mean latency in seconds.

    Without calls the rate falls and the latency stays.
    """
    throughput = Throughput(0.0)
    for second in range(1, 9):
        for _ in range(50):
            throughput.note(0.2)
        throughput.read(float(second))
    assert throughput.read(8.0) == (pytest.approx(50.0, rel=0.01), pytest.approx(0.2))
    assert throughput.read(10.0) == (pytest.approx(12.5, rel=0.01), pytest.approx(0.2))
