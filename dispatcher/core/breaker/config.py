"""The settings of a breaker with their checks, and the length of an open wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000


class BreakerState(str, Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Late(str, Enum):
    """The treatment of a result whose permit was granted before the breaker's last change of state (an earlier
    generation).

    DROP ignores the result, and COUNT counts it. COUNT is only for comparing the breaker with resilience4j, which
    counts such results.
    """

    DROP = "drop"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """The settings of one breaker. A threshold is a percentage, and is reached if the value is equal to it or higher.

    A call is slow if it took longer than `slow_ns`. The defaults are ours. The method `resilience4j` returns settings
    with which the breaker behaves as the library resilience4j does. A wrong value raises a ValueError that names the
    field and the rule.
    """

    window_type: str = "TIME"  # TIME: size in seconds; COUNT: size in calls
    window_size: int = 10
    min_calls: int = 20
    failure_rate: float = 50.0
    slow_rate: float = 80.0
    slow_ns: int = 5 * SECOND_NS
    open_wait_ms: int = 5_000
    open_wait_multiplier: float = 2.0
    open_wait_ms_max: int = 300_000
    open_wait_jitter: float = 0.5
    half_open_calls: int = 5
    half_open_min_calls: int | None = None  # None: min(min_calls, half_open_calls), as in the original
    half_open_max_wait_ms: int = 30_000  # 0: no limit
    half_open_max_wait_to: BreakerState = BreakerState.OPEN
    auto_half_open: bool = True
    initial: BreakerState = BreakerState.CLOSED
    late: Late = Late.DROP
    consecutive_failures: int = 10  # 0: off
    probe_lease_ms: int = 15_000  # 0: off; 1.5 × the default call time-out
    stall_detection: bool = True  # a call in flight for longer than `slow_ns` counts before its time-out
    early_verdict: bool = True  # half-open opens as soon as further successes cannot prevent it
    attempts_decay_ms: int = 60_000  # so long in closed forgets one opening; 0: closing forgets all at once
    probe_grants: int = 4  # a stage grants its permits at most this often, given-back ones too; 0: no limit
    idle_half_open_stays: bool = True  # without calls nothing failed: an idle night must not lengthen the wait
    few_probes_decide: bool = True  # at the end of their time the answered probes decide, unless a call is unanswered
    ramp: tuple[float, ...] = (0.05, 0.25, 0.5)  # shares of the former rate between the probes and closed; (): none
    ramp_calls: int = 10  # results that a ramp stage needs for its verdict
    ramp_max_wait_ms: int = 3_000  # after this time a ramp stage decides by the results it has

    def __post_init__(self) -> None:
        for name in ("window_size", "min_calls", "half_open_calls", "open_wait_ms", "slow_ns"):
            _require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("failure_rate", "slow_rate"):
            _require(0 < getattr(self, name) <= 100, name, "must be in (0, 100]")
        for name in ("half_open_max_wait_ms", "consecutive_failures", "probe_lease_ms", "probe_grants"):
            _require(getattr(self, name) >= 0, name, "must be at least 0")
        _require(self.window_type in ("TIME", "COUNT"), "window_type", "must be TIME or COUNT")
        _require(self.open_wait_multiplier >= 1, "open_wait_multiplier", "must be at least 1")
        _require(0 <= self.open_wait_jitter <= 1, "open_wait_jitter", "must be in [0, 1]")
        _require(self.open_wait_ms_max >= self.open_wait_ms, "open_wait_ms_max", "must be at least open_wait_ms")
        least = self.half_open_min_calls
        _require(
            least is None or 1 <= least <= self.half_open_calls, "half_open_min_calls", "must be in 1..half_open_calls"
        )
        _require(self.attempts_decay_ms >= 0, "attempts_decay_ms", "must be at least 0")
        for name in ("ramp_max_wait_ms", "ramp_calls"):  # a stage that waits again for no time would never end
            _require(getattr(self, name) >= 1, name, "must be at least 1")
        _require(all(0 < share < 1 for share in self.ramp), "ramp", "must be shares between 0 and 1")
        to = self.half_open_max_wait_to
        _require(to in (BreakerState.OPEN, BreakerState.CLOSED), "half_open_max_wait_to", "must be open or closed")

    @property
    def min_calls_effective(self) -> int:
        return min(self.min_calls, self.window_size) if self.window_type == "COUNT" else self.min_calls

    @property
    def half_open_min_effective(self) -> int:
        if self.half_open_min_calls is not None:
            return self.half_open_min_calls
        return min(self.min_calls, self.half_open_calls)

    def open_wait_ns(self, attempts: int, chance: float) -> int:
        """Return how long the breaker waits, in nanoseconds, after it has opened for the time number `attempts` (at
        least 1).

        The wait grows with each opening, up to `open_wait_ms_max`. Jitter shortens the wait by a part that `chance`
        decides. Each step truncates to whole milliseconds, as resilience4j does. The loop stops at the maximum or when
        the wait no longer grows, so a high `attempts` such as 10,000 takes no longer to compute than 10.
        """
        wait = self.open_wait_ms
        for _ in range(attempts - 1):
            longer = int(min(wait * self.open_wait_multiplier, self.open_wait_ms_max))
            if longer == wait or wait >= self.open_wait_ms_max:
                break
            wait = longer
        return max(MS_NS, int(wait * MS_NS * (1 - self.open_wait_jitter * chance)))


def _require(met: bool, field: str, rule: str) -> None:
    if not met:
        raise ValueError(f"{field}: {rule}")
