"""The memory of former openings. A breaker that opens again and again waits longer each time."""

from __future__ import annotations

from dispatcher.core.breaker.config import MS_NS, BreakerConfig, BreakerState

S = BreakerState


class Openings:
    """How many openings count, and when the breaker last closed.

    For each `attempts_decay_ms` in which the breaker stays closed, one opening is forgotten. If that setting is 0, all
    openings are forgotten when the breaker closes.
    """

    def __init__(self, config: BreakerConfig, now_ns: int) -> None:
        self._decay_ns = config.attempts_decay_ms * MS_NS
        self.count = 1 if config.initial in (S.OPEN, S.FORCED_OPEN, S.HALF_OPEN) else 0
        self.closed_ns = now_ns

    def note(self, before: BreakerState, to: BreakerState, now_ns: int, *, reset: bool, timed: bool) -> None:
        """Note the transition from `before` to `to`. An opening makes the next wait longer.

        `reset` is True if an operator wants a fresh breaker, without former openings. `timed` is True if the caller has
        set the length of the open wait. Such an opening does not make later waits longer.
        """
        if before is S.CLOSED and self._decay_ns:
            self.count = max(0, self.count - (now_ns - self.closed_ns) // self._decay_ns)
        if to is S.CLOSED and self._decay_ns and not reset:
            self.closed_ns = now_ns
        elif to in (S.CLOSED, S.METRICS_ONLY, S.DISABLED):
            self.count = 0
        elif to is S.FORCED_OPEN or (to is S.OPEN and not timed):
            self.count += 1
