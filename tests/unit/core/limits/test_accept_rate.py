"""Checks a tenant's accept rate: over any stretch of time, no more triggers are granted than the burst and the
rate allow.
"""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.limits.accept_rate import AcceptRate, Quota, grant

RATES = st.builds(AcceptRate, st.floats(0.001, 2_000), st.integers(1, 500))
GAPS_MS = st.lists(st.sampled_from((0, 0, 0, 1, 7, 100, 1_000, 60_000)), min_size=1, max_size=200)
NOON_MS = 1_790_000_000_000


def granted_at(rate: AcceptRate, gaps_ms: list[int]) -> list[int]:
    """Return the times in ms at which triggers were granted, if triggers come after these gaps in ms."""
    paid_ms, now_ms, found = 0.0, NOON_MS, list[int]()
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        granted, paid_ms, _ = grant(rate, paid_ms, now_ms)
        if granted:
            found.append(now_ms)
    return found


def test_a_burst_after_a_pause_and_then_the_rate() -> None:
    rate = AcceptRate(2.0, 3)
    paid_ms, answers = 0.0, list[tuple[bool, Quota]]()
    for now_ms in (0, 0, 0, 0, 499, 500, 501):
        granted, paid_ms, quota = grant(rate, paid_ms, NOON_MS + now_ms)
        answers.append((granted, quota))
    assert answers == [
        (True, Quota(2, 0, 500)),
        (True, Quota(1, 0, 1_000)),
        (True, Quota(0, 500, 1_500)),
        (False, Quota(0, 500, 1_500)),
        (False, Quota(0, 1, 1_001)),
        (True, Quota(0, 500, 1_500)),
        (False, Quota(0, 499, 1_499)),
    ]


def test_a_clock_that_is_set_back_grants_nothing_and_locks_nobody_out() -> None:
    rate = AcceptRate(1.0, 5)
    _, paid_ms, _ = grant(rate, 0.0, NOON_MS)
    granted, paid_ms, quota = grant(rate, paid_ms, NOON_MS - 3_600_000)
    assert (granted, quota) == (False, Quota(0, 1_000, 5_000))
    assert grant(rate, paid_ms, NOON_MS - 3_600_000 + 1_000)[0]


def test_the_window_is_the_time_in_which_an_empty_bucket_fills() -> None:
    assert [AcceptRate(per_s, burst).window_s for per_s, burst in ((50, 50), (50, 51), (0.5, 1), (100, 1))] == [
        1,
        2,
        2,
        1,
    ]


@given(RATES, GAPS_MS)
def test_no_stretch_has_more_than_the_burst_and_the_rate_times_its_length(rate: AcceptRate, gaps_ms: list[int]) -> None:
    times = granted_at(rate, gaps_ms)
    for begin in range(len(times)):
        for end in range(begin, len(times)):
            most = rate.burst + rate.per_s * (times[end] - times[begin]) / 1000
            assert end - begin + 1 <= most + 0.1


@given(RATES, GAPS_MS)
def test_whoever_waits_as_told_is_granted(rate: AcceptRate, gaps_ms: list[int]) -> None:
    """A caller that waits for `next_ms` is granted, and a caller that comes over 2 ms earlier is not.

    After `full_ms` the whole burst is available again.
    """
    paid_ms, now_ms = 0.0, NOON_MS
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        granted, paid_ms, quota = grant(rate, paid_ms, now_ms)
        assert granted or quota.left == 0
        assert (quota.left == 0) == (quota.next_ms > 0)
        assert grant(rate, paid_ms, now_ms + quota.next_ms)[0]
        if quota.next_ms > 2:
            assert not grant(rate, paid_ms, now_ms + quota.next_ms - 2)[0]
        assert grant(rate, paid_ms, now_ms + quota.full_ms)[2].left == rate.burst - 1
        paid_ms = float(f"{paid_ms:.3f}")  # the store keeps three decimals


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_rate_that_is_kept_is_never_refused(per_s: int, burst: int) -> None:
    gap_ms = -(-1000 // per_s)
    times = granted_at(AcceptRate(per_s, burst), [0] + [gap_ms] * 300)
    assert len(times) == 301 and bisect_left(times, NOON_MS) == 0
