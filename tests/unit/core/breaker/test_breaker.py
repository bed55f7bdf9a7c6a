"""The breaker adds generations, leases, jittered waits, hints and failures in a row to the recorded one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.breaker.breaker import (
    Breaker,
    BreakerConfig,
    BreakerMetrics,
    BreakerResult,
    BreakerState,
    EventKind,
    IllegalTransitionError,
    Permit,
    Refused,
)

S = BreakerState
OK, FAIL = BreakerResult.SUCCESS, BreakerResult.FAILURE
MS, SECOND = 1_000_000, 1_000_000_000
PLAIN = {
    "window_type": "COUNT",
    "window_size": 4,
    "min_calls": 4,
    "open_wait_ms": 1000,
    "open_wait_multiplier": 2.0,
    "open_wait_ms_max": 60_000,
    "open_wait_jitter": 0.0,
    "half_open_calls": 2,
    "half_open_max_wait_ms": 0,
    "consecutive_failures": 0,
    "probe_lease_ms": 0,
    "probe_grants": 0,
    "stall_detection": False,
    "early_verdict": False,
    "few_probes_decide": False,
    "attempts_decay_ms": 0,
    "ramp": (),
}


class Scene:
    """A breaker and its time; `chance` gives one value for each opening."""

    def __init__(self, chance: Iterable[float] = (), **changes: object) -> None:
        values = itertools.chain(chance, itertools.repeat(0.0))
        self.now_ns = 1000 * SECOND
        self.breaker = Breaker(BreakerConfig(**{**PLAIN, **changes}), self.now_ns, lambda: next(values))  # type: ignore[arg-type]

    def pass_ms(self, ms: float) -> None:
        self.now_ns += int(ms * MS)
        self.breaker.tick(self.now_ns)

    def permit(self) -> Permit:
        permit = self.breaker.acquire(self.now_ns)
        assert isinstance(permit, Permit), permit
        return permit

    def refused(self) -> Refused:
        refused = self.breaker.acquire(self.now_ns)
        assert isinstance(refused, Refused), refused
        return refused

    def record(self, permit: Permit, result: BreakerResult) -> None:
        self.breaker.record(permit, result, MS, self.now_ns)

    def call(self, *results: BreakerResult) -> None:
        for result in results:
            self.record(self.permit(), result)

    def open(self) -> None:
        self.call(*[FAIL] * 4)
        assert self.breaker.state is S.OPEN

    def half_open(self) -> None:
        self.open()
        self.pass_ms(self.wait_ms())
        assert self.breaker.state is S.HALF_OPEN

    def wait_ms(self) -> float:
        return self.breaker.retry_after_ns(self.now_ns) / MS

    def read(self) -> BreakerMetrics:
        return self.breaker.metrics(self.now_ns)


# ---- generations


def test_every_new_state_is_one_generation_on() -> None:
    """Each transition, also to the same state, and each reset; a permit carries the one that granted it."""
    scene = Scene()
    generations = [scene.permit().generation]
    for step in (
        scene.open,
        lambda: scene.pass_ms(1000),
        lambda: scene.call(OK, OK),
        lambda: scene.breaker.reset(scene.now_ns),
        lambda: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
        lambda: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
    ):
        step()
        generations.append(scene.read().generation)
    assert generations == list(range(generations[0], generations[0] + 7))


ELSEWHERE = {
    "open": lambda scene: scene.open(),
    "half open": lambda scene: scene.half_open(),
    "closed again": lambda scene: (scene.half_open(), scene.call(OK, OK)),
    "reset": lambda scene: scene.breaker.reset(scene.now_ns),
    "forced open": lambda scene: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
    "disabled": lambda scene: scene.breaker.force(S.DISABLED, scene.now_ns),
    "metrics only": lambda scene: scene.breaker.force(S.METRICS_ONLY, scene.now_ns),
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("result", [*BreakerResult, None], ids=lambda result: result.value if result else "release")
def test_a_late_result_never_counts(name: str, result: BreakerResult | None) -> None:
    """Granted by an earlier generation: no count, no permit given back, no transition, no event."""
    scene = Scene()
    late = [scene.permit() for _ in range(5)]
    ELSEWHERE[name](scene)
    scene.breaker.drain_events()
    before = scene.read()
    for permit in late:
        if result is None:
            scene.breaker.release(permit)
        else:
            scene.record(permit, result)
    assert scene.read() == before
    assert scene.breaker.drain_events() == []


def test_a_late_success_does_not_close_a_half_open_breaker() -> None:
    """Calls that began before the outage and end well tell nothing about now; the probes alone decide."""
    scene = Scene()
    late = [scene.permit() for _ in range(4)]
    scene.half_open()
    for permit in late:
        scene.record(permit, OK)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.OPEN


def test_a_late_probe_does_not_count_in_the_next_half_open() -> None:
    """Same state, another generation: the probe of the first round is nothing in the second."""
    scene = Scene(half_open_max_wait_ms=500)
    scene.half_open()
    probe = scene.permit()
    scene.pass_ms(500)
    assert scene.breaker.state is S.OPEN
    scene.pass_ms(scene.wait_ms())
    assert scene.breaker.state is S.HALF_OPEN
    scene.record(probe, OK)
    scene.breaker.release(probe)
    assert scene.read().buffered == 0
    assert [type(scene.breaker.acquire(scene.now_ns)) for _ in range(3)] == [Permit, Permit, Refused]


def test_a_hanging_call_of_an_earlier_generation_does_not_open_this_one() -> None:
    """It hangs still, but whom an operator's reset has forgiven is not judged by what was sent before."""
    scene = Scene(stall_detection=True, slow_ns=100 * MS)
    old = [scene.permit() for _ in range(4)]
    scene.breaker.reset(scene.now_ns)
    scene.pass_ms(200)
    assert scene.breaker.state is S.CLOSED
    assert not any(permit.ended for permit in old)


