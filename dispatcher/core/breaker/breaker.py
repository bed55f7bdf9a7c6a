"""The circuit breaker: a state machine without lock, IO, timer, clock or random source of its own.

The docstring of the package `core.breaker` states the rules of the breaker.
"""

from __future__ import annotations

from dispatcher.core.breaker.config import MS_NS, BreakerState, Late
from dispatcher.core.breaker.states import BreakerStates
from dispatcher.core.breaker.values import (
    BreakerEvent,
    BreakerResult,
    EventKind,
    IllegalTransitionError,
    Permit,
    Refused,
)

S = BreakerState
ILLEGAL = {(S.CLOSED, S.HALF_OPEN), (S.METRICS_ONLY, S.OPEN), (S.METRICS_ONLY, S.HALF_OPEN)}
"""The transitions that an operator cannot make: they raise an error and change nothing.

All others are legal, including those into the same state.
"""


class Breaker(BreakerStates):
    """The breaker of one vendor actor, or of one country within it. No other actor uses the same object.

    After `acquire`, the actor must not await anything before the block that records or releases the permit in every
    case. Otherwise a cancellation could lose the permit.
    """

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

        A second result for the same permit changes nothing. A late result changes nothing either, unless the settings
        count late results.
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
        """Make the transition to the state `to`, because an operator asked for it.

        Raises IllegalTransitionError, and changes nothing, if the transition is in `ILLEGAL`.
        """
        if (self.state, to) in ILLEGAL:
            raise IllegalTransitionError(f"{self.state.value} → {to.value}")
        self._enter(to, now_ns, "operator")

    def force_open_for(self, duration_ns: int, now_ns: int, reason: str = "operator") -> None:
        """Open the breaker for exactly `duration_ns`. Later openings do not wait longer because of this opening.

        Raises IllegalTransitionError, and changes nothing, in the state metrics_only.
        """
        if self.state is S.METRICS_ONLY:
            raise IllegalTransitionError("metrics_only → open")
        self._enter(S.OPEN, now_ns, reason, duration_ns)

    def open_for(self, duration_ns: int, now_ns: int, reason: str = "hint") -> None:
        """Open the breaker, because the vendor asked for a wait of `duration_ns` (Retry-After, bad account).

        The breaker waits that long, but at most `open_wait_ms_max`. Only a closed or half-open breaker opens; in other
        states nothing happens.
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
        """Open a closed breaker because of evidence that is not in its window.

        The open wait is as long as after too many failures. In other states than closed, nothing happens.
        """
        if self.state is S.CLOSED:
            self._enter(S.OPEN, now_ns, reason)

    def reset(self, now_ns: int) -> None:
        """Close the breaker from any state, with an empty window and without former openings."""
        self._enter(S.CLOSED, now_ns, "reset")
        self._events.append(BreakerEvent(EventKind.RESET))

    # ---- evidence

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
        """Open a closed breaker if its calls hang. Return True if the breaker was opened.

        The open wait begins at the first moment of the outage. So its end does not depend on when this check runs.
        """
        if self.state is not S.CLOSED:
            return False
        began_ns = self._in_flight.outage_began_ns(now_ns, self._window, least=self._min, in_a_row=self._in_a_row)
        if began_ns is not None:
            self._enter(S.OPEN, began_ns, "stalled")
        return began_ns is not None

    def _evaluate_stage(self, now_ns: int) -> None:
        """Decide about a stage whose time is over: open the breaker, or begin the next stage.

        The decision follows from the results so far. Calls that are slow and still in flight count as slow. Without any
        result there are two cases. If no call is in flight, the next stage begins. If calls are in flight, the present
        stage goes on, because a vendor that hangs gives no results.
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

    def _end_permit(self, permit: Permit) -> bool:
        """End the permit, and return True if the result of its call counts.

        Only the first result of a permit can count. If that result is late, it counts only if the settings count late
        results.
        """
        if permit.ended:
            return False
        permit.ended = True
        self._in_flight.end(permit)
        return permit.generation == self.generation or self.config.late is Late.COUNT

    def _give_back(self) -> None:
        if self.state is S.HALF_OPEN:
            self._probes.give_back()
