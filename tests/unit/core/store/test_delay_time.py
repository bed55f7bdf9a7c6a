"""Checks the rules of dispatcher/core/store/delay_time.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.store.delay_time import SLACK_MS, DelayTime

HOUR_MS = 3_600_000


def known(at_ms: int = 10_000, answered_s: float = 50.0) -> DelayTime:
    found = DelayTime()
    assert found.correction(at_ms, 0, answered_s, answered_s) is None
    return found


def test_a_step_back_is_told_with_what_the_time_must_be() -> None:
    """The store's clock goes back by an hour. `correction` then returns the time to which delay time must be raised:
    the least time that can be right, in ms.
    """
    assert known().correction(20_000 - HOUR_MS, 0, 60.0, 60.0) == 20_000


def test_it_is_told_until_it_is_mended() -> None:
    """The store's clock was set back, and nobody corrects it. `correction` returns the right time for each further
    reading.

    So a wrong reading is not used as the base for the next. When the store's clock is right again, the result is None.
    """
    d = known()
    assert d.correction(20_000 - HOUR_MS, 0, 60.0, 60.0) == 20_000
    assert d.correction(21_000 - HOUR_MS, 0, 61.0, 61.0) == 21_000
    assert d.correction(22_000, 0, 62.0, 62.0) is None


def test_a_drift_is_no_step() -> None:
    """A clock that loses a little with each reading is not a step back."""
    d, at_ms = known(), 10_000
    for n in range(1, 100):
        at_ms += 1000 - SLACK_MS
        assert d.correction(at_ms, 0, 50.0 + n, 50.0 + n) is None


def test_a_step_forward_is_the_new_expectation() -> None:
    """The store's clock steps forward. The step is believed, because it looks like a clock that was corrected.

    If the clock then returns to the old time, this counts as a step back.
    """
    d = known()
    assert d.correction(10_000 + HOUR_MS, 0, 51.0, 51.0) is None
    assert d.correction(12_000, 0, 52.0, 52.0) == 11_000 + HOUR_MS


def test_who_has_known_nothing_has_the_last_wait_that_was_dated() -> None:
    """A process has no reading of its own yet. It expects at least the time that the store noted when it last stored a
    wait.

    If the store has noted no time, the process believes the store's clock.
    """
    assert DelayTime().correction(HOUR_MS, 2 * HOUR_MS, 50.0, 50.0) == 2 * HOUR_MS
    assert DelayTime().correction(HOUR_MS, 0, 50.0, 50.0) is None


@given(st.lists(st.tuples(*[st.integers(0, 10_000)] * 4), min_size=1, max_size=20))
def test_slowness_is_never_a_step(readings: list[tuple[int, int, int, int]]) -> None:
    """`correction` returns None for a store's clock that is right, however long the question, the answer or the
    reader takes.
    """
    d, now_ms = DelayTime(), 1_000_000
    for pause, there, back, late in readings:
        asked_ms = now_ms + pause
        stamped_ms = asked_ms + there
        now_ms = stamped_ms + back + late
        assert d.correction(stamped_ms, 0, asked_ms / 1000, now_ms / 1000) is None