def test_a_second_report_for_a_permit_changes_nothing() -> None:
    """Recorded, then recorded and released again: one result, one permit."""
    scene = Scene()
    scene.half_open()
    probe = scene.permit()
    scene.record(probe, OK)
    scene.record(probe, FAIL)
    scene.breaker.release(probe)
    assert (scene.read().buffered, scene.read().failed) == (1, 0)
    scene.permit()
    scene.refused()


# ---- half-open permits and their leases


@pytest.mark.parametrize("result", [BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL, None])
def test_a_probe_that_says_nothing_gives_its_permit_back(result: BreakerResult | None) -> None:
    """Not sent, throttled or the request's own fault: another probe may go instead."""
    scene = Scene()
    scene.half_open()
    for _ in range(5):
        probe = scene.permit()
        if result is None:
            scene.breaker.release(probe)
        else:
            scene.record(probe, result)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    scene.permit()
    scene.permit()
    scene.refused()


def test_a_lost_probe_counts_as_failed_when_its_lease_ends() -> None:
    """Not a moment sooner; with the second lost as well the verdict falls, without anybody calling."""
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.pass_ms(100)
    scene.permit()
    assert scene.breaker.next_deadline_ns() == scene.now_ns + 200 * MS
    scene.pass_ms(199)
    assert scene.read().buffered == 0
    scene.pass_ms(1)
    assert (scene.breaker.state, scene.read().failed) == (S.HALF_OPEN, 1)
    scene.pass_ms(100)
    assert scene.breaker.state is S.OPEN


def test_a_probe_that_reports_after_its_lease_is_late() -> None:
    """It has been counted as failed; its success does not turn that round."""
    scene = Scene(probe_lease_ms=300, failure_rate=100.0)
    scene.half_open()
    probe = scene.permit()
    scene.pass_ms(300)
    scene.record(probe, OK)
    assert (scene.read().buffered, scene.read().failed) == (1, 1)


def test_a_probe_in_time_has_no_lease_left() -> None:
    """Its end passes without a trace."""
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.call(OK)
    assert scene.breaker.next_deadline_ns() is None
    scene.pass_ms(10_000)
    assert (scene.breaker.state, scene.read().buffered, scene.read().failed) == (S.HALF_OPEN, 1, 0)


