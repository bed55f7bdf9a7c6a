"""Checks how a vendor's list of messages proves an unknown outcome, and that the list proves nothing where it
could be wrong.
"""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.look_up import (
    AGAIN_S_MAX,
    MARGIN_MS,
    Listing,
    Sighting,
    Verdict,
    again_s,
    decide_look_up,
    fingerprint,
    identify,
    window_of,
)

START_MS = 1_700_000_000_000
NOW_MS = START_MS + 60_000
WINDOW = window_of(START_MS, 10.0)
OURS = Sighting("SM1", "code 1234", START_MS + 500, True)
OTHER = Sighting("SM2", "code 9999", START_MS + 500, True)


def listing(*sightings: Sighting, more: bool = False, ahead_ms: int = 0) -> Listing:
    """Return a listing of a vendor whose clock is ahead of ours by `ahead_ms`."""
    shifted = [dataclasses.replace(one, at_ms=one.at_ms + ahead_ms) for one in sightings]
    return Listing(shifted, NOW_MS + ahead_ms, more)


def at(ms: int, **changes: object) -> Sighting:
    return dataclasses.replace(OURS, at_ms=START_MS + ms, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "answer"),
    [
        (listing(OTHER, OURS), "found"),
        (listing(at(500, carried=False)), "undelivered"),
        (listing(at(500, carried=None)), "unknown"),
        (listing(), "not_found"),
        (listing(OTHER), "not_found"),
        (listing(at(-MARGIN_MS)), "found"),
        (listing(at(-MARGIN_MS - 1)), "not_found"),
        (listing(at(10_000 + MARGIN_MS)), "found"),
        (listing(at(10_001 + MARGIN_MS)), "not_found"),
        (listing(OURS, at(900, message_id="SM3")), "ambiguous"),
        (listing(OURS, at(900, message_id="SM3", carried=False)), "ambiguous"),
        (listing(OURS, at(60_000, message_id="SM3")), "found"),
        (listing(OURS, more=True), "unknown"),
        (listing(OURS, at(-60_000, text="old"), more=True), "found"),
        (listing(OTHER, more=True), "unknown"),
    ],
)
def test_only_one_of_its_text_and_time_is_it(seen: Listing, answer: str) -> None:
    """A message is found if exactly one listed message has its text and time.

    Two such messages are ambiguous. If the list is not complete, it must reach back to before the message's
    time.
    """
    verdict = identify(seen, OURS.text, WINDOW, NOW_MS)
    assert verdict.answer == answer
    assert verdict.message_id == ("SM1" if answer in ("found", "undelivered") else "")


@given(st.integers(-86_400_000, 86_400_000), st.integers(-30_000, 30_000))
def test_a_vendors_clock_may_be_wrong(ahead_ms: int, made_ms: int) -> None:
    """A vendor's clock may be wrong by any amount. The look-up gives the same result, because a listing also says what
    time it is on the vendor's clock.
    """
    right, wrong = listing(at(made_ms)), listing(at(made_ms), ahead_ms=ahead_ms)
    assert identify(wrong, OURS.text, WINDOW, NOW_MS) == identify(right, OURS.text, WINDOW, NOW_MS)


def test_a_vendor_that_tells_no_time_is_taken_at_its_word() -> None:
    """If a listing has no vendor time, the vendor's clock counts as right."""
    assert identify(Listing([OURS], None, False), OURS.text, WINDOW, NOW_MS).answer == "found"


def test_not_found_is_no_reason_to_do_anything() -> None:
    """`decide_look_up` settles a notification that was found, and makes an undelivered notification a dead letter.

    For any other answer it returns None.
    """
    assert decide_look_up(Verdict("found", "SM1")) == ("settled", "look_up: SM1")
    assert decide_look_up(Verdict("undelivered", "SM1")) == ("dead", "undelivered")
    assert {decide_look_up(Verdict(answer)) for answer in ("not_found", "ambiguous", "unknown")} == {None}


def test_twins_are_those_whose_windows_overlap() -> None:
    """Two messages have the same fingerprint if and only if they have the same text and recipient. The fingerprint does
    not show the phone number.

    It is kept for as long as the window of time in which the vendor may create the message.
    """
    mine = fingerprint("+491", "code", 10.0)
    assert mine.ttl_ms == WINDOW.to_ms - WINDOW.from_ms
    assert fingerprint("+491", "code", 10.0) == mine
    assert len({mine.key, fingerprint("+492", "code", 10.0).key, fingerprint("+491", "c", 10.0).key}) == 3
    assert "491" not in mine.key


@given(st.integers(1, 10_000))
def test_looks_become_rarer_and_never_stop(looks: int) -> None:
    """The wait between two look-ups is at least two seconds, never shrinks, and is at most AGAIN_S_MAX."""
    assert 2.0 <= again_s(looks) <= again_s(looks + 1) <= AGAIN_S_MAX
