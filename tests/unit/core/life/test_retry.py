"""Checks the waits before another try: their length, their growth, and that no number of attempts overflows."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.core.life.retry import RetryPolicy, backoff_s, refused_wait_s, within_life_ms

POLICY = RetryPolicy(attempts_max=8, base_s=1.0, cap_s=300.0, hold_s=3600.0, refused_waits_s=(60.0, 600.0))

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(-5, 20_000), chances, st.one_of(st.none(), st.floats(0, 1e9)))
@example(1024, 0.999, None)
@example(10_000, 0.999, None)
def test_waits_are_bounded(attempt: int, chance: float, retry_after_s: float | None) -> None:
    """A wait is a random part of the backoff and at most the cap. If the vendor asked for a wait, it is at least that,
    up to the cap.

    Even attempt 10,000 does not overflow.
    """
    wait_s = backoff_s(attempt, POLICY, chance, retry_after_s)
    assert 0 <= wait_s <= POLICY.cap_s
    if retry_after_s is not None:
        assert wait_s >= min(retry_after_s, POLICY.cap_s)


@pytest.mark.parametrize(("attempt", "most_s"), [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0)])
def test_waits_double_up_to_the_cap(attempt: int, most_s: float) -> None:
    """The longest possible wait doubles with each attempt up to the cap, and the shortest is 0."""
    assert backoff_s(attempt, POLICY, 0.999999) == pytest.approx(most_s, rel=1e-3)
    assert backoff_s(attempt, POLICY, 0.0) == 0.0


@pytest.mark.parametrize(("times", "least_s"), [(0, 60.0), (1, 600.0), (2, 600.0), (10_000, 600.0)])
def test_the_waits_after_all_refused_are_those_configured_and_the_last_repeats(times: int, least_s: float) -> None:
    """After all vendors refused, the configured waits are used in order and the last one repeats.

    A wait is up to a fifth longer, never shorter.
    """
    assert refused_wait_s(times, POLICY, 0.0) == least_s
    assert least_s < refused_wait_s(times, POLICY, 0.999999) == pytest.approx(1.2 * least_s, rel=1e-3)


@pytest.mark.parametrize(
    ("wait_ms", "left_ms", "expected"),
    [
        pytest.param(5_000, 60_000, 5_000, id="it fits"),
        pytest.param(60_000, 10_000, 9_000, id="it is shortened, so that a try fits"),
        pytest.param(60_000, 60_000, 54_000, id="a wait as long as the rest is shortened"),
        pytest.param(5_000, 1_999, None, id="too little is left"),
        pytest.param(1_000, 1_999, 1_000, id="a short wait fits into little"),
    ],
)
def test_a_wait_leaves_time_for_one_more_try(wait_ms: int, left_ms: int, expected: int | None) -> None:
    """A wait is shortened so that one more try fits into the time to live.

    If too little time is left, the result is None.
    """
    assert within_life_ms(wait_ms, left_ms) == expected