def test_leases_that_end_during_a_stall_are_settled_as_of_their_time() -> None:
    """One late tick after an hour: the breaker opened when the second lease ended, and waited since then."""
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.permit()
    scene.breaker.drain_events()
    scene.pass_ms(3_600_000)
    moves = [(event.source, event.to) for event in scene.breaker.drain_events() if event.kind is EventKind.TRANSITION]
    assert moves == [(S.HALF_OPEN, S.OPEN), (S.OPEN, S.HALF_OPEN)]
    assert scene.read().attempts == 2


def test_a_lease_does_not_outlast_its_state() -> None:
    """A hint opens while two probes are out: nobody is woken for them, and they fail nothing later."""
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.permit()
    scene.breaker.open_for(5 * SECOND, scene.now_ns)
    assert scene.breaker.next_deadline_ns() == scene.now_ns + 5 * SECOND
    scene.pass_ms(5000)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    assert scene.breaker.next_deadline_ns() is None


def test_a_closed_breaker_leases_nothing() -> None:
    """Ordinary calls may take as long as their time-out says."""
    scene = Scene(probe_lease_ms=300)
    assert scene.permit().lease_until_ns is None
    assert scene.breaker.next_deadline_ns() is None


# ---- waits


def openings(scene: Scene, count: int) -> list[float]:
    """The waits, in milliseconds, of `count` openings in a row: each time the probes fail."""
    scene.open()
    waits = [scene.wait_ms()]
    while len(waits) < count:
        scene.pass_ms(scene.wait_ms())
        scene.call(FAIL, FAIL)
        waits.append(scene.wait_ms())
    return waits


def test_each_further_opening_waits_longer_up_to_the_longest() -> None:
    """1, 2, 4 … seconds, never above the maximum; a success starts over."""
    scene = Scene()
    assert openings(scene, 9) == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
    scene.pass_ms(scene.wait_ms())
    scene.call(OK, OK)
    scene.open()
    assert scene.wait_ms() == 1000


def test_the_jitter_shortens_by_chance_and_never_lengthens() -> None:
    """wait × (1 - jitter × chance), the chance drawn again for each opening: replicas do not probe together."""
    scene = Scene(chance=[0.0, 1.0, 0.5, 0.25], open_wait_jitter=0.5)
    assert openings(scene, 4) == [1000, 1000, 3000, 7000]


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(1, 10))
def test_a_wait_lies_between_its_jittered_and_its_full_length(
    attempts: int, chance: float, jitter: float, multiplier: float
) -> None:
    """At least one millisecond, at most the maximum, and without jitter never shorter than the one before."""
    config = BreakerConfig(open_wait_jitter=jitter, open_wait_multiplier=multiplier)
    full = config.open_wait_ns(attempts, 0.0)
    assert MS <= full <= config.open_wait_ms_max * MS
    assert full * (1 - jitter) - 1 <= config.open_wait_ns(attempts, chance) <= full
    assert config.open_wait_ns(attempts + 1, 0.0) >= full


@pytest.mark.parametrize("attempts", [1024, 10_000, 10**9])
@pytest.mark.parametrize("multiplier", [1.0, 1.0001, 2.0, 1e10, 1e308])
def test_no_number_of_attempts_overflows(attempts: int, multiplier: float) -> None:
    """Powers of two end at 1,024 in a float: the wait is the maximum, or what it always was."""
    config = BreakerConfig(open_wait_multiplier=multiplier)
    assert config.open_wait_ns(attempts, 0.0) == (5_000 if multiplier < 2 else 300_000) * MS
    assert MS <= config.open_wait_ns(attempts, 0.999) <= 300_000 * MS


@pytest.mark.parametrize("count", [1024, 10_000])
def test_a_vendor_that_never_comes_back_is_probed_for_ever(count: int) -> None:
    """After thousands of openings each wait still is the longest, jittered, and the next probe comes."""
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
    """The timer half-opens it at its time; without the timer, the first call after it does."""
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
    """It was half-open at 1,000 ms and open again at 1,500 for 2,000: a first tick at 1,600 finds 1,900 left."""
    scene = Scene(half_open_max_wait_ms=500, idle_half_open_stays=False)
    scene.open()
    scene.pass_ms(1600)
    assert (scene.breaker.state, scene.wait_ms()) == (S.OPEN, 1900)


