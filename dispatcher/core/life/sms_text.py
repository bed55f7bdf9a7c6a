"""The text of an SMS: how it is encoded, how many segments it costs, and which characters are forbidden.

If all characters are in the GSM 7-bit tables, a text of up to 160 septets fits into one segment. In a longer text, each
segment has room for 153 septets. A single character outside these tables makes the whole text UCS-2. Then the two
limits are 70 and 67 units of two bytes. A character of the extension table costs two septets. No character is split
between segments. Sources: 3GPP TS 23.038, section 6.2.1; TS 23.040, section 9.2.3.24.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SEGMENTS_MAX = 10
"""The default limit. It allows 1,530 characters of GSM or 670 of UCS-2. Twilio refuses more than 1,600 characters."""

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")

_FORBIDDEN = re.compile("[\x80-\x9f\u202d\u202e]")
"""The forbidden characters: C1 controls and bidirectional overrides.

C1 controls mostly come from text that was read in a wrong encoding. Overrides make a text look different from what it
is.
"""


@dataclass(frozen=True, slots=True)
class SmsSize:
    """The encoding of a text and the number of segments that it costs. Even an empty text costs one segment."""

    encoding: Literal["gsm", "ucs2"]
    segments: int


def measure(text: str) -> SmsSize:
    """Return how `text` is encoded as an SMS and how many segments it costs."""
    characters = frozenset(text)
    if characters <= BASIC:
        return SmsSize("gsm", _segments([1] * len(text), 160, 153))
    if characters <= BASIC | EXTENSION:
        return SmsSize("gsm", _segments((2 if character in EXTENSION else 1 for character in text), 160, 153))
    return SmsSize("ucs2", _segments((2 if ord(character) > 0xFFFF else 1 for character in text), 70, 67))


def forbidden(text: str) -> str | None:
    """Return the text of the rule about characters that `text` breaks as an SMS, or None if it breaks none."""
    if _FORBIDDEN.search(text):
        return "must not contain control characters or bidirectional overrides in an SMS"
    return None


def needs(size: SmsSize, segments_max: int) -> str:
    """Return the text of the rule that a too long SMS breaks: how many segments are allowed, and how many a text of
    this size needs.
    """
    return f"must fit in {segments_max} segments of an SMS; it needs {size.segments} ({size.encoding})"


def refuse_sms(text: str, size: SmsSize, segments_max: int) -> str | None:
    """Return the text of a rule that `text` breaks as an SMS of at most `segments_max` segments.

    None means that `text` breaks no rule. `size` is the size of `text`.
    """
    return forbidden(text) or (needs(size, segments_max) if size.segments > segments_max else None)


def _segments(costs: Iterable[int], alone: int, each: int) -> int:
    costs = list(costs)
    if sum(costs) <= alone:
        return 1
    segments, used = 1, 0
    for cost in costs:
        if used + cost > each:
            segments, used = segments + 1, 0
        used += cost
    return segments
