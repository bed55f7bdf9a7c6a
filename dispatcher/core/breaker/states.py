"""The states of a breaker: what begins with each state, and which part of it outlives the process.

The module `breaker` adds the evidence: the calls, their results, and the transitions that follow from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dispatcher.core.breaker.config import MS_NS, BreakerConfig, BreakerState
from dispatcher.core.breaker.in_flight import InFlight
from dispatcher.core.breaker.openings import Openings
from dispatcher.core.breaker.probes import Probes
from dispatcher.core.breaker.values import (
    BreakerEvent,
    BreakerMetrics,
    BreakerSnapshot,
    EventKind,
)
from dispatcher.core.breaker.window import CountWindow, EmptyWindow, TimeWindow, Window, window_of

S = BreakerState


class BreakerStates:
    """The present state of a breaker, its window and its timer. Each new state is a new generation."""

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
        """Continue from the snapshot `was` of an earlier breaker. The snapshot was made `age_ns` ago.

        A new generation begins, so results of earlier permits count no longer. A breaker that was open waits for the
        rest of its time. A breaker that was half open begins its present stage of recovery again, with all permits of
        the stage.
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
        """Return the share of its former traffic that the vendor may have in the present stage of recovery.

        Return None if there is no such stage: the vendor is being probed, or the breaker is not half-open.
        """
        return self.config.ramp[self._stage - 1] if self._stage else None

    def drain_events(self) -> list[BreakerEvent]:
        """Return the events since the previous call, in the order in which they happened."""
        events, self._events = self._events, []
        return events

    # ---- transitions

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
        """Enter the state `to`. This begins a new generation, so late results of earlier states can be told apart.

        `duration_ns` is the open wait; None means the configured wait. The new state begins with an empty window. Only
        an open breaker keeps its window, which has the results that opened it.
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

    def _next_stage(self, now_ns: int) -> None:
        """Enter the next stage of recovery, with a larger share of traffic. If the present stage was the last one,
        close the breaker.
        """
        if self._stage >= len(self.config.ramp):
            self._enter(S.CLOSED, now_ns, "recovered" if self._stage else "probes succeeded")
            return
        stage = self._stage + 1
        self._enter(S.HALF_OPEN, now_ns, "")
        self._begin_stage(stage, now_ns)

    def _emit(self, kind: EventKind) -> None:
        if self.state not in (S.DISABLED, S.FORCED_OPEN):
            self._events.append(BreakerEvent(kind))