def test_a_refusal_says_how_long_it_will_last() -> None:
    """A refusal tells what is left of the wait, and nothing for a state that only an operator ends."""
    scene = Scene()
    scene.open()
    scene.pass_ms(400)
    assert scene.refused() == Refused(S.OPEN, 600 * MS)
    scene.breaker.force(S.FORCED_OPEN, scene.now_ns)
    assert scene.refused() == Refused(S.FORCED_OPEN, 0)


# ---- hints


@pytest.mark.parametrize("begin", ["closed", "half_open"])
def test_a_hint_opens_for_as_long_as_it_says(begin: str) -> None:
    """From closed and half-open, exactly so long and without jitter, and it counts as no attempt."""
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
    """A vendor that says "in a year" is asked again sooner."""
    scene = Scene()
    scene.breaker.open_for(31_536_000 * SECOND, scene.now_ns)
    assert scene.wait_ms() == 60_000


def test_failed_probes_after_a_hint_wait_as_if_it_had_been_none() -> None:
    """The growth continues from the openings that were earned by failing."""
    scene = Scene()
    scene.breaker.open_for(5 * SECOND, scene.now_ns)
    scene.pass_ms(5000)
    scene.call(FAIL, FAIL)
    assert (scene.read().attempts, scene.wait_ms()) == (1, 1000)


@pytest.mark.parametrize("state", [S.OPEN, S.FORCED_OPEN, S.DISABLED, S.METRICS_ONLY])
def test_a_hint_does_not_move_any_other_state(state: BreakerState) -> None:
    """An open one keeps its wait, and an operator's word stands."""
    scene = Scene()
    scene.open() if state is S.OPEN else scene.breaker.force(state, scene.now_ns)
    scene.breaker.drain_events()
    before = scene.read()
    scene.breaker.open_for(30 * SECOND, scene.now_ns)
    assert scene.read() == before
    assert scene.breaker.drain_events() == []


def test_an_operator_cannot_open_what_only_measures() -> None:
    """IllegalTransitionError, and nothing has changed."""
    scene = Scene()
    scene.breaker.force(S.METRICS_ONLY, scene.now_ns)
    before = scene.read()
    with pytest.raises(IllegalTransitionError):
        scene.breaker.force_open_for(SECOND, scene.now_ns)
    with pytest.raises(IllegalTransitionError):
        scene.breaker.force(S.OPEN, scene.now_ns)
    assert scene.read() == before


# ---- failures in a row

ROW = {"consecutive_failures": 3, "window_size": 100, "min_calls": 100}


def test_failures_in_a_row_open_before_the_window_has_its_minimum() -> None:
    """The third of three, not the second; the reason says which rule it was."""
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN
    assert scene.breaker.drain_events()[-1].reason == "consecutive failures"


def test_a_success_in_between_starts_the_row_again() -> None:
    """Two of three failing, again and again, is for the rate to judge."""
    scene = Scene(**ROW)
    scene.call(*[FAIL, FAIL, OK] * 10)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL, FAIL, FAIL)
    assert scene.breaker.state is S.OPEN


@pytest.mark.parametrize("result", [BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL])
def test_what_is_no_result_neither_breaks_nor_lengthens_a_row(result: BreakerResult) -> None:
    """The vendor has neither worked nor failed."""
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL, *[result] * 5)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN


def test_a_row_does_not_continue_over_a_new_state() -> None:
    """Closed again after two failures: two more are two, not four."""
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL)
    scene.breaker.reset(scene.now_ns)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.CLOSED


def test_without_the_rule_only_rates_open() -> None:
    """0 switches it off."""
    scene = Scene(**{**ROW, "consecutive_failures": 0})
    scene.call(*[FAIL] * 99)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN


def test_what_only_measures_does_not_open_by_a_row() -> None:
    """Metrics-only records and stays."""
    scene = Scene(**ROW)
    scene.breaker.force(S.METRICS_ONLY, scene.now_ns)
    scene.call(*[FAIL] * 10)
    assert (scene.breaker.state, scene.read().failed) == (S.METRICS_ONLY, 10)


