"""By what waits are dated: the store's clock, but never set back.

A store's wall clock may jump: an operator, NTP that steps, a fail-over to a machine with another time. What was to wait
for a second would then wait for as long as the clock went back. So waits (retries, held) are dated by *delay time*: the
store's wall clock plus what it was ever set back by, a number that the store keeps (scripts/_delay.lua).

Rules:

1. Delay time goes on at least as fast as the monotonic clock of anyone who knows it. Whoever reads less has found a
   step, and has delay time set forward to what it must be. All may say so: "at least" only ever raises it.
2. What was read is counted from the moment the answer came, what is read next until the moment it was asked for: so
   slowness, of the way or of the reader, can only hide a step, never invent one.
3. `SLACK_MS` is no step: clocks that are slewed drift, and each reading is the new expectation.
4. Who has known nothing yet (everybody, after a restart of everything) has the last moment at which a wait was dated.
   Delay time then stands at it or later: no wait begins anew, none is longer than it was by more than the standstill.
5. Forward steps are not undone: waits then end early. Nobody can tell a clock that was put right from a wrong one, and
   a process that slept would hold everybody up.

Absolute times (`send_at`, expiry) follow the wall clock, whatever it says.
"""

from __future__ import annotations

SLACK_MS = 250


class DelayTime:
    """What one process knows of the store's delay time."""

    def __init__(self) -> None:
        self._known: tuple[int, float] | None = None

    def judge(self, at_ms: int, dated_ms: int, asked_s: float, answered_s: float) -> int | None:
        """The least that delay time must be, when the store's is below it; None: it holds, and is the new expectation.

        Args:
            at_ms: delay time as the store has it.
            dated_ms: when the last wait was dated, by delay time; 0: none ever.
            asked_s: monotonic, before the store was asked. `answered_s`: after it.
        """
        least_ms = dated_ms
        if self._known is not None:
            known_ms, known_s = self._known
            least_ms = max(least_ms, known_ms + int((asked_s - known_s) * 1000))
        if at_ms < least_ms - SLACK_MS:
            return least_ms
        self._known = at_ms, answered_s
        return None
