"""Checks the invariants of a breaker as it runs in production, under any order of calls, losses, overrides and
restarts.

P is the number of probes that one half-open stage allows (`half_open_calls`).

- I1: a new state, or a new stage of recovery, is a new generation, and a generation never changes otherwise.
- I2: in each half-open stage, at most P permits are out or have counted, and at most 4 P are granted.
- I3: a permit ends once: it is recorded, given back, expired or late.
- I4: a late or repeated result changes nothing.
- I5: an open breaker grants nothing before its wait is over, and no wait is longer than the maximum.
- I6: a breaker never refuses forever: if the vendor works, the breaker closes in bounded time.
- I7: the breaker's counters equal those of a simple recount.
- I8: an ignored call changes no rate.
- I9: a restored breaker equals the old one, except for its generation and the calls in flight.
- I10: it does not matter how often the breaker is told the time.
- I11: the events are in order and name the states that the breaker was in.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.assembly import breaker_config
from dispatcher.config.settings import BreakerSettings
from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.values import BreakerResult, BreakerSnapshot, EventKind, Permit, Refused

S = BreakerState
OK, FAIL = BreakerResult.SUCCESS, BreakerResult.FAILURE
NO_RESULT = (BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL)
MS, SECOND = 1_000_000, 1_000_000_000
SMALL = BreakerSettings(
    window_s=4,
    min_calls=5,
    slow_duration_s=1.0,
    consecutive_failures=4,
    open_wait_s=1.0,
    open_wait_s_max=6.0,
    half_open_calls=3,
    half_open_max_wait_s=4.0,
)
CONFIG = replace(breaker_config(SMALL, timeout_s=2.0), ramp_calls=3, attempts_decay_ms=10_000)
"""Production's settings with small numbers, so that short histories reach every state."""

P = CONFIG.half_open_calls
CLOSES_WITHIN_S = 2 * (6 + 4 + 3) + 3 * 3 + 3
"""The most seconds until a breaker of a vendor that works is closed.

This is twice the longest wait, half-open stay and probe lease, because lost probes may open the breaker once more. The
three stages of recovery come on top.
"""

RESULTS = st.sampled_from([OK, OK, OK, FAIL, FAIL, *NO_RESULT])