# ---- any history at all

CONFIGS = st.builds(
    BreakerConfig,
    window_type=st.sampled_from(["COUNT", "TIME"]),
    window_size=st.integers(1, 6),
    min_calls=st.integers(1, 6),
    failure_rate=st.sampled_from([20.0, 50.0, 100.0]),
    slow_rate=st.sampled_from([50.0, 100.0]),
    slow_ns=st.just(100 * MS),
    open_wait_ms=st.sampled_from([1, 500, 1500]),
    open_wait_ms_max=st.just(3000),
    open_wait_jitter=st.sampled_from([0.0, 0.5, 1.0]),
    half_open_calls=st.integers(1, 4),
    half_open_max_wait_ms=st.sampled_from([0, 700]),
    half_open_max_wait_to=st.sampled_from([S.OPEN, S.CLOSED]),
    auto_half_open=st.booleans(),
    consecutive_failures=st.sampled_from([0, 2]),
    probe_lease_ms=st.sampled_from([0, 300, 900]),
    probe_grants=st.sampled_from([0, 1, 4]),
    stall_detection=st.booleans(),
    early_verdict=st.booleans(),
    few_probes_decide=st.booleans(),
    attempts_decay_ms=st.sampled_from([0, 1000]),
    idle_half_open_stays=st.booleans(),
    ramp=st.sampled_from([(), (0.5,), (0.05, 0.5)]),
    ramp_calls=st.integers(1, 3),
    ramp_max_wait_ms=st.sampled_from([1, 400]),
)
RESULTS = st.sampled_from([OK, OK, FAIL, FAIL, BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 5), RESULTS, st.sampled_from([1, 1, 200])),
        st.tuples(st.just("call"), st.integers(1, 5), st.just(OK), st.just(1)),
        st.tuples(st.just("acquire"), st.just(0), st.just(OK), st.just(0)),
        st.tuples(st.just("record"), st.integers(0, 8), RESULTS, st.sampled_from([1, 200])),
        st.tuples(st.just("release"), st.integers(0, 8), st.just(OK), st.just(0)),
        st.tuples(st.just("tick"), st.sampled_from([0, 1, 299, 300, 701, 1500, 10_000]), st.just(OK), st.just(0)),
        st.tuples(st.just("tick"), st.sampled_from([300, 1500, 3001]), st.just(OK), st.just(0)),
        st.tuples(st.just("hint"), st.sampled_from([0, 1, 100, 5000]), st.just(OK), st.just(0)),
    ),
    min_size=20,
    max_size=60,
)


