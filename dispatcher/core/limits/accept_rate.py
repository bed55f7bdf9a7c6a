"""Limits how many triggers of a tenant are accepted: a token bucket, kept as one number (GCRA, ITU-T I.371).

The number is the time at which everything that was granted is paid for, at `per_s`. A trigger is granted while the
bucket's `burst` reaches beyond that time. `adapters/redis/scripts/_rate.lua` does the same within the accept script. So
all intake replicas share one bucket, and no accept needs another round trip.

Guarantee: in any stretch of t seconds at most `burst + per_s × t` triggers are granted, over all replicas. At the
highest rate, rounding adds at most a tenth of a trigger. While a changed configuration is applied, replicas with the
former and with the new rate share the bucket. A store clock that is set back grants nothing by that, and locks nobody
out: the bucket is then empty, and fills at its rate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ROUNDING_MS = 0.001
"""A sum may be this much short of a whole trigger's time, because the number is stored with three decimals."""


class AcceptRate(NamedTuple):
    """A tenant's limit: triggers a second, and how many may come at once after a pause."""

    per_s: float
    burst: int

    @property
    def each_ms(self) -> float:
        return 1000 / self.per_s

    @property
    def window_s(self) -> int:
        """Return the seconds in which an empty bucket is full again, rounded up."""
        return max(1, math.ceil(self.burst / self.per_s - 1e-6))


class Quota(NamedTuple):
    """The quota behind one trigger: how many more may come now, and in how many ms the next may and all may."""

    left: int
    next_ms: int
    full_ms: int


def grant(rate: AcceptRate, paid_ms: float, now_ms: int) -> tuple[bool, float, Quota]:
    """Return whether a trigger is granted now, the time at which everything granted is paid for, and the quota.

    Keep that time also after a refusal: a kept time that is too far ahead (a slower rate, or a former clock) is
    corrected.
    """
    span_ms = rate.burst * rate.each_ms
    debt_ms = min(max(paid_ms - now_ms, 0.0), span_ms)  # small numbers: sums with a time of day would be inexact
    room = math.floor((span_ms - debt_ms + ROUNDING_MS) / rate.each_ms)
    granted = room >= 1
    if granted:
        debt_ms, room = debt_ms + rate.each_ms, room - 1
    next_ms = 0 if room >= 1 else max(1, math.ceil(debt_ms + rate.each_ms - span_ms - ROUNDING_MS))
    return granted, now_ms + debt_ms, Quota(room, next_ms, math.ceil(debt_ms - ROUNDING_MS))
