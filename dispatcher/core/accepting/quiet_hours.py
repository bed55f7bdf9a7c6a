"""Quiet hours: a message waits for the end of the recipient's night.

Rules:

1. Quiet hours are clock times in the recipient's time zone, and may span midnight. `begin` is quiet, `end` is not.
2. A message that falls into quiet hours waits for their end on that night. Nothing is sent earlier than intended.
3. On nights with a clock change the instant counts. An end that does not exist is the instant at which it would have
   come. Of an end that comes twice, the next one counts.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


def after_quiet(at_ms: int, begin: time, end: time, zone: tzinfo) -> int:
    """Return `at_ms`, or if it falls into the quiet hours, their end, at most 25 h later. Both are ms since 1970."""
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    if not is_quiet(at.time(), begin, end):
        return at_ms
    day = at.date() + timedelta(days=int(begin > end and at.time() >= begin))
    for fold in (0, 1):
        over = datetime.combine(day, end, zone).replace(fold=fold)
        over_ms = int(over.astimezone(timezone.utc).timestamp() * 1000)
        if over_ms > at_ms:
            return over_ms
    return at_ms


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the time zone of this IANA name, by the host's data or `tzdata`. Raises ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # unknown; a folder such as "Europe"; no name at all
        raise ValueError("must be a time zone's name, such as Europe/Berlin") from None


def is_quiet(clock: time, begin: time, end: time) -> bool:
    """Return True if `clock` lies in the quiet hours. Equal `begin` and `end` mean no quiet hours at all."""
    if begin <= end:
        return begin <= clock < end
    return clock >= begin or clock < end
