"""Status look-up: asking a vendor whether it has a message of which nobody knows.

Rules:

1. Only what is held is looked up, and only at the vendor that was being asked to send it: the start mark names it.
2. A message is recognised by recipient, text and time. It was made at the vendor between the start mark and the end of
   the call, give or take `MARGIN_MS`; the vendor's clock is corrected by what it says the time is.
3. A wrong match is worse than none. Two alike in that time, a list that may not be whole, or a twin of ours (the same
   text to the same recipient, started so near that their times overlap): no verdict.
4. Found and taken: settled. Found and given up by the vendor: a dead letter, as with a receipt. Not found means
   nothing, the vendor may be late: it stays held and is asked about again, ever more rarely, until its deadline.
5. A look-up never touches the breaker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MARGIN_MS = 3000
"""Vendors tell whole seconds, twice (when it was made, and what time it is); the rest is the way there."""

AGAIN_S, AGAIN_S_MAX = 2.0, 300.0
"""After the first look, and the most: some twenty looks within the hour of a hold."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message that the vendor has, of the one recipient asked about. `at_ms`: when it was made, by the vendor's
    clock. `taken`: it has gone out or will; False: the vendor gave it up; None: a word we do not know."""

    message_id: str
    text: str
    at_ms: int
    taken: bool | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a vendor answered. `vendor_ms`: its clock, None if it did not say. `more`: it has older ones, not shown."""

    sightings: Sequence[Sighting]
    vendor_ms: int | None
    more: bool


class Window(NamedTuple):
    """When the message can have been made, by the store's clock."""

    from_ms: int
    to_ms: int


class Verdict(NamedTuple):
    """`word`: found, undelivered, not_found, ambiguous or unknown."""

    word: str
    message_id: str = ""


class Fingerprint(NamedTuple):
    """Of a message: two notifications with the same one, started within `ttl_ms`, are twins."""

    key: str
    ttl_ms: int


def window_of(started_ms: int, timeout_s: float) -> Window:
    return Window(started_ms - MARGIN_MS, started_ms + int(timeout_s * 1000) + MARGIN_MS)


def fingerprint(to: str, text: str, timeout_s: float) -> Fingerprint:
    """Two windows overlap when their starts are nearer than one window is long. No vendor: two may be one account."""
    window = window_of(0, timeout_s)
    text_hash = hashlib.sha256(json.dumps([to, text]).encode()).hexdigest()[:32]
    return Fingerprint(text_hash, window.to_ms - window.from_ms)


def judge(listing: Listing, text: str, window: Window, now_ms: int) -> Verdict:
    """What a vendor's list says about the message of this text. `now_ms`: when it answered, by the store's clock."""
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
    if one.taken is None:
        return Verdict("unknown")
    return Verdict("found" if one.taken else "undelivered", one.message_id)


def decide_look_up(verdict: Verdict) -> tuple[str, str] | None:
    """The end of a held notification and its reason; None: it stays held."""
    match verdict.word:
        case "found":
            return "settled", f"look_up: {verdict.message_id}"
        case "undelivered":
            return "dead", "undelivered"
    return None


def again_s(looks: int) -> float:
    """Seconds from one look to the next, after so many (>= 1)."""
    return min(AGAIN_S_MAX, AGAIN_S * 2.0 ** min(looks - 1, 20))
