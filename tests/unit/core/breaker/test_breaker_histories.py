"""Any history of calls, waits and hints keeps the invariants of the breaker, for any settings."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.breaker.values import BreakerResult, EventKind, Permit, Refused
from tests.unit.core.breaker.scene import FAIL, MS, OK, SECOND, S

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
    """A breaker, and a model of what it may do next.

    The model uses only the breaker's answers, events and readings.
    """

    def __init__(self, config: BreakerConfig, seed: int) -> None:
        chances = itertools.cycle([seed / 100, 0.0, 0.99])
        self.config, self.now_ns = config, 1000 * SECOND
        self.breaker = Breaker(config, self.now_ns, lambda: next(chances))
        self.permits: list[Permit] = []
        self._probes: dict[int, int] = {}  # generation → probes that are out or have counted
        self._results: list[tuple[int, bool, bool]] = []  # second, failed, slow
        self._size: int | None = None  # size of the window in use; None means the configured size

    def acquire(self) -> bool:
        """Ask the breaker for a permit and check that its answer is allowed. Return True if a permit was granted."""
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
        """Record the result of a permit, or release the permit if `result` is None.

        Check that a late result changes nothing.
        """
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
        """Check what holds after a step.

        `generation` is the generation before the step, and `slow` says that the step recorded a slow call.
        """
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
    """In any history a half-open breaker grants at most its number of probes, an open breaker grants nothing, and
    the counts equal a recount of the window.
    """
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