class Watch:
    """A breaker, and what it may do next by what it has said so far: its answers, events and readings alone."""

    def __init__(self, config: BreakerConfig, seed: int) -> None:
        chances = itertools.cycle([seed / 100, 0.0, 0.99])
        self.config, self.now_ns = config, 1000 * SECOND
        self.breaker = Breaker(config, self.now_ns, lambda: next(chances))
        self.permits: list[Permit] = []
        self._probes: dict[int, int] = {}  # generation → probes that are out or have counted
        self._results: list[tuple[int, bool, bool]] = []  # second, failed, slow
        self._size: int | None = None  # of the window that is filled now; None: the configured one

    def acquire(self) -> bool:
        """Return True if a permit was granted."""
        waiting = self.breaker.state is S.OPEN and self.breaker.retry_after_ns(self.now_ns) > 0
        got = self.breaker.acquire(self.now_ns)
        state, probing = self.breaker.state, self.breaker.state is S.HALF_OPEN and self.breaker.share is None
        if isinstance(got, Refused):
            assert got.state is state
            assert state is S.OPEN or probing, "closed and recovering refuse nobody"
            return False
        assert state in (S.CLOSED, S.HALF_OPEN), "a permit while open"
        assert not waiting, "a permit before the wait is over"
        assert got.generation == self.breaker.generation
        self.permits.append(got)
        if probing:
            self._probes[got.generation] = self._probes.get(got.generation, 0) + 1
            assert self._probes[got.generation] <= self.config.half_open_calls, "too many probes"
        return True

    def settle(self, permit: Permit, result: BreakerResult | None, duration_ms: int) -> None:
        """Record or, without a result, release."""
        before = self.breaker.metrics(self.now_ns)
        late = permit.ended or permit.generation != before.generation
        if result is None:
            self.breaker.release(permit)
        else:
            self.breaker.record(permit, result, duration_ms * MS, self.now_ns)
        after = self.breaker.metrics(self.now_ns)
        assert after.generation - before.generation in (0, 1)
        if late:
            assert after == before, "a late result changed something"
        elif result not in (OK, FAIL) and permit.generation in self._probes:
            self._probes[permit.generation] -= 1

    def tick(self, ms: int) -> None:
        self.now_ns += ms * MS
        self.breaker.tick(self.now_ns)
        due = self.breaker.next_deadline_ns()
        assert due is None or due > self.now_ns, "something due was left undone"

    def check(self, generation: int, slow: bool) -> None:
        """Check what holds after a step. `generation` is from before it; `slow`: it recorded a slow call."""
        for event in self.breaker.drain_events():
            if event.kind in (EventKind.SUCCESS, EventKind.ERROR):
                self._results.append((self.now_ns // SECOND, event.kind is EventKind.ERROR, slow))
            elif event.kind is EventKind.TRANSITION and event.to is not S.OPEN:  # open keeps the window that opened it
                self._results.clear()
                self._size = self.config.half_open_calls if event.to is S.HALF_OPEN else None
        if self.breaker.share is not None and self.breaker.generation != generation:
            self._results.clear()  # the next stage of recovery is no transition
            self._size = self.config.ramp_calls
        m = self.breaker.metrics(self.now_ns)
        assert m.generation >= generation
        assert 0 <= m.slow_failed <= min(m.failed, m.slow) <= max(m.failed, m.slow) <= m.buffered
        assert (m.buffered, m.failed, m.slow, m.slow_failed) == self._expected()
        assert 0 <= m.retry_after_ns <= self.config.open_wait_ms_max * MS
        assert (self.breaker.share is None) or m.state is S.HALF_OPEN

    def _expected(self) -> tuple[int, int, int, int]:
        oldest = self.now_ns // SECOND - self.config.window_size
        if self._size is None and self.config.window_type == "TIME":
            kept = [row for row in self._results if row[0] > oldest]
        else:
            kept = self._results[-(self._size or self.config.window_size) :]
        both = sum(failed and slow for _, failed, slow in kept)
        return len(kept), sum(failed for _, failed, _ in kept), sum(slow for _, _, slow in kept), both


@settings(max_examples=200)
@given(CONFIGS, STEPS, st.integers(0, 99))
def test_no_history_breaks_the_invariants(
    config: BreakerConfig, steps: list[tuple[str, int, BreakerResult, int]], seed: int
) -> None:
    """Half-open never grants more than it may, open grants nothing, and the counts are those of the window."""
    watch = Watch(config, seed)
    for step, number, result, duration_ms in steps:
        generation = watch.breaker.generation
        if step == "call":
            for _ in range(number):
                generation = watch.breaker.generation
                if watch.acquire():
                    watch.settle(watch.permits[-1], result, duration_ms)
                watch.check(generation, slow=duration_ms == 200)
        elif step == "acquire":
            watch.acquire()
        elif step == "tick":
            watch.tick(number)
        elif step == "hint":
            watch.breaker.open_for(number * MS, watch.now_ns)
        elif watch.permits:
            permit = watch.permits[-1 - number % len(watch.permits)]
            watch.settle(permit, result if step == "record" else None, duration_ms)
        watch.check(generation, slow=duration_ms == 200)


def test_an_open_wait_is_hastened_and_never_lengthened() -> None:
    """Work waits and nobody else can do it: a minute becomes twenty seconds, three stay three."""
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
    """And the next one, which is our own, is again."""
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
    """An operator's word and a vendor that works are left alone."""
    scene = Scene()
    scene.breaker.force(state, scene.now_ns)
    generation = scene.breaker.generation
    scene.breaker.hasten(1, scene.now_ns)
    scene.pass_ms(60_000)
    assert (scene.breaker.state, scene.breaker.generation) == (state, generation)
