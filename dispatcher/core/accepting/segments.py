"""The limits on the segments of an SMS, which are checked before it is stored.

Rules:

1. An event may have a limit, `events.NAME.segments_max`. A longer text is refused.
2. Each vendor has a limit, `vendors.NAME.segments_max`. If the text needs more, the vendor is left out of the chain of
   this message. Such a vendor would refuse the message, or send it at a price that nobody agreed to.
3. If no vendor is left, the text is refused. The error names the highest limit of the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.life.sms_text import SmsSize, needs
from dispatcher.errors import CallerError


@dataclass(frozen=True, slots=True)
class EventLimit:
    """The most segments that an SMS of `event` may have."""

    event: str
    segments_max: int


def able_vendors(
    chain: tuple[str, ...], size: SmsSize, vendors_max: Mapping[str, int], event: EventLimit | None, *, field: str
) -> tuple[str, ...]:
    """Return the vendors of the chain that may send a text of this size, at least one.

    Args:
        vendors_max: the most segments that each vendor of the chain may send.
        field: the field of the request from which the text comes. The error names it.

    Raises CallerError (422), which names the limit, if the event or every vendor allows fewer segments than the text
    needs.
    """
    if event is not None and size.segments > event.segments_max:
        raise _too_long(field, size, event.segments_max, f"events.{event.event}.segments_max")
    able = tuple(name for name in chain if size.segments <= vendors_max[name])
    if able:
        return able
    widest = max(chain, key=vendors_max.__getitem__)
    raise _too_long(field, size, vendors_max[widest], f"vendors.{widest}.segments_max")


def _too_long(field: str, size: SmsSize, most: int, limit: str) -> CallerError:
    return CallerError(field, f"{needs(size, most)}. The limit is {limit}")
