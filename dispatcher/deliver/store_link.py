"""Measures for how long the store has not answered. After a long silence the supervisor may have declared this
incarnation dead.
"""

from __future__ import annotations

from dispatcher.ports import Clock

LINK_STALE_S = 1.0
"""The time in seconds without an answer of the store after which this incarnation may be declared dead.

The incarnation then sends nothing until the store confirms that the incarnation is live.
"""


class StoreLink:
    """The link of one incarnation to the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last_reply_s = clock.now_s()
        self._doubted = False  # an answer came so late that this incarnation may be dead anyway

    def replied(self) -> None:
        """Note an answer of the store. If the store was silent for longer than `LINK_STALE_S` before this answer, the
        link counts as stale from now on.

        A process that was suspended may find an old answer in its socket when it continues. So an answer after a long
        silence proves nothing. Only a call of `renewed` makes the link fresh again.
        """
        now_s = self._clock.now_s()
        self._doubted = self._doubted or now_s - self.last_reply_s > LINK_STALE_S
        self.last_reply_s = now_s

    def renewed(self, asked_s: float) -> None:
        """Note that the store said, in an answer, that this incarnation is live.

        `asked_s` is the monotonic time at which the store was asked.
        """
        self._doubted, self.last_reply_s = False, asked_s

    def stale(self) -> bool:
        """Return True if the store has not answered for so long that this incarnation may have been declared dead."""
        return self._doubted or self._clock.now_s() - self.last_reply_s > LINK_STALE_S

    def stale_in_s(self) -> float:
        """Return in how many seconds `stale` becomes True if the store stays silent. Return 0 if `stale` is True
        already.

        `stale` means that the supervisor may have declared this incarnation dead.
        """
        return 0.0 if self._doubted else max(0.0, self.last_reply_s + LINK_STALE_S - self._clock.now_s())
