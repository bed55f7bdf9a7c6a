"""The check that a message has a text to show, made before it is stored.

Rules:

1. Every message has a text with at least one visible character. Every vendor refuses a message without one (Twilio's
   21602, "Message body is required"). Such a message would wait until its time to live ended, and never arrive.
2. An e-mail also has a subject with at least one visible character.
3. An HTML part of which nothing can be seen is left out. A mail program would show it instead of the text.
"""

from __future__ import annotations

import unicodedata

UNSEEN = ("Cc", "Cf", "Cn", "Zs", "Zl", "Zp")
"""The Unicode categories of invisible characters: controls, formats such as U+200B, unassigned ones and separators."""

BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(at) for at in range(0xFE00, 0xFE10)}
"""Invisible characters of other categories: fillers of Hangul and Khmer, an empty braille cell, variation selectors."""


def missing_text(channel: str, subject: str | None, text: str) -> tuple[str, str] | None:
    """Return the part of a message that is missing or blank, and the rule that is broken.

    Return None if neither subject nor text is missing.
    """
    if is_blank(text):
        return "text", "must say something: the text is empty or blank"
    if channel == "email" and subject is None:
        return "subject", "is required for an e-mail"
    if channel == "email" and is_blank(subject or ""):
        return "subject", "must say something: the subject is empty or blank"
    return None


def is_blank(text: str) -> bool:
    """Return True if nothing of `text` can be seen. The search stops at the first visible character."""
    return all(character in BLANK or unicodedata.category(character) in UNSEEN for character in text)
