"""Quiet hours: a message waits for the end of the recipient's night.

Rules:

1. Quiet hours are clock times in the recipient's time zone, and may span midnight. The minute `begin` is quiet, the
   minute `end` is not.
2. A message that falls into quiet hours waits until they end on that night. No message is sent earlier than intended.
3. On a night when the clocks change, the end may be a clock time that is skipped. Then the message waits until the
   instant at which that time would have come without the change. If the clocks show the end twice, the message waits
   until the first of these two instants that is still to come.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


def after_quiet(at_ms: int, begin: time, end: time, zone: tzinfo) -> int:
    """Return the time at which a message may be sent that was to be sent at `at_ms`.

    This is `at_ms` if it is not in the quiet hours from `begin` to `end`, and otherwise the end of the quiet hours, at
    most 25 h later. `at_ms` and the result are milliseconds since 1970.
    """
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
    """Return the time zone with this IANA name, from the host's data or from `tzdata`.

    Raises ValueError if there is none, or if `name` is a file of the host beside the zones (`_NO_PLACE`).
    """
    try:
        if _NO_PLACE.match(name):
            raise ValueError
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # unknown; a folder such as "Europe"; no name at all
        raise ValueError("must be the name of a time zone, such as Europe/Berlin") from None


_NO_PLACE = re.compile(r"(?:localtime|posixrules|Factory)$|(?:posix|right)/")
"""Names that only some hosts have, or that name no place.

`localtime` is the host's own zone, and `Factory` stands for a zone that nobody has set (IANA, tz database, `factory`).
"""


def is_quiet(clock: time, begin: time, end: time) -> bool:
    """Return True if `clock` lies in the quiet hours. If `begin` and `end` are equal, there are no quiet hours."""
    if begin <= end:
        return begin <= clock < end
    return clock >= begin or clock < end
