"""Checks the waits of an open breaker: their length, the waits that a vendor asks for (hints), and what shortens a
wait.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.breaker.config import BreakerConfig, BreakerState
from dispatcher.core.breaker.values import IllegalTransitionError, Refused
from tests.unit.core.breaker.scene import FAIL, MS, OK, SECOND, S, Scene

# ---- waits


def openings(scene: Scene, count: int) -> list[float]:
    """Open the breaker `count` times in a row by failed probes. Return each wait in milliseconds."""
    scene.open()
    waits = [scene.wait_ms()]
    while len(waits) < count:
        scene.pass_ms(scene.wait_ms())
        scene.call(FAIL, FAIL)
        waits.append(scene.wait_ms())
    return waits


def test_each_further_opening_waits_longer_up_to_the_longest() -> None:
    """Each time the breaker opens again, its wait is twice as long, up to the maximum. After a recovery the wait is the
    shortest again.
    """
    scene = Scene()
    assert openings(scene, 9) == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
    scene.pass_ms(scene.wait_ms())
    scene.call(OK, OK)
    scene.open()
    assert scene.wait_ms() == 1000


def test_the_jitter_shortens_by_chance_and_never_lengthens() -> None:
    """A wait is multiplied by 1 - jitter × chance.

    The chance is drawn for each opening, so that replicas do not probe at the same time.
    """
    scene = Scene(chance=[0.0, 1.0, 0.5, 0.25], open_wait_jitter=0.5)
    assert openings(scene, 4) == [1000, 1000, 3000, 7000]


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(1, 10))
def test_a_wait_lies_between_its_jittered_and_its_full_length(
    attempts: int, chance: float, jitter: float, multiplier: float
) -> None:
    """A wait has at least one millisecond and at most the maximum.

    Without jitter it is never shorter than the wait before it.
    """
    config = BreakerConfig(open_wait_jitter=jitter, open_wait_multiplier=multiplier)
    full = config.open_wait_ns(attempts, 0.0)
    assert MS <= full <= config.open_wait_ms_max * MS
    assert full * (1 - jitter) - 1 <= config.open_wait_ns(attempts, chance) <= full
    assert config.open_wait_ns(attempts + 1, 0.0) >= full


@pytest.mark.parametrize("attempts", [1024, 10_000, 10**9])
@pytest.mark.parametrize("multiplier", [1.0, 1.0001, 2.0, 1e10, 1e308])
def test_no_number_of_attempts_overflows(attempts: int, multiplier: float) -> None:
    """For a huge number of attempts the wait is the maximum, or the first wait if the multiplier is about 1.

    A power of two as a float would overflow at 1,024.
    """
    config = BreakerConfig(open_wait_multiplier=multiplier)
    assert config.open_wait_ns(attempts, 0.0) == (5_000 if multiplier < 2 else 300_000) * MS
    assert MS <= config.open_wait_ns(attempts, 0.999) <= 300_000 * MS


@pytest.mark.parametrize("count", [1024, 10_000])
def test_a_vendor_that_never_comes_back_is_probed_for_ever(count: int) -> None:
    """A vendor never comes back. After thousands of openings the breaker still waits for the maximum, made longer or
    shorter at random.

    When a probe then succeeds, the breaker closes.
    """
    scene = Scene(chance=itertools.repeat(0.5), open_wait_jitter=0.5, half_open_calls=1, min_calls=1)
    scene.call(FAIL)
    for _ in range(count - 1):
        scene.pass_ms(scene.wait_ms())
        scene.call(FAIL)
    assert (scene.read().attempts, scene.wait_ms()) == (count, 45_000)
    scene.pass_ms(45_000)
    scene.call(OK)
    assert scene.breaker.state is S.CLOSED


def test_the_end_of_a_wait_needs_no_call() -> None:
    """With `auto_half_open` the timer ends a wait and makes the breaker half open.

    Without it the first call after the wait does so.
    """
    scene = Scene()
    scene.open()
    assert scene.breaker.next_deadline_ns() == scene.now_ns + SECOND
    scene.pass_ms(1000)
    assert scene.breaker.state is S.HALF_OPEN
    lazy = Scene(auto_half_open=False)
    lazy.open()
    assert lazy.breaker.next_deadline_ns() is None
    lazy.pass_ms(1000)
    assert lazy.refused() == Refused(S.OPEN, 0)
    lazy.pass_ms(0.001)
    lazy.permit()
    assert lazy.breaker.state is S.HALF_OPEN


def test_timers_that_fall_due_during_a_stall_fire_as_of_their_time() -> None:
    """If the breaker is told the time late, its timers count from when they were due.

    For example, a breaker is told nothing until 1,600 ms. At 1,500 ms it had to open for 2,000 ms, so 1,900 ms are
    left.
    """
    scene = Scene(half_open_max_wait_ms=500, idle_half_open_stays=False)
    scene.open()
    scene.pass_ms(1600)
    assert (scene.breaker.state, scene.wait_ms()) == (S.OPEN, 1900)


def test_a_refusal_says_how_long_it_will_last() -> None:
    """A refusal names the rest of the wait, or 0 in a state that only an operator ends."""
    scene = Scene()
    scene.open()
    scene.pass_ms(400)
    assert scene.refused() == Refused(S.OPEN, 600 * MS)
    scene.breaker.force(S.FORCED_OPEN, scene.now_ns)
    assert scene.refused() == Refused(S.FORCED_OPEN, 0)


# ---- hints


@pytest.mark.parametrize("begin", ["closed", "half_open"])
def test_a_hint_opens_for_as_long_as_it_says(begin: str) -> None:
    """A vendor asks for a wait. A closed or half-open breaker opens for exactly that time, without a random part.

    This does not count as an opening.
    """
    scene = Scene(chance=itertools.repeat(1.0), open_wait_jitter=1.0)
    if begin == "half_open":
        scene.half_open()
    attempts = scene.read().attempts
    scene.breaker.open_for(7 * SECOND, scene.now_ns)
    assert (scene.breaker.state, scene.wait_ms(), scene.read().attempts) == (S.OPEN, 7000, attempts)
    scene.pass_ms(6999)
    scene.refused()
    scene.pass_ms(1)
    assert scene.breaker.state is S.HALF_OPEN


def test_a_hint_is_capped_by_the_longest_wait() -> None:
    """If a vendor asks for a wait of a year, the breaker opens for the maximum wait only."""
    scene = Scene()
    scene.breaker.open_for(31_536_000 * SECOND, scene.now_ns)
    assert scene.wait_ms() == 60_000


def test_failed_probes_after_a_hint_wait_as_if_it_had_been_none() -> None:
    """The breaker opens because the vendor asked for a wait, and then its probes fail. The next wait is as long as if
    the vendor had not asked.

    Only openings by failures make later waits longer.
    """
    scene = Scene()
    scene.breaker.open_for(5 * SECOND, scene.now_ns)
    scene.pass_ms(5000)
    scene.call(FAIL, FAIL)
    assert (scene.read().attempts, scene.wait_ms()) == (1, 1000)


@pytest.mark.parametrize("state", [S.OPEN, S.FORCED_OPEN, S.DISABLED, S.METRICS_ONLY])
def test_a_hint_does_not_move_any_other_state(state: BreakerState) -> None:
    """If a vendor asks for a wait, nothing changes in a breaker that is open already or whose state an operator
    has set.
    """
    scene = Scene()
    scene.open() if state is S.OPEN else scene.breaker.force(state, scene.now_ns)
    scene.breaker.drain_events()
    before = scene.read()
    scene.breaker.open_for(30 * SECOND, scene.now_ns)
    assert scene.read() == before
    assert scene.breaker.drain_events() == []


def test_an_operator_cannot_open_what_only_measures() -> None:
    """Opening a breaker in the state metrics-only raises IllegalTransitionError and changes nothing."""
    scene = Scene()
    scene.breaker.force(S.METRICS_ONLY, scene.now_ns)
    before = scene.read()
    with pytest.raises(IllegalTransitionError):
        scene.breaker.force_open_for(SECOND, scene.now_ns)
    with pytest.raises(IllegalTransitionError):
        scene.breaker.force(S.OPEN, scene.now_ns)
    assert scene.read() == before


def test_an_open_wait_is_hastened_and_never_lengthened() -> None:
    """`hasten` shortens an open wait to the given time and never lengthens it."""
    scene = Scene(open_wait_jitter=0.0, open_wait_ms=60_000)
    scene.breaker.trip(scene.now_ns, "test")
    scene.breaker.hasten(20 * SECOND, scene.now_ns)
    assert scene.wait_ms() == 20_000
    scene.pass_ms(17_000)
    scene.breaker.hasten(20 * SECOND, scene.now_ns)
    assert scene.wait_ms() == 3_000
    scene.pass_ms(3_000)
    assert scene.breaker.state is S.HALF_OPEN


def test_a_wait_that_the_vendor_asked_for_is_not_hastened() -> None:
    """`hasten` does not shorten a wait that the vendor asked for, but it shortens a later wait of our own."""
    scene = Scene(open_wait_jitter=0.0, open_wait_ms=60_000)
    scene.breaker.open_for(60 * SECOND, scene.now_ns)
    scene.breaker.hasten(SECOND, scene.now_ns)
    assert scene.wait_ms() == 60_000
    scene.breaker.reset(scene.now_ns)
    scene.breaker.force_open_for(60 * SECOND, scene.now_ns, "account refused")
    scene.breaker.hasten(SECOND, scene.now_ns)
    assert scene.wait_ms() == 1_000


@pytest.mark.parametrize("state", [S.CLOSED, S.FORCED_OPEN, S.METRICS_ONLY, S.DISABLED])
def test_only_an_open_breaker_is_hastened(state: BreakerState) -> None:
    """`hasten` changes nothing in a breaker that is closed or whose state an operator has set."""
    scene = Scene()
    scene.breaker.force(state, scene.now_ns)
    generation = scene.breaker.generation
    scene.breaker.hasten(1, scene.now_ns)
    scene.pass_ms(60_000)
    assert (scene.breaker.state, scene.breaker.generation) == (state, generation)
