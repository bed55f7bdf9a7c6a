"""Some values are encoded before they are stored in a record. The tests check these encoded forms."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.notification import NewNotification, NewTrigger, TemplatePin, Trail
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.wire.records import decode_sms, decode_trail, encode_meta, encode_trail, parts_of, template_of

names = st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True), unique=True, max_size=5)


@st.composite
def trails(draw: st.DrawFn) -> Trail:
    tried = draw(names)
    refused = [name for name in tried if draw(st.booleans())]
    doubted = [name for name in refused if draw(st.booleans())]
    waits, refusals = draw(st.integers(0, 10_000)), draw(st.integers(0, 10_000))
    return Trail(tuple(tried), tuple(refused), tuple(doubted), waits, refusals)


def trigger_of(notes: tuple[NewNotification, ...]) -> NewTrigger:
    return NewTrigger(
        "0-t",
        "shop",
        "e",
        "h",
        accepted_ms=0,
        expires_ms=1,
        priority="normal",
        on_unknown="resend",
        data={},
        notifications=notes,
    )


@given(trails())
def test_a_trail_is_read_as_it_was_written(trail: Trail) -> None:
    assert decode_trail(encode_trail(trail)) == trail


def test_the_form_is_the_one_that_was_agreed() -> None:
    """A trail (which vendors were tried) is stored as exactly the expected text.

    A version that knows only a list of vendors can read it too, because it takes each word for a vendor's name.
    """
    trail = Trail(("sms-a", "sms-b", "sms-c"), ("sms-a", "sms-b"), ("sms-a",), 2, 1)
    assert encode_trail(trail) == "sms-a! sms-b~ sms-c #2 %1"
    assert encode_trail(Trail(("a", "b"))) == "a b"


@given(st.text(max_size=40))
def test_a_damaged_trail_is_read_as_far_as_it_goes(text: str) -> None:
    """Any text is read as a trail without an error, so that a damaged record never stops an actor."""
    assert isinstance(decode_trail(text), Trail)


def test_what_an_sms_costs_is_kept_in_its_record() -> None:
    """The SMS size of each notification is read back from the record. A mail has none."""
    sizes = SmsSize("gsm", 2), SmsSize("ucs2", 3), None
    notes = tuple(
        NewNotification("sms", "+4915112345678", ("a",), "a", content={"text": "x"}, sms=size) for size in sizes
    )
    assert tuple(decode_sms(part) for part in parts_of(json.loads(encode_meta(trigger_of(notes))))) == sizes


def test_a_record_names_the_text_that_was_accepted() -> None:
    """The record keeps the digest of the accepted template text. A store that lost data may give the version number of
    this text to another text, and the digest shows the difference.

    A record of an earlier release has no digest.
    """
    digests = "0123456789abcdef", None
    notes = tuple(
        NewNotification("sms", "+4915112345678", ("a",), "a", template="t", template_version=2, template_digest=digest)
        for digest in digests
    )
    parts = parts_of(json.loads(encode_meta(trigger_of(notes))))
    assert [template_of(part, None) for part in parts] == [TemplatePin("t", 2, digest) for digest in digests]
