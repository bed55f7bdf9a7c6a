"""The text that a message must have, checked before it is stored.

Rules
-----
1. Every message has a text with a character that can be seen. Every vendor refuses a message without one (Twilio's
   21602, "Message body is required"), so it would wait for its time to live and arrive nowhere.
2. An e-mail has a subject of which the same is true.
"""

from __future__ import annotations

import unicodedata

UNSEEN = ("Cc", "Cf", "Cn", "Zs", "Zl", "Zp")
"""Controls, formats such as U+200B, characters that do not exist, and separators: the categories without a sign."""

BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(at) for at in range(0xFE00, 0xFE10)}
"""Fillers of Hangul and Khmer, the empty braille cell and variation selectors: of other categories, and not seen."""


def missing_text(channel: str, subject: str | None, text: str) -> tuple[str, str] | None:
    """Return the part of a message that is missing or blank and the rule that it breaks, or None."""
    if _is_blank(text):
        return "text", "must say something: the text is empty or blank"
    if channel == "email" and subject is None:
        return "subject", "must have a subject, being an e-mail"
    if channel == "email" and _is_blank(subject or ""):
        return "subject", "must say something: the subject is empty or blank"
    return None


def _is_blank(text: str) -> bool:
    return all(character in BLANK or unicodedata.category(character) in UNSEEN for character in text)