class Life(RuleBasedStateMachine):
    """A hypothesis state machine that holds one breaker and all answers that it has given."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns, self.chance = 1000 * SECOND + 123 * MS, 0.0
        self.breaker = self.born()
        self.begin_history()

    def born(self) -> Breaker:
        return Breaker(CONFIG, self.now_ns, lambda: self.chance)

    def begin_history(self) -> None:
        self.out: list[Permit] = []
        self.ended: list[Permit] = []
        self.grants: Counter[int] = Counter()  # generation of probes → permits handed out
        self.spent: Counter[int] = Counter()  # generation of probes → permits not given back
        self.generation, self.state = self.breaker.generation, self.breaker.state
        self.share = self.breaker.share
        self.deadline_ns = self.now_ns + self.breaker.retry_after_ns(self.now_ns)
        self.results: list[tuple[int, bool, bool]] | None = []
        self.size = self._size()

    # ---- what happens to it

    @rule(step_ms=st.sampled_from([1, 50, 300, 999, 1000, 1001, 2500, 4000, 9000]), chance=st.sampled_from([0.0, 0.9]))
    def time_passes(self, step_ms: int, chance: float) -> None:
        """Let time pass in small steps and tell the breaker the time after each step, so that each change is seen."""
        self.chance = chance
        until_ns = self.now_ns + step_ms * MS
        while self.now_ns < until_ns:
            due_ns = self.breaker.next_deadline_ns()
            self.now_ns = min(until_ns, self.now_ns + 50 * MS, max(due_ns or until_ns, self.now_ns + 1))
            self.breaker.tick(self.now_ns)
            self.follow(slow=False)

    @rule(count=st.sampled_from([1, 2, 3, 4, 15]), result=RESULTS, slow=st.sampled_from([False, False, True]))
    def calls(self, count: int, result: BreakerResult, slow: bool) -> None:
        for _ in range(count):
            permit = self.acquire()
            if permit is not None:
                self.out.remove(permit)
                self.end(permit, result, slow)

    @rule(count=st.integers(1, 6))
    def calls_that_hang(self, count: int) -> None:
        for _ in range(count):
            self.acquire()

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 50), result=st.one_of(RESULTS, st.none()), slow=st.booleans())
    def one_of_them_ends(self, which: int, result: BreakerResult | None, slow: bool) -> None:
        self.end(self.out.pop(which % len(self.out)), result, slow)

    @precondition(lambda self: self.ended)
    @rule(which=st.integers(0, 50), result=st.one_of(RESULTS, st.none()))
    def one_ends_twice(self, which: int, result: BreakerResult | None) -> None:
        """Report a result for a permit that has ended already. Check that the breaker ignores it (invariants I3 and
        I4).
        """
        before = self.visible()
        self.tell(self.ended[which % len(self.ended)], result, slow=True)
        assert self.visible() == before
        assert self.breaker.drain_events() == []

    @rule(wait_ms=st.sampled_from([1, 700, 60_000]))
    def the_vendor_asks_for_patience(self, wait_ms: int) -> None:
        self.breaker.open_for(wait_ms * MS, self.now_ns)
        self.follow(slow=False)

    @rule()
    def a_short_hint_leads_to_probes(self) -> None:
        """Let the vendor ask for a very short wait, and let this wait pass. So many random histories reach the
        half-open state, in which probes are sent.
        """
        self.the_vendor_asks_for_patience(1)
        self.time_passes(2, 0.0)

    @rule(closed=st.booleans())
    def an_operator_closes_it(self, closed: bool) -> None:
        if closed:
            self.breaker.force(S.CLOSED, self.now_ns)
        else:
            self.breaker.reset(self.now_ns)
        self.follow(slow=False)

    @rule(age_ms=st.sampled_from([0, 800, 5000, 60_000]))
    def its_process_dies(self, age_ms: int) -> None:
        """Replace the breaker with a breaker that is restored from an older snapshot.

        All permits are lost with the process.
        """
        was = self.written()
        self.now_ns += age_ms * MS
        before, self.breaker = self.breaker, self.born()
        self.breaker.restore(was, age_ms * MS, self.now_ns)
        assert self.breaker.state is before.state
        left_ns = max(0, was.wait_ns - age_ms * MS)
        assert self.breaker.retry_after_ns(self.now_ns) == left_ns
        self.breaker.tick(self.now_ns)  # what was left of the wait may be over
        self.breaker.drain_events()
        self.begin_history()
        self.results = None  # I9 compares what was restored

    # ---- how it answers

    def acquire(self) -> Permit | None:
        before = self.breaker.state
        got = self.breaker.acquire(self.now_ns)
        self.follow(slow=False)
        state, probing = self.breaker.state, self.breaker.state is S.HALF_OPEN and self.breaker.share is None
        if isinstance(got, Refused):
            assert state is S.OPEN or probing, "closed and recovering refuse nobody"
            return None
        assert state in (S.CLOSED, S.HALF_OPEN)
        assert before is not S.OPEN or self.now_ns >= self.deadline_ns, "I5"
        assert got.generation == self.breaker.generation
        if probing:
            self.grants[got.generation] += 1
            self.spent[got.generation] += 1
        self.out.append(got)
        return got

    def end(self, permit: Permit, result: BreakerResult | None, slow: bool) -> None:
        """End a permit.

        Only the permit's first result in its own generation may count, and only a result changes rates
        (invariants I3, I4 and I8).
        """
        counts = not permit.ended and permit.generation == self.breaker.generation
        before, metrics = self.visible(), self.breaker.metrics(self.now_ns)
        self.tell(permit, result, slow)
        assert permit.ended, "I3"
        self.ended.append(permit)
        if not counts:
            assert self.visible() == before, "I4"
            assert self.breaker.drain_events() == [], "I4"
            return
        if result not in (OK, FAIL):
            after = self.breaker.metrics(self.now_ns)
            assert (after.failure_rate, after.slow_rate) == (metrics.failure_rate, metrics.slow_rate), "I8"
            assert after.generation == metrics.generation, "I8"
            self.spent[permit.generation] -= permit.generation in self.spent
        self.follow(slow)

    def tell(self, permit: Permit, result: BreakerResult | None, slow: bool) -> None:
        if result is None:
            self.breaker.release(permit)
        else:
            self.breaker.record(permit, result, (CONFIG.slow_ns + 1) if slow else MS, self.now_ns)

    def visible(self) -> Any:
        """Return everything that a caller can observe of the breaker, and the number of probes that it would grant."""
        twin, grants = copy.deepcopy(self.breaker), 0
        if twin.state is S.HALF_OPEN and twin.share is None:
            while isinstance(twin.acquire(self.now_ns), Permit):
                grants += 1
        b = self.breaker
        return b.snapshot(self.now_ns), b.metrics(self.now_ns), b.next_deadline_ns(), b.share, grants

    def follow(self, slow: bool) -> None:
        """Read the events of the step that the breaker has just made. Check them, and count results and states in
        parallel to the breaker. `slow` is True if the step recorded a slow call.
        """
        outcomes = 0
        for event in self.breaker.drain_events():
            if event.kind in (EventKind.SUCCESS, EventKind.ERROR):
                outcomes += 1
                if self.results is not None:
                    self.results.append((self.now_ns // SECOND, event.kind is EventKind.ERROR, slow))
            elif event.kind is EventKind.TRANSITION:
                assert event.source is self.state is not event.to, "I11"
                assert event.reason, "I11"
                assert event.to is not None
                self.state = event.to
                if event.to is S.OPEN:
                    self.deadline_ns = self.now_ns + self.breaker.retry_after_ns(self.now_ns)
                else:
                    self.results = []
        assert self.state is self.breaker.state, "I11"
        if self.breaker.generation != self.generation and self.state is not S.OPEN:
            self.results = []  # a stage and a fresh stay begin without a transition
        if self.state is not S.OPEN:
            self.size = self._size()
        began = (self.state, self.share) != (self.breaker.state, self.breaker.share)
        assert self.breaker.generation - self.generation <= 1 + 2 * (outcomes == 0), "I1"
        assert not began or self.breaker.generation > self.generation, "I1"
        self.generation, self.share = self.breaker.generation, self.breaker.share

    def _size(self) -> int | None:
        """Return how many results the breaker's present window can hold, or None if it is a time window."""
        if self.breaker.state is S.CLOSED:
            return None
        return P if self.breaker.share is None else CONFIG.ramp_calls

    def written(self) -> BreakerSnapshot:
        """Return the breaker's snapshot as the store would return it: encoded as JSON and decoded again."""
        return BreakerSnapshot.from_dict(json.loads(json.dumps(self.breaker.snapshot(self.now_ns).to_dict())))

    # ---- what holds after every step

    @invariant()
    def i1_nothing_but_a_new_state_is_a_generation(self) -> None:
        assert self.breaker.generation == self.generation
        twin = copy.deepcopy(self.breaker)
        twin.metrics(self.now_ns)
        twin.snapshot(self.now_ns)
        twin.tick(self.now_ns)
        assert twin.generation == self.generation

    @invariant()
    def i2_half_open_is_bounded(self) -> None:
        assert all(count <= P for count in self.spent.values())
        assert all(count <= 4 * P for count in self.grants.values())

    @invariant()
    def i5_no_wait_is_longer_than_the_longest(self) -> None:
        assert 0 <= self.breaker.retry_after_ns(self.now_ns) <= CONFIG.open_wait_ms_max * MS
        assert self.breaker.state is not S.OPEN or self.breaker.next_deadline_ns() is not None

    @invariant()
    def i6_it_closes_in_bounded_time(self) -> None:
        twin, now_ns = copy.deepcopy(self.breaker), self.now_ns
        for _ in range(4 * CLOSES_WITHIN_S):
            if twin.state is S.CLOSED:
                return
            permit = twin.acquire(now_ns)
            if isinstance(permit, Permit):
                twin.record(permit, OK, MS, now_ns)
            now_ns += SECOND // 4
            twin.tick(now_ns)
        raise AssertionError(f"it is {twin.state} forever")

    @invariant()
    def i7_the_counters_are_those_of_a_recount(self) -> None:
        m = self.breaker.metrics(self.now_ns)
        assert 0 <= m.slow_failed <= min(m.failed, m.slow)
        assert max(m.failed, m.slow) <= m.buffered
        if self.results is None:
            return
        if self.size is None:
            kept = [row for row in self.results if row[0] > self.now_ns // SECOND - CONFIG.window_size]
        else:
            kept = self.results[-self.size :]
        assert m.buffered == len(kept)
        assert (m.failed, m.slow) == (sum(f for _, f, _ in kept), sum(s for _, _, s in kept))
        assert m.slow_failed == sum(f and s for _, f, s in kept)

    @invariant()
    def i9_a_restored_one_is_the_same(self) -> None:
        twin, was = self.born(), self.written()
        assert was == self.breaker.snapshot(self.now_ns)
        twin.restore(was, 0, self.now_ns)
        assert (twin.state, twin.share) == (self.breaker.state, self.breaker.share)
        assert twin.drain_events() == [] or twin.state is not S.CLOSED
        ours, theirs = self.breaker.metrics(self.now_ns), twin.metrics(self.now_ns)
        assert theirs.attempts == ours.attempts
        if self.breaker.state is S.HALF_OPEN:
            assert theirs.buffered == 0
            return
        assert replace(theirs, generation=0) == replace(ours, generation=0)
        original = copy.deepcopy(self.breaker)
        original._in_flight.clear()  # calls in flight are not restored
        assert future(twin, self.now_ns) == future(original, self.now_ns)

    @invariant()
    def i10_time_may_be_told_in_any_steps(self) -> None:
        once, often = copy.deepcopy(self.breaker), copy.deepcopy(self.breaker)
        for until_ns in (self.now_ns + 1300 * MS, self.now_ns + 19 * SECOND):
            once.tick(until_ns)
            step_ns = (until_ns - self.now_ns) // 23
            for n in range(1, 23):
                often.tick(min(until_ns, self.now_ns + n * step_ns))
            often.tick(until_ns)
            assert often.snapshot(until_ns) == once.snapshot(until_ns)
            assert often.metrics(until_ns) == once.metrics(until_ns)
            assert often.next_deadline_ns() == once.next_deadline_ns()
        assert often.drain_events() == once.drain_events()


def future(breaker: Breaker, now_ns: int) -> list[Any]:
    """Run a fixed sequence of calls and waits on the breaker. Return the breaker's readings after each step."""
    seen: list[Any] = []
    for result in (
        FAIL,
        FAIL,
        FAIL,
        OK,
        None,
        FAIL,
        FAIL,
        OK,
        OK,
        FAIL,
        FAIL,
        FAIL,
        FAIL,
        None,
        None,
        OK,
        OK,
        OK,
        None,
        FAIL,
    ):
        if result is None:
            now_ns += 2 * SECOND + 77 * MS
            breaker.tick(now_ns)
        else:
            permit = breaker.acquire(now_ns)
            if isinstance(permit, Permit):
                breaker.record(permit, result, MS, now_ns)
        seen.append((replace(breaker.metrics(now_ns), generation=0), breaker.share, breaker.next_deadline_ns()))
    return seen
