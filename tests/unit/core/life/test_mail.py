"""Checks e-mails as bytes: no text can become a header, a part, or a byte that a mail server has to change."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header
from email.message import Message as Mail

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.core.life.mail import address_header, header, write_mail

HOSTILE = "=?utf-8?q?=0ABcc:_e@x.org?="
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300)
BODY = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n =_.-\tF\r")), max_size=400)


def read(raw: bytes) -> Mail:
    """Parse a mail as an old and simple mail program does, which decodes nothing by itself."""
    return email.message_from_bytes(raw, policy=email.policy.compat32)


def decoded(value: str) -> str:
    return str(make_header(decode_header("".join(value.split("\r\n")))))


def body(part: Mail) -> str:
    """Return the decoded text of a mail or of one part of a mail. Each CRLF in the text becomes a plain line feed.

    A mail with one part that is sent as 7bit always ends with a line end, even if the text that was given had none.
    """
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.parametrize("place", ["subject", "sender"])
def test_an_encoded_word_in_a_text_is_only_text(place: str) -> None:
    """A subject or display name contains an encoded word (`=?utf-8?…?=`). It arrives as text.

    In CVE-2024-6923 and similar faults the content of such a word became a header.
    """
    line = header("Subject", HOSTILE) if place == "subject" else address_header("From", "a@b.example", HOSTILE)
    raw = write_mail([line], "m", "text")
    assert b"Bcc" not in raw and b"=0A" not in raw
    value = read(raw)["Subject" if place == "subject" else "From"]
    assert decoded(value).removesuffix(" <a@b.example>") == HOSTILE


@given(TEXT)
def test_a_subject_arrives_as_it_was_given(text: str) -> None:
    """Any subject becomes one header of short ASCII lines that decodes to the same text."""
    line = header("Subject", text)
    assert all(len(one) <= 78 for one in line.split("\r\n")) and line.isascii()
    assert all(one.startswith(" ") and one.strip() for one in line.split("\r\n")[1:])
    mail = read(write_mail([line], "m", ""))
    assert set(mail) == {"Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
    assert decoded(mail["Subject"]) == text


@given(TEXT.map(str.strip))
def test_a_display_name_arrives_beside_its_address(name: str) -> None:
    """A display name may contain anything. A modern parser still finds exactly one address in the header."""
    line = address_header("From", "shop@example.com", name)
    assert line.isascii() and all(len(one) <= 128 for one in line.split("\r\n"))
    mail = read(write_mail([line], "m", ""))
    assert set(mail) == {"From", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
    assert mail["From"].endswith("shop@example.com" if not name else "<shop@example.com>")


@given(BODY, BODY)
@example("", " \n")
def test_both_parts_arrive_as_they_were_given(text: str, html: str) -> None:
    """A mail with text and HTML has two parts with the given content, only ASCII bytes, CRLF line ends and lines
    of at most 78 characters.
    """
    raw = write_mail([header("Subject", "s")], "m", text, html)
    lines = raw.decode("ascii").split("\r\n")
    assert all(len(line) <= 78 and "\r" not in line and "\n" not in line for line in lines)
    plain, rich = read(raw).get_payload()
    assert isinstance(plain, Mail) and isinstance(rich, Mail)
    for part, given_text in ((plain, text), (rich, html)):
        wanted = given_text.replace("\r\n", "\n")
        if part["Content-Transfer-Encoding"] in ("7bit", "quoted-printable"):
            assert body(part) == wanted.removesuffix("\n")  # the boundary's own line end
        else:
            assert body(part) == wanted


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello\n", "7bit"),
        ("Grüße aus Köln, bis bald und viel Freude\n", "quoted-printable"),
        ("Здравствуйте\n", "base64"),
        ("From here\n", "quoted-printable"),
        ("a" * 79, "quoted-printable"),
        ("space at the end \n", "quoted-printable"),
        ("--=_", "quoted-printable"),
        ("\x7f", "base64"),
    ],
)
def test_the_transfer_encoding_follows_the_text(text: str, encoding: str) -> None:
    """A text that no mail server would change is sent as 7bit.

    Any other text is sent in the shorter of quoted-printable and base64.
    """
    mail = read(write_mail([], "m", text))
    assert mail["Content-Transfer-Encoding"] == encoding
    assert body(mail).removesuffix("\n") == text.removesuffix("\n")
