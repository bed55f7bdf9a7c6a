"""The memory of former openings: a breaker that opens again and again waits longer each time."""

from __future__ import annotations

from dispatcher.core.breaker.config import MS_NS, BreakerConfig, BreakerState

S = BreakerState


class Openings:
    """The number of openings that count, and when the breaker last closed.

    A long time in closed forgets openings, one for each `attempts_decay_ms`. With 0, closing forgets them all.
    """

    def __init__(self, config: BreakerConfig, now_ns: int) -> None:
        self._decay_ns = config.attempts_decay_ms * MS_NS
        self.count = 1 if config.initial in (S.OPEN, S.FORCED_OPEN, S.HALF_OPEN) else 0
        self.closed_ns = now_ns

    def note(self, before: BreakerState, to: BreakerState, now_ns: int, *, reset: bool, timed: bool) -> None:
        """Note the transition from `before` to `to`.

        `reset` means that an operator wants a fresh breaker. `timed` means that somebody else set the length of the
        open wait; such an opening does not count.
        """
        if before is S.CLOSED and self._decay_ns:
            self.count = max(0, self.count - (now_ns - self.closed_ns) // self._decay_ns)
        if to is S.CLOSED and self._decay_ns and not reset:
            self.closed_ns = now_ns
        elif to in (S.CLOSED, S.METRICS_ONLY, S.DISABLED):
            self.count = 0
        elif to is S.FORCED_OPEN or (to is S.OPEN and not timed):
            self.count += 1
