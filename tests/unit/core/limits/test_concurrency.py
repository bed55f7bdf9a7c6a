"""Checks the adaptive concurrency limit against vendors of known capacity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.limits.concurrency import AdaptiveLimit

FLOOR, CAP = 4, 64


class Load:
    """Keeps as many calls in flight as the limit allows, at most `demand`.

    `latency_s` returns the duration of a call for the number of calls in flight.
    """

    def __init__(self, latency_s: Callable[[int], float], demand: int = 1000) -> None:
        self.limit = AdaptiveLimit(FLOOR, CAP, 0.0)
        self.latency_s, self.demand, self.now_s = latency_s, demand, 0.0

    def run(self, seconds: float) -> int:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            in_flight = min(self.limit.value, self.demand)
            duration_s = self.latency_s(in_flight)
            self.now_s += duration_s
            for _ in range(in_flight):
                self.limit.answered(duration_s, in_flight, self.now_s)
        return self.limit.value


def carries(calls: int, base_s: float = 0.05) -> Callable[[int], float]:
    """Return a function that gives the latency of a vendor which works on `calls` calls at once and lets further
    calls wait.
    """
    return lambda in_flight: base_s * max(1.0, in_flight / calls)


def test_a_vendor_that_never_slows_down_is_never_held_back() -> None:
    """A vendor whose latency stays the same keeps the maximum limit, also if it gets few calls."""
    assert Load(carries(1000)).run(60) == CAP
    assert Load(carries(1000), demand=3).run(60) == CAP


def test_a_vendor_that_queues_is_given_what_it_carries() -> None:
    """If a vendor carries only 12 calls at once, the limit goes to 12 to 24 within seconds and stays there for an
    hour.
    """
    load = Load(carries(1000))
    load.run(10)
    load.latency_s = carries(12)
    assert 12 <= load.run(8) <= 24
    assert 12 <= load.run(3600) <= 24


def test_the_limit_comes_back_with_the_capacity() -> None:
    """A vendor becomes slow, and the limit falls. When the vendor is fast again, the limit is at its maximum within a
    minute.
    """
    load = Load(carries(1000))
    load.run(10)
    load.latency_s = carries(10)
    assert load.run(5) < 24
    load.latency_s = carries(1000)
    assert load.run(60) == CAP


def test_slowness_that_has_nothing_to_do_with_us_becomes_the_usual() -> None:
    """If calls become three times slower for good, whatever the load is, the limit falls for a short time and is
    at its maximum again within a minute.
    """
    load = Load(lambda in_flight: 0.05)
    load.run(10)
    load.latency_s = lambda in_flight: 0.15
    assert load.run(1) < CAP
    assert load.run(60) == CAP


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    """After the concurrency limit was lowered, few calls are in flight. The limit then grows to at most about twice
    their number, because nobody knows whether the vendor can do more.
    """
    load = Load(carries(1000), demand=5)
    for n in range(20):
        load.limit.throttled(float(n))
    assert load.run(60) <= 2 * 5 + 1


def test_a_throttle_cuts_at_once_and_once() -> None:
    """Throttled answers to many calls at the same time cut the limit once.

    A throttled answer a second later cuts it again.
    """
    limit = AdaptiveLimit(FLOOR, CAP, 0.0)
    for _ in range(64):
        limit.throttled(10.0)
    assert limit.value == int(CAP * 0.7)
    limit.throttled(11.0)
    assert limit.value == int(CAP * 0.7 * 0.7)


def test_calls_without_an_answer_cut_a_little() -> None:
    """Some calls get no answer. They cut the limit by a tenth, and only once if they end at about the same time."""
    limit = AdaptiveLimit(FLOOR, CAP, 0.0)
    limit.unanswered(1.0)
    limit.unanswered(1.1)
    assert limit.value == int(CAP * 0.9)


@pytest.mark.parametrize("fixed", [1, 7])
def test_a_floor_that_is_the_cap_is_a_fixed_limit(fixed: int) -> None:
    """An equal floor and cap switch the adaptive limit off."""
    limit = AdaptiveLimit(fixed, fixed, 0.0)
    for n in range(100):
        limit.answered(n * 0.1, fixed, n * 0.1)
        limit.throttled(n * 0.1)
    assert limit.value == fixed


EVENTS = st.lists(
    st.tuples(st.sampled_from(["answered", "throttled", "unanswered"]), st.floats(0, 100), st.integers(1, 500)),
    max_size=200,
)


@given(EVENTS)
def test_the_limit_stays_between_floor_and_cap(events: list[tuple[str, float, int]]) -> None:
    """The limit stays between its floor and its cap for any sequence of answers, also if the clock stands still."""
    limit, now_s = AdaptiveLimit(FLOOR, CAP, 0.0), 0.0
    for what, duration_s, in_flight in events:
        now_s += duration_s / 10
        if what == "answered":
            limit.answered(duration_s, in_flight, now_s)
        else:
            getattr(limit, what)(now_s)
        assert FLOOR <= limit.value <= CAP
