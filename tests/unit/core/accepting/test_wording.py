"""A message that says nothing is refused where it is accepted."""

from __future__ import annotations

import pytest

from dispatcher.core.accepting.wording import missing_words


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u200b", "\ufeff \u00a0", "\u2028", "\u200d\u2060"])
def test_what_nobody_sees_is_no_text(blank: str) -> None:
    """It is none for either channel, and no subject either."""
    assert missing_words("sms", None, blank) == ("text", "must say something: the text is empty or blank")
    assert missing_words("email", "S", blank) == ("text", "must say something: the text is empty or blank")
    assert missing_words("email", blank, "T") == ("subject", "must say something: the subject is empty or blank")


def test_a_mail_needs_a_subject_and_an_sms_does_not() -> None:
    """The subject of a template that both use is not judged for the SMS."""
    assert missing_words("email", None, "T") == ("subject", "must have a subject, being an e-mail")
    assert missing_words("sms", None, "T") is None
    assert missing_words("sms", " ", "T") is None
    assert missing_words("email", "S", "T") is None


@pytest.mark.parametrize("text", ["0", ".", "\u200bx", "👍", "ا", " . "])
def test_one_character_that_is_seen_is_a_text(text: str) -> None:
    """Whatever script or symbol it is."""
    assert missing_words("email", text, text) is None
