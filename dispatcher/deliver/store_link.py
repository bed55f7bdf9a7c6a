"""How long the store has been silent, and so whether this incarnation may have been declared dead."""

from __future__ import annotations

from dispatcher.ports import Clock

LINK_STALE_S = 1.0
"""After this long without an answer of the store, this incarnation may be declared dead.

It sends nothing until the store confirms that it is live.
"""


class StoreLink:
    """One incarnation's link to the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last_reply_s = clock.now_s()
        self._doubted = False  # an answer came so late that this incarnation may be dead anyway

    def replied(self) -> None:
        """Note an answer of the store. After a long silence the answer proves nothing.

        A process that slept finds an old answer in its socket when it wakes.
        """
        now_s = self._clock.now_s()
        self._doubted = self._doubted or now_s - self.last_reply_s > LINK_STALE_S
        self.last_reply_s = now_s

    def renewed(self, asked_s: float) -> None:
        """Note that the store called this incarnation live, in its answer to a question at `asked_s`."""
        self._doubted, self.last_reply_s = False, asked_s

    def stale(self) -> bool:
        """Return True if the store was silent so long that this incarnation may be declared dead."""
        return self._doubted or self._clock.now_s() - self.last_reply_s > LINK_STALE_S

    def stale_in_s(self) -> float:
        """Return after how many seconds `stale` becomes true, if the store stays silent."""
        return 0.0 if self._doubted else max(0.0, self.last_reply_s + LINK_STALE_S - self._clock.now_s())
