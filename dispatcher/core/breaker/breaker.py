"""The circuit breaker: a state machine without lock, IO, timer, clock or random source of its own.

The docstring of the package states its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dispatcher.core.breaker.config import MS_NS, BreakerConfig, BreakerState, Late
from dispatcher.core.breaker.in_flight import InFlight
from dispatcher.core.breaker.openings import Openings
from dispatcher.core.breaker.probes import Probes
from dispatcher.core.breaker.values import (
    BreakerEvent,
    BreakerMetrics,
    BreakerResult,
    BreakerSnapshot,
    EventKind,
    IllegalTransitionError,
    Permit,
    Refused,
)
from dispatcher.core.breaker.window import CountWindow, EmptyWindow, TimeWindow, Window, window_of

S = BreakerState
ILLEGAL = {(S.CLOSED, S.HALF_OPEN), (S.METRICS_ONLY, S.OPEN), (S.METRICS_ONLY, S.HALF_OPEN)}
"""The transitions that an operator cannot make: they raise an error and change nothing.

All others are legal, including those into the same state.
"""


class Breaker:
    """A breaker, which belongs to one actor.

    After `acquire`, the actor must not await anything before it has noted the permitted call.
    """

    def __init__(self, config: BreakerConfig, now_ns: int, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.config, self._chance = config, chance
        self.state = S.CLOSED
        self.generation = 0
        self._openings = Openings(config, now_ns)
        self._window: Window = EmptyWindow()
        self._min = config.min_calls_effective
        self._not_permitted = 0
        self._probes = Probes(config)
        self._deadline_ns: int | None = None  # the end of the open wait
        self._asked_to_wait = False  # the vendor itself asked for the open wait
        self._timer: tuple[int, BreakerState] | None = None
        self._announced: set[EventKind] = set()
        self._in_a_row = 0
        self._in_flight = InFlight(config)
        self._stage = 0
        self._events: list[BreakerEvent] = []
        self._fresh_window()
        self._begin(config.initial, now_ns, None)

    # ---- calls

    def acquire(self, now_ns: int) -> Permit | Refused:
        """Return a permit for one call, or a refusal with the nanoseconds after which a permit may be possible."""
        if self.state is S.OPEN and self._deadline_ns is not None and now_ns > self._deadline_ns:
            self._enter(S.HALF_OPEN, now_ns, "wait over")
        granted = self.state in (S.CLOSED, S.DISABLED, S.METRICS_ONLY)
        if self.state is S.HALF_OPEN and (self._stage or self._probes.left()):
            self._probes.grant()
            granted = True
        if not granted:
            self._not_permitted += 1
            self._emit(EventKind.NOT_PERMITTED)
            return Refused(self.state, self.retry_after_ns(now_ns))
        permit = Permit(self.generation)
        if self.config.stall_detection:
            self._in_flight.watch(permit, now_ns)
        if self.state is S.HALF_OPEN and self.config.probe_lease_ms:
            self._in_flight.lease(permit, now_ns + self.config.probe_lease_ms * MS_NS)
        return permit

    def record(self, permit: Permit, result: BreakerResult, duration_ns: int, now_ns: int) -> None:
        """Record how the call of `permit` ended.

        A second result for the same permit or a late result changes nothing.
        """
        if not self._end_permit(permit):
            return
        if result not in (BreakerResult.SUCCESS, BreakerResult.FAILURE):
            self._give_back()
            if result is BreakerResult.IGNORED:
                self._emit(EventKind.IGNORED)
            return
        failed = result is BreakerResult.FAILURE
        if not failed:
            self._in_flight.answered_ns = now_ns
        self._emit(EventKind.ERROR if failed else EventKind.SUCCESS)
        self._add(failed, duration_ns > self.config.slow_ns, now_ns)

    def release(self, permit: Permit) -> None:
        """Give back the permit of a call that was not made."""
        if self._end_permit(permit):
            self._give_back()

    def tick(self, now_ns: int) -> None:
        """Let time pass until `now_ns`: fire the timers that are due, in order, and end the leases that are over.

        Each timer acts as if the clock showed its due time.
        """
        while True:
            due = self.next_deadline_ns()
            if due is None or due > now_ns:
                if self._evaluate_stalled(now_ns):
                    continue  # the new open wait may be over by now
                return
            lease = self._in_flight.next_lease()
            if self._timer is not None and self._timer[0] == due:
                self._on_timer(self._timer[1], due)
            elif lease is not None and self._end_permit(lease[0]):
                self._emit(EventKind.ERROR)
                self._add(True, False, due)

    def _on_timer(self, to: BreakerState, due_ns: int) -> None:
        if self.state is S.OPEN:
            self._enter(to, due_ns, "wait over")
        elif self._stage:
            self._evaluate_stage(due_ns)
        elif self.config.idle_half_open_stays and self._probes.unused():
            self._enter(S.HALF_OPEN, due_ns, "")  # no result was counted, so nothing failed: the next stage begins
        elif self.config.few_probes_decide and self._probes.answered(self._window.counts(due_ns).n):
            self._evaluate_stage(due_ns)
        else:
            self._enter(to, due_ns, "no verdict in time")

    def next_deadline_ns(self) -> int | None:
        """Return when the next timer or lease is due, or None if there is none.

        `tick` should be called more often than that, because it also checks whether calls in flight hang.
        """
        lease = self._in_flight.next_lease()
        times = (None if lease is None else lease[1], None if self._timer is None else self._timer[0])
        return min((time for time in times if time is not None), default=None)

    # ---- operators and hints

    def force(self, to: BreakerState, now_ns: int) -> None:
        """Make the transition that an operator asked for.

        Raises IllegalTransitionError, and changes nothing, if it is illegal.
        """
        if (self.state, to) in ILLEGAL:
            raise IllegalTransitionError(f"{self.state.value} → {to.value}")
        self._enter(to, now_ns, "operator")

    def force_open_for(self, duration_ns: int, now_ns: int, reason: str = "operator") -> None:
        """Open for exactly `duration_ns`. This opening does not make later waits longer."""
        if self.state is S.METRICS_ONLY:
            raise IllegalTransitionError("metrics_only → open")
        self._enter(S.OPEN, now_ns, reason, duration_ns)

    def open_for(self, duration_ns: int, now_ns: int, reason: str = "hint") -> None:
        """Open because the vendor asked for a wait of `duration_ns` (Retry-After, bad account).

        The wait is at most the longest configured one. In other states than closed and half-open, nothing happens.
        """
        if self.state in (S.CLOSED, S.HALF_OPEN):
            self.force_open_for(min(duration_ns, self.config.open_wait_ms_max * MS_NS), now_ns, reason)
            self._asked_to_wait = True

    def hasten(self, within_ns: int, now_ns: int) -> None:
        """Shorten the wait of an open breaker so that it ends within `within_ns`. The wait is never made longer.

        In other states nothing happens. A wait that the vendor asked for is not shortened: an earlier call would be
        refused, and count as a failure.
        """
        if self.state is S.OPEN and self._deadline_ns is not None and not self._asked_to_wait:
            self._deadline_ns = min(self._deadline_ns, now_ns + within_ns)
            if self._timer is not None:
                self._timer = (self._deadline_ns, self._timer[1])

    def trip(self, now_ns: int, reason: str) -> None:
        """Open as after too many failures, because of evidence that is not in the window.

        In other states than closed, nothing happens.
        """
        if self.state is S.CLOSED:
            self._enter(S.OPEN, now_ns, reason)

    def reset(self, now_ns: int) -> None:
        """Close the breaker from any state, with an empty window and without former openings."""
        self._enter(S.CLOSED, now_ns, "reset")
        self._events.append(BreakerEvent(EventKind.RESET))

    # ---- across a restart

    def snapshot(self, now_ns: int) -> BreakerSnapshot:
        """Return everything that the breaker of another process needs to continue from the present state."""
        return BreakerSnapshot(
            state=self.state,
            attempts=self._openings.count,
            wait_ns=self.retry_after_ns(now_ns),
            stage=self._stage,
            closed_ns=now_ns - self._openings.closed_ns,
            in_a_row=self._in_a_row,
            not_permitted=self._not_permitted,
            rows=self._window.rows(now_ns),
            least=self._min,
        )

    def restore(self, was: BreakerSnapshot, age_ns: int, now_ns: int) -> None:
        """Continue from the snapshot `was`, which was made `age_ns` ago, in a new generation.

        Results of earlier permits are late. If the breaker was open, it waits for the rest of its time. If it was
        half-open, its stage begins again with all permits.
        """
        before, config = self.state, self.config
        self._openings.count, self._openings.closed_ns = was.attempts, now_ns - was.closed_ns - age_ns
        self._begin(was.state, now_ns, max(0, was.wait_ns - age_ns))
        stage = min(was.stage, len(config.ramp))
        if was.state is S.HALF_OPEN and stage:
            self._begin_stage(stage, now_ns)
        elif was.state is S.OPEN:
            self._window, self._min = window_of(was.rows, age_ns, now_ns), was.least
            self._not_permitted = was.not_permitted
        elif was.state is S.CLOSED and was.rows.kind == config.window_type:
            self._window = window_of(replace(was.rows, size=config.window_size), age_ns, now_ns)
            self._in_a_row = was.in_a_row
        if before is not was.state:
            self._events.append(BreakerEvent(EventKind.TRANSITION, before, was.state, "restored"))

    # ---- readings

    def metrics(self, now_ns: int) -> BreakerMetrics:
        c = self._window.counts(now_ns)
        known = c.n > 0 and c.n >= self._min
        return BreakerMetrics(
            state=self.state,
            failure_rate=c.failed * 100 / c.n if known else -1.0,
            slow_rate=c.slow * 100 / c.n if known else -1.0,
            buffered=c.n,
            failed=c.failed,
            slow=c.slow,
            slow_failed=c.slow_failed,
            not_permitted=self._not_permitted,
            generation=self.generation,
            attempts=self._openings.count,
            retry_after_ns=self.retry_after_ns(now_ns),
        )

    def retry_after_ns(self, now_ns: int) -> int:
        if self.state is S.OPEN and self._deadline_ns is not None:
            return max(0, self._deadline_ns - now_ns)
        return 0

    @property
    def share(self) -> float | None:
        """Return the share of its former traffic that a recovering vendor may have now.

        Return None outside such a stage.
        """
        return self.config.ramp[self._stage - 1] if self._stage else None

    def drain_events(self) -> list[BreakerEvent]:
        """Return the events since the previous call, in the order in which they happened."""
        events, self._events = self._events, []
        return events

    # ---- inside

    def _add(self, failed: bool, slow: bool, now_ns: int) -> None:
        if self.state in (S.DISABLED, S.FORCED_OPEN):
            return
        self._window.record(now_ns, failed, slow)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if self.state is not S.OPEN:
            self._evaluate(now_ns)

    def _evaluate(self, now_ns: int) -> None:
        c, config = self._window.counts(now_ns), self.config
        enough = c.n > 0 and c.n >= self._min
        # Integer arithmetic as the rule is written; the original's 32-bit floats agree for three decimals.
        too_failed = enough and c.failed * 100 >= config.failure_rate * c.n
        too_slow = enough and c.slow * 100 >= config.slow_rate * c.n
        if self.state is S.HALF_OPEN:
            if self.config.early_verdict:  # the rates if all outstanding probes succeed
                too_failed = too_failed or c.failed * 100 >= config.failure_rate * max(c.n, self._min)
                too_slow = too_slow or c.slow * 100 >= config.slow_rate * max(c.n, self._min)
            if too_failed or too_slow:
                self._enter(S.OPEN, now_ns, "probes failed" if too_failed else "probes slow")
            elif enough:
                self._next_stage(now_ns)
            return
        for exceeded, kind in (
            (too_failed, EventKind.FAILURE_RATE_EXCEEDED),
            (too_slow, EventKind.SLOW_RATE_EXCEEDED),
        ):
            if exceeded and kind not in self._announced:
                self._emit(kind)
                self._announced.add(kind)
        if self.state is not S.CLOSED:
            return
        in_a_row = 0 < config.consecutive_failures <= self._in_a_row
        if too_failed or too_slow or in_a_row:
            reason = "failure rate" if too_failed else "slow rate" if too_slow else "consecutive failures"
            self._enter(S.OPEN, now_ns, reason)
        elif self._in_flight.hang(now_ns, c, least=self._min, in_a_row=self._in_a_row):
            self._enter(S.OPEN, now_ns, "stalled")

    def _evaluate_stalled(self, now_ns: int) -> bool:
        """Open a closed breaker if its calls hang. Return True if that happened.

        The breaker opens at the first moment of the outage, so the result does not depend on how often this check runs.
        """
        if self.state is not S.CLOSED:
            return False
        began_ns = self._in_flight.outage_began_ns(now_ns, self._window, least=self._min, in_a_row=self._in_a_row)
        if began_ns is not None:
            self._enter(S.OPEN, began_ns, "stalled")
        return began_ns is not None

    def _next_stage(self, now_ns: int) -> None:
        """Enter the stage with the next larger share of traffic. After the last stage, close."""
        if self._stage >= len(self.config.ramp):
            self._enter(S.CLOSED, now_ns, "recovered" if self._stage else "probes succeeded")
            return
        stage = self._stage + 1
        self._enter(S.HALF_OPEN, now_ns, "")
        self._begin_stage(stage, now_ns)

    def _evaluate_stage(self, now_ns: int) -> None:
        """Decide by the results so far about a stage whose time is over.

        Calls that are slow and still in flight count as slow. A stage without results is passed if no call is in
        flight. Otherwise the stage goes on, because a vendor that hangs gives no results.
        """
        c, config = self._window.counts(now_ns), self.config
        overdue, _ = self._in_flight.overdue(now_ns)
        n = c.n + overdue
        if n == 0 and self._in_flight:
            self._timer = (now_ns + config.ramp_max_wait_ms * MS_NS, S.CLOSED)
        elif n > 0 and c.failed * 100 >= config.failure_rate * n:
            self._enter(S.OPEN, now_ns, "probes failed")
        elif n > 0 and (c.slow + overdue) * 100 >= config.slow_rate * n:
            self._enter(S.OPEN, now_ns, "probes slow")
        else:
            self._next_stage(now_ns)

    def _begin_stage(self, stage: int, now_ns: int) -> None:
        self._stage = stage
        self._window, self._min = CountWindow(self.config.ramp_calls), self.config.ramp_calls
        self._timer = (now_ns + self.config.ramp_max_wait_ms * MS_NS, S.CLOSED)

    def _enter(self, to: BreakerState, now_ns: int, reason: str, duration_ns: int | None = None) -> None:
        before = self.state
        self._openings.note(before, to, now_ns, reset=reason == "reset", timed=duration_ns is not None)
        self._begin(to, now_ns, duration_ns)
        if before is not to:
            self._events.append(BreakerEvent(EventKind.TRANSITION, before, to, reason))

    def _begin(self, to: BreakerState, now_ns: int, duration_ns: int | None) -> None:
        """Enter the state `to` in a new generation. `duration_ns` is the open wait; None means the configured one.

        The window is emptied. Only the state open keeps the window whose results opened the breaker.
        """
        self.state = to
        self.generation += 1
        self._timer = self._deadline_ns = None
        self._asked_to_wait = False
        self._in_flight.begin(now_ns)
        self._announced.clear()
        self._in_a_row = self._stage = 0
        if to is S.OPEN:
            wait_ns = duration_ns
            if wait_ns is None:
                wait_ns = self.config.open_wait_ns(max(1, self._openings.count), self._chance())
            self._deadline_ns = now_ns + wait_ns
            if self.config.auto_half_open:
                self._timer = (self._deadline_ns, S.HALF_OPEN)
            return
        self._not_permitted = 0
        if to is S.HALF_OPEN:
            self._probes.begin()
            self._window = CountWindow(self.config.half_open_calls)
            self._min = self.config.half_open_min_effective
            if self.config.half_open_max_wait_ms:
                due_ns = now_ns + self.config.half_open_max_wait_ms * MS_NS
                self._timer = (due_ns, self.config.half_open_max_wait_to)
        elif to in (S.DISABLED, S.FORCED_OPEN):
            self._window = EmptyWindow()
        else:
            self._fresh_window()

    def _fresh_window(self) -> None:
        size = self.config.window_size
        self._window = CountWindow(size) if self.config.window_type == "COUNT" else TimeWindow(size)
        self._min = self.config.min_calls_effective

    def _end_permit(self, permit: Permit) -> bool:
        """End the permit, and return True if its result counts.

        The first result of a permit counts, if it is not late or if the settings count late results.
        """
        if permit.ended:
            return False
        permit.ended = True
        self._in_flight.end(permit)
        return permit.generation == self.generation or self.config.late is Late.COUNT

    def _give_back(self) -> None:
        if self.state is S.HALF_OPEN:
            self._probes.give_back()

    def _emit(self, kind: EventKind) -> None:
        if self.state not in (S.DISABLED, S.FORCED_OPEN):
            self._events.append(BreakerEvent(kind))
