"""Makes calls of one vendor that has a breaker of its own and one breaker for each country, for the tests."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import SECOND_NS, BreakerConfig, BreakerState
from dispatcher.core.breaker.per_country import KeyedBreakers
from dispatcher.core.breaker.values import BreakerResult, Permit

MS = 1_000_000
CONFIG = BreakerConfig()
OK, FAIL, LOCAL = BreakerResult.SUCCESS, BreakerResult.FAILURE, BreakerResult.LOCAL


class Calls:
    """A vendor's breaker with its breakers for countries, and a clock that the test moves. Each call takes 10 ms."""

    def __init__(self, config: BreakerConfig = CONFIG) -> None:
        self.now_ns = SECOND_NS
        self.parent = Breaker(config, self.now_ns)
        self.keys = KeyedBreakers(self.parent)

    def call(self, key: str, result: BreakerResult) -> bool:
        permit = self.keys.acquire(key, self.now_ns)
        self.now_ns += 10 * MS
        if not isinstance(permit, Permit):
            return False
        self.keys.record(permit, result, 10 * MS, self.now_ns)
        self.keys.tick(self.now_ns)
        return True

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)
        self.keys.tick(self.now_ns)

    def cut_off(self) -> dict[str, str]:
        """Return the state of each country that is cut off, by its key."""
        return {key: found.state.value for key, found in self.keys.cut_off(self.now_ns).items()}

    def until_open(
        self, key_of: Callable[[int], str], result_of: Callable[[str], BreakerResult], most: int = 500
    ) -> int:
        """Make calls until the vendor's own breaker opens. Return how many calls that took."""
        for n in range(most):
            if self.parent.state is not BreakerState.CLOSED:
                return n
            self.call(key_of(n), result_of(key_of(n)))
        raise AssertionError("it never opened")


def let_pass(calls: Calls, seconds: float) -> None:
    calls.now_ns += int(seconds * SECOND_NS)
