"""Finds a loop that is stuck although its process still beats."""

from __future__ import annotations


class Progress:
    """Watches how much a loop has done, and whether it had work.

    The loop is stuck if at every look for `patience_s` there was work that it could have begun, and it did none of it.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._done = -1
        self._since_s: float | None = None

    def look(self, done: int, could_work: bool, now_s: float) -> bool:
        """Return True if the loop is stuck. `done` is a count that grows with everything that is done."""
        if done != self._done or not could_work:
            self._done, self._since_s = done, None
        elif self._since_s is None:
            self._since_s = now_s
        return self._since_s is not None and now_s - self._since_s >= self._patience_s
