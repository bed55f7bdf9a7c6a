"""Status look-up: a vendor is asked whether it has a message whose outcome is unknown.

Rules:

1. Only a held notification is looked up, and only at the vendor of its start mark: that vendor was being called.
2. A message is recognised by recipient, text and time. The vendor created it between the start mark and the end of the
   call, plus or minus `MARGIN_MS`. The vendor's clock is corrected by the time that the vendor tells.
3. A wrong match is worse than none. There is no verdict if two messages match, if the list may not be whole, or if the
   notification has a twin: the same text to the same recipient, started so near that their times overlap.
4. If the vendor has delivered or carries the message, the notification is settled. If the vendor gave the message up,
   it is a dead letter, as with a receipt. "Not found" proves nothing, as the vendor may be late. The notification
   stays held, and the vendor is asked again, more and more rarely, until the deadline.
5. A look-up never changes the breaker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MARGIN_MS = 3000
"""Vendors tell two times in whole seconds (creation and now), which explains 2 s. The rest is for the network."""

AGAIN_S, AGAIN_S_MAX = 2.0, 300.0
"""The wait after the first look-up, and the longest wait. They give some twenty look-ups within a hold of an hour."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message that the vendor has for the recipient in question. `at_ms` is its creation by the vendor's clock.

    `carried` is True if the message has gone out or will go out, and False if the vendor gave it up. None stands for a
    status that we do not know.
    """

    message_id: str
    text: str
    at_ms: int
    carried: bool | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer of a vendor. `more` is True if it has older messages that it did not list.

    `vendor_ms` is the vendor's clock, or None if the vendor did not tell the time.
    """

    sightings: Sequence[Sighting]
    vendor_ms: int | None
    more: bool


class Window(NamedTuple):
    """The time in which the vendor can have created the message, by the store's clock."""

    from_ms: int
    to_ms: int


class Verdict(NamedTuple):
    """The result of a look-up. `answer` is found, undelivered, not_found, ambiguous or unknown."""

    answer: str
    message_id: str = ""


class Fingerprint(NamedTuple):
    """The fingerprint of a message. Two notifications with the same one, started within `ttl_ms`, are twins."""

    key: str
    ttl_ms: int


def window_of(started_ms: int, timeout_s: float) -> Window:
    return Window(started_ms - MARGIN_MS, started_ms + int(timeout_s * 1000) + MARGIN_MS)


def fingerprint(to: str, text: str, timeout_s: float) -> Fingerprint:
    """Return the fingerprint of a message. Its time to live is the length of one window, as nearer starts overlap.

    The vendor is not part of it: two configured vendors may be one account.
    """
    window = window_of(0, timeout_s)
    text_hash = hashlib.sha256(json.dumps([to, text]).encode()).hexdigest()[:32]
    return Fingerprint(text_hash, window.to_ms - window.from_ms)


def identify(listing: Listing, text: str, window: Window, now_ms: int) -> Verdict:
    """Return what a vendor's list says about the message `text`. `now_ms` is the answer's time by the store's clock."""
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
    """Return the end of a held notification and its reason, or None if it stays held."""
    match verdict.answer:
        case "found":
            return "settled", f"look_up: {verdict.message_id}"
        case "undelivered":
            return "dead", "undelivered"
    return None


def again_s(looks: int) -> float:
    """Return the seconds until the next look-up, after `looks` (>= 1) look-ups."""
    return min(AGAIN_S_MAX, AGAIN_S * 2.0 ** min(looks - 1, 20))
