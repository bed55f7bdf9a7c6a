"""Checks the encoding and the number of segments of SMS texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.sms_text import BASIC, EXTENSION, SmsSize, measure, refuse_sms


def test_the_tables_are_those_of_the_standard() -> None:
    """The basic GSM table has 127 characters besides the escape to the extension table, and the extension table
    has 10.
    """
    assert len(BASIC) == 127 and len(EXTENSION) == 10
    assert not BASIC & EXTENSION
    assert "ç" not in BASIC and "Ç" in BASIC and "`" not in BASIC | EXTENSION


@pytest.mark.parametrize(
    ("text", "encoding", "segments"),
    [
        ("", "gsm", 1),
        ("Grüße, 5 €", "gsm", 1),
        ("a`b", "ucs2", 1),
        ("a\tb", "ucs2", 1),
        ("a" * 160, "gsm", 1),
        ("a" * 161, "gsm", 2),
        ("a" * 306, "gsm", 2),
        ("a" * 307, "gsm", 3),
        ("€" * 80, "gsm", 1),
        ("€" * 81, "gsm", 2),
        ("a" * 152 + "€" * 77, "gsm", 3),  # 306 septets, but the 153rd must not be half a euro
        ("я" * 70, "ucs2", 1),
        ("я" * 71, "ucs2", 2),
        ("я" * 134, "ucs2", 2),
        ("😀" * 35, "ucs2", 1),
        ("😀" * 66, "ucs2", 2),
        ("😀" * 67, "ucs2", 3),  # 134 units, but a pair is not split: 33 in each
    ],
)
def test_a_text_costs_what_the_standard_says(text: str, encoding: str, segments: int) -> None:
    """Texts at the limits of one, two and three segments have the encoding and the number of segments of the
    standard.
    """
    assert measure(text) == SmsSize(encoding, segments)  # type: ignore[arg-type]


@given(st.text(max_size=400), st.text(max_size=5))
def test_more_text_never_costs_less(text: str, more: str) -> None:
    """A longer text never has fewer segments, and never changes from UCS-2 to the smaller GSM alphabet."""
    before, after = measure(text), measure(text + more)
    assert after.segments >= before.segments
    assert before.encoding == "gsm" or after.encoding == "ucs2"


@pytest.mark.parametrize(
    ("text", "refused"),
    [("caf\x85", True), ("a\u202eb", True), ("a\u202db", True), ("\u2068a\u2069 \u200f", False)],
)
def test_what_shows_another_text_is_refused(text: str, refused: bool) -> None:
    """Characters that override the direction of writing are refused, because they can make a phone show another text.

    Directional isolates and marks, which Arabic and Hebrew texts need, are allowed.
    """
    assert (refuse_sms(text, measure(text), 1) is not None) is refused


def test_a_text_that_is_too_long_is_told_its_size() -> None:
    """The refusal of a text that is too long names the limit, the number of segments needed and the encoding."""
    assert refuse_sms("a" * 306, measure("a" * 306), 2) is None
    assert refuse_sms("я" * 200, measure("я" * 200), 2) == "must fit in 2 segments of an SMS; it needs 3 (ucs2)"
