"""Status look-up: we ask a vendor whether it has a message whose outcome is unknown.

Rules:

1. Only a held notification is looked up, and only at the vendor that its start mark names, because that vendor was
   called.
2. A message is recognised by recipient, text and time. A message counts only if the vendor created it between the start
   mark and the end of the call, plus or minus `MARGIN_MS`. If the vendor tells the present time, its times are
   corrected by the difference to the store's clock.
3. A wrong match is worse than no match. So there is no verdict if two messages match, if the list may be incomplete, or
   if the notification has a twin. A twin is another notification with the same recipient and text, which started so
   soon before or after that the two windows of time overlap.
4. If the vendor has delivered the message or is still sending it, the notification is settled. If the vendor gave the
   message up, the notification becomes a dead letter, as after a receipt. "Not found" proves nothing, because the
   vendor may be late. Then the notification stays held, and the vendor is asked again, less and less often, until the
   deadline.
5. A look-up never changes the breaker.
6. If there are several cells (`core.cells`), nothing is looked up, because a twin is found only in its own cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MARGIN_MS = 3000
"""The allowed difference between the two clocks, in milliseconds.

A vendor tells the creation and the present in whole seconds, which explains 2 s. The rest is for the network.
"""

AGAIN_S, AGAIN_S_MAX = 2.0, 300.0
"""The wait after the first look-up and the longest wait, in seconds.

An hour of waiting then has about twenty look-ups.
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message that the vendor has for the recipient. `at_ms` is when the vendor created it, by the vendor's clock.

    `carried` is True if the message has gone out or will go out, and False if the vendor gave it up. None stands for a
    status that we do not know.
    """

    message_id: str
    text: str
    at_ms: int
    carried: bool | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The vendor's answer to a look-up. `more` is True if the vendor has older messages that it did not list.

    `vendor_ms` is the vendor's clock in wall milliseconds, or None if the vendor did not tell the time.
    """

    sightings: Sequence[Sighting]
    vendor_ms: int | None
    more: bool


class Window(NamedTuple):
    """The time in which the vendor can have created the message, in milliseconds of the store's clock."""

    from_ms: int
    to_ms: int


class Verdict(NamedTuple):
    """The result of a look-up. `answer` is found, undelivered, not_found, ambiguous or unknown.

    `message_id` is the vendor's id of the message if the answer is found or undelivered, and otherwise empty.
    """

    answer: str
    message_id: str = ""


class Fingerprint(NamedTuple):
    """A value that is equal for messages with the same recipient and text.

    Two notifications with equal fingerprints that start within `ttl_ms` milliseconds are twins.
    """

    key: str
    ttl_ms: int


def window_of(started_ms: int, timeout_s: float) -> Window:
    return Window(started_ms - MARGIN_MS, started_ms + int(timeout_s * 1000) + MARGIN_MS)


def fingerprint(to: str, text: str, timeout_s: float) -> Fingerprint:
    """Return the fingerprint of a message. Messages with the same recipient and text have the same fingerprint.

    Its `ttl_ms` is the length of the time in which the vendor may create the message. If two notifications with one
    fingerprint start further apart than this, a look-up can tell which of the two messages it has found. The
    fingerprint does not depend on the vendor, because two configured vendors may be the same account.
    """
    window = window_of(0, timeout_s)
    text_hash = hashlib.sha256(json.dumps([to, text]).encode()).hexdigest()[:32]
    return Fingerprint(text_hash, window.to_ms - window.from_ms)


def identify(listing: Listing, text: str, window: Window, now_ms: int) -> Verdict:
    """Return what the vendor's list says about the message with this text.

    `now_ms` is the store's time when the vendor's answer came. The answer has the vendor's own time, so the difference
    of the two clocks is known. All times in the list are corrected by it.
    """
    ahead_ms = 0 if listing.vendor_ms is None else listing.vendor_ms - now_ms
    times = [one.at_ms - ahead_ms for one in listing.sightings]
    alike = [
        one
        for one, at_ms in zip(listing.sightings, times, strict=True)
        if one.text == text and window.from_ms <= at_ms <= window.to_ms
    ]
    if len(alike) > 1:
        return Verdict("ambiguous")
    if listing.more and not any(at_ms < window.from_ms for at_ms in times):
        return Verdict("unknown")
    if not alike:
        return Verdict("not_found")
    (one,) = alike
    if one.carried is None:
        return Verdict("unknown")
    return Verdict("found" if one.carried else "undelivered", one.message_id)


def decide_look_up(verdict: Verdict) -> tuple[str, str] | None:
    """Return the state in which a held notification ends, and the reason. Return None if it stays held."""
    match verdict.answer:
        case "found":
            return "settled", f"look_up: {verdict.message_id}"
        case "undelivered":
            return "dead", "undelivered"
    return None


def again_s(looks: int) -> float:
    """Return the wait in seconds before the next look-up, if `looks` (at least 1) look-ups were made."""
    return min(AGAIN_S_MAX, AGAIN_S * 2.0 ** min(looks - 1, 20))
