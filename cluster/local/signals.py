"""Notes the signals that `dispatcher up` receives, and says what they ask for."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGINT)

APART_S = 1.0
"""Two ending signals within this many seconds count as one, as a terminal and `uv run` may each send one."""


class StopAskedError(BaseException):
    """Raised when SIGTERM or SIGINT comes while the service is starting."""


class Signals:
    """The signals that this process has received so far.

    While `starting` is True, the first SIGTERM or SIGINT raises StopAskedError at once. `now_s` is a monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.starting = True
        self._now_s, self._last_s = now_s, float("-inf")
        self._ending: list[int] = []
        self._reload = False

    def catch(self) -> None:
        """Set the handlers of SIGTERM, SIGINT and SIGHUP."""
        for number in (*ENDING, signal.SIGHUP):
            signal.signal(number, self.note)

    def note(self, number: int, _: Any = None) -> None:
        """Note one signal. Raises StopAskedError for the first SIGTERM or SIGINT while `starting` is True."""
        if number not in ENDING:
            self._reload = True
            return
        now_s = self._now_s()
        if now_s - self._last_s < APART_S:
            return
        self._last_s = now_s
        self._ending.append(number)
        if self.starting and len(self._ending) == 1:
            raise StopAskedError

    @property
    def stop(self) -> bool:
        """True once SIGTERM or SIGINT was received."""
        return bool(self._ending)

    @property
    def quietly(self) -> bool:
        """Return True if callers should be told about the stop before it begins, which is so after a single SIGTERM.

        After Ctrl-C or a second signal the result is False.
        """
        return self._ending == [signal.SIGTERM]

    @property
    def at_once(self) -> bool:
        """Return True once a second SIGTERM or SIGINT was received. The stop then waits for no drain."""
        return len(self._ending) > 1

    def reload_asked(self) -> bool:
        """Return True if SIGHUP was received since the last call."""
        asked, self._reload = self._reload, False
        return asked
