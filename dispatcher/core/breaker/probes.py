"""The permits of one half-open stage: how many probes it may still grant, and whether every probe was answered."""

from __future__ import annotations

from dispatcher.core.breaker.config import BreakerConfig


class Probes:
    """The permits for the probes of the present half-open stage.

    If the result of a probe is not counted, its permit is given back and can be granted to another probe. So that this
    does not go on forever, the number of grants has a limit of its own.
    """

    def __init__(self, config: BreakerConfig) -> None:
        bounded = config.probe_grants > 0 and config.half_open_max_wait_ms > 0
        self._calls = config.half_open_calls
        self._grants_max = config.probe_grants * config.half_open_calls if bounded else None
        self._permits = self._granted = 0

    def begin(self) -> None:
        """Begin a half-open stage: no probe was granted yet, and all permits of the stage are free."""
        self._permits, self._granted = self._calls, 0

    def left(self) -> bool:
        """Return True if the stage may grant another probe."""
        return self._permits > 0 and (self._grants_max is None or self._granted < self._grants_max)

    def grant(self) -> None:
        self._permits -= 1
        self._granted += 1

    def give_back(self) -> None:
        """Take back the permit of a probe that had no result."""
        self._permits += 1

    def unused(self) -> bool:
        """Return True if no permit of the stage is in use, because none was granted or all were given back."""
        return self._permits == self._calls

    def answered(self, counted: int) -> bool:
        """Return True if there were probes and each of them had a result. `counted` is the number of results."""
        return 0 < counted == self._calls - self._permits
