"""Wraps a breaker with a clock of its own, for the tests of one breaker."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig, BreakerState
from dispatcher.core.breaker.values import BreakerMetrics, BreakerResult, Permit, Refused

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
    """A breaker with a clock of its own. `chance` gives one random value for each time that the breaker opens."""

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
