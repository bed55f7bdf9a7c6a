"""A message without visible text is refused at accept."""

from __future__ import annotations

import pytest

from dispatcher.core.accepting.wording import missing_text


@pytest.mark.parametrize(
    "blank", ["", " ", "\n\t", "\u200b", "\ufeff \u00a0", "\u2028", "\u200d\u2060", "\u3164", "\u2800 \ufe0f", "\uffff"]
)
def test_what_nobody_sees_is_no_text(blank: str) -> None:
    """A text of invisible characters counts as no text, for an SMS and for an e-mail. A subject of such characters
    counts as no subject.
    """
    assert missing_text("sms", None, blank) == ("text", "must say something: the text is empty or blank")
    assert missing_text("email", "S", blank) == ("text", "must say something: the text is empty or blank")
    assert missing_text("email", blank, "T") == ("subject", "must say something: the subject is empty or blank")


def test_a_mail_needs_a_subject_and_an_sms_does_not() -> None:
    """An e-mail without a subject is refused. An SMS may have no subject or a blank one."""
    assert missing_text("email", None, "T") == ("subject", "is required for an e-mail")
    assert missing_text("sms", None, "T") is None
    assert missing_text("sms", " ", "T") is None
    assert missing_text("email", "S", "T") is None


@pytest.mark.parametrize("text", ["0", ".", "\u200bx", "👍", "❤\ufe0f", "한", "\ue000", "ا", " . "])
def test_one_character_that_is_seen_is_a_text(text: str) -> None:
    """One visible character of any script is enough for a text and a subject."""
    assert missing_text("email", text, text) is None
