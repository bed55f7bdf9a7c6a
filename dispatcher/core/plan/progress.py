"""Is a loop stuck that says of itself that it lives?"""

from __future__ import annotations


class Progress:
    """Told now and then how much was done and whether there was something to do; says when that is stuck.

    Stuck: at every look for `patience_s` there was work that could have been begun, and none of it was.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._done = -1
        self._since_s: float | None = None

    def look(self, done: int, could_work: bool, now_s: float) -> bool:
        """`done`: a count that grows with all that is done."""
        if done != self._done or not could_work:
            self._done, self._since_s = done, None
        elif self._since_s is None:
            self._since_s = now_s
        return self._since_s is not None and now_s - self._since_s >= self._patience_s
