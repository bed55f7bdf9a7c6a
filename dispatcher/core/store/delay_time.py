"""Delay time, by which waits are dated: the store's clock, except that it is never set back.

A store's wall clock may jump: an operator sets it, NTP steps, a fail-over leads to a machine with another time. A wait
of a second would then last for as long as the clock went back. So waits (retries, held) are dated by *delay time*: the
store's wall clock plus the sum of all steps back. The store keeps this sum (scripts/_delay.lua).

Rules:

1. Delay time advances at least as fast as the monotonic clock of each reader. A reader that sees less has found a step,
   and sets delay time forward to the least that it must be. Every reader may do so: delay time only rises by it.
2. The expected advance is counted from the arrival of one answer to the sending of the next question. So a slow network
   or reader can only hide a step, never invent one.
3. A difference of up to `SLACK_MS` is no step, because slewed clocks drift. Each reading is the next expectation.
4. A process without a reading knows the last time at which a wait was dated. After a restart of everything, no process
   has a reading. Delay time is then that time or later: no wait begins again, and a wait gets longer by no more than
   the standstill.
5. Forward steps are not undone, so waits may end early. A corrected clock looks like a wrong one, and a process that
   slept would delay every other process.

Absolute times (`send_at`, expiry) follow the wall clock, whatever it says.
"""

from __future__ import annotations

SLACK_MS = 250


class DelayTime:
    """One process's knowledge of the store's delay time."""

    def __init__(self) -> None:
        self._known: tuple[int, float] | None = None

    def correction(self, at_ms: int, dated_ms: int, asked_s: float, answered_s: float) -> int | None:
        """Return the least value that delay time must have, if the store's is lower.

        None means that the store's value is right. It is then the next expectation.

        Args:
            at_ms: delay time as the store has it.
            dated_ms: the time at which the last wait was dated, by delay time; 0 if there never was a wait.
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
