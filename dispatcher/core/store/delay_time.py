"""Delay time, the clock by which the ends of waits are stored. It is the store's clock, except that it never goes back.

A store's wall clock may jump: an operator sets it, NTP steps, a fail-over leads to a machine with another time. If the
clock went back by an hour, a wait of a second would last an hour. So the ends of waits (retries, held) are dated by
*delay time*: the store's wall clock plus the sum of all its steps back. The store keeps this sum (scripts/_delay.lua).

Rules:

1. Delay time advances at least as fast as the monotonic clock of each reader. A reader that sees a smaller advance has
   found a step back. The reader sets delay time forward to the least possible value. Every reader may do so, because
   that only raises delay time.
2. The expected advance is counted from the arrival of one answer to the sending of the next question. So a slow network
   or reader can hide a step, but never cause a false one.
3. A difference of up to `SLACK_MS` is no step, because clocks drift. Each reading is the base of the next expectation.
4. The store keeps the delay time at which it last stored a wait. If everything restarts, no process has a reading.
   Delay time is then that kept time or later. So no wait begins again, and a wait gets longer at most by the time in
   which nothing ran.
5. Steps forward are not corrected, so waits may end early. A clock that is corrected cannot be told from a wrong one.
   If steps forward were corrected, a process that slept would delay every other process.

Absolute times (`send_at`, expiry) follow the wall clock, whatever it says.
"""

from __future__ import annotations

SLACK_MS = 250


class DelayTime:
    """Remembers what one process knows about the store's delay time, the clock that never goes back."""

    def __init__(self) -> None:
        self._known: tuple[int, float] | None = None

    def correction(self, at_ms: int, dated_ms: int, asked_s: float, answered_s: float) -> int | None:
        """Return the value to which delay time must be raised, or None if the store's value is right.

        If the result is None, the next call expects `at_ms` plus the time that has passed until then.

        Args:
            at_ms: delay time as the store has it.
            dated_ms: the delay time at which the store last stored a wait; 0 if there never was a wait.
            asked_s: monotonic time before the question.
            answered_s: monotonic time after the answer.
        """
        least_ms = dated_ms
        if self._known is not None:
            known_ms, known_s = self._known
            least_ms = max(least_ms, known_ms + int((asked_s - known_s) * 1000))
        if at_ms < least_ms - SLACK_MS:
            return least_ms
        self._known = at_ms, answered_s
        return None
