"""Finds a loop that is stuck although its process still sends beats."""

from __future__ import annotations


class Progress:
    """Compares how much a loop has done at each look.

    The loop is stuck if, for `patience_s`, there was work at every look and none of it was done.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._done = -1
        self._since_s: float | None = None

    def look(self, done: int, could_work: bool, now_s: float) -> bool:
        """Return True if the loop is stuck. `done` counts everything that the loop has done so far.

        `could_work` is True if there is work that the loop could begin now.
        """
        if done != self._done or not could_work:
            self._done, self._since_s = done, None
        elif self._since_s is None:
            self._since_s = now_s
        return self._since_s is not None and now_s - self._since_s >= self._patience_s
