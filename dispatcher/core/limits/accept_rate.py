"""The limit on how many triggers of a tenant are accepted. It is a token bucket in one number (GCRA, ITU-T I.371).

Imagine the granted triggers in a queue that takes `1 / per_s` seconds for each. The number is the time at which the
queue is empty. A trigger is granted if the queue, with this trigger, is empty at most `burst / per_s` seconds from now.
`adapters/redis/scripts/_rate.lua` computes the same within the accept script. So all intake replicas share one bucket,
and no accept needs another round trip.

Guarantee: in any period of t seconds at most `burst + per_s × t` triggers are granted, over all replicas. At the
highest rate, rounding adds at most a tenth of a trigger. While a changed configuration is applied, replicas with the
old and the new rate share the bucket. A store clock that is set back grants no extra trigger and does not block a
tenant: the bucket is then empty, and fills at its rate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ROUNDING_MS = 0.001
"""The tolerance in milliseconds when a sum is compared with a whole trigger's time.

The number is stored with three decimals, so a sum may be too small by this much.
"""


class AcceptRate(NamedTuple):
    """A tenant's limit: triggers a second, and how many may come at once after a pause."""

    per_s: float
    burst: int

    @property
    def each_ms(self) -> float:
        return 1000 / self.per_s

    @property
    def window_s(self) -> int:
        """Return the seconds in which an empty bucket becomes full again, rounded up, at least 1."""
        return max(1, math.ceil(self.burst / self.per_s - 1e-6))


class Quota(NamedTuple):
    """How much a tenant may still send after one trigger.

    The tenant may send `left` more triggers at once. After `next_ms` milliseconds the next trigger is allowed in any
    case, and after `full_ms` milliseconds a whole burst.
    """

    left: int
    next_ms: int
    full_ms: int


def grant(rate: AcceptRate, paid_ms: float, now_ms: int) -> tuple[bool, float, Quota]:
    """Return three things: whether a trigger is granted now, the new `paid_ms`, and the quota.

    `paid_ms` is the one number that is stored for a tenant: the wall time in milliseconds at which the imagined queue
    of its granted triggers is empty. The caller stores the new value even after a refusal. The old value may be too far
    in the future, because it comes from a slower rate or from a clock that was ahead. The new value corrects it.
    """
    span_ms = rate.burst * rate.each_ms
    debt_ms = min(max(paid_ms - now_ms, 0.0), span_ms)  # small numbers: sums with a time of day would be inexact
    room = math.floor((span_ms - debt_ms + ROUNDING_MS) / rate.each_ms)
    granted = room >= 1
    if granted:
        debt_ms, room = debt_ms + rate.each_ms, room - 1
    next_ms = 0 if room >= 1 else max(1, math.ceil(debt_ms + rate.each_ms - span_ms - ROUNDING_MS))
    return granted, now_ms + debt_ms, Quota(room, next_ms, math.ceil(debt_ms - ROUNDING_MS))
