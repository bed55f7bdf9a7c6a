"""Mails as bytes: nothing in a text becomes a header, a part or a byte that a relay has to change."""

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
    """Return the mail as an old and simple reader sees it, which decodes nothing by itself."""
    return email.message_from_bytes(raw, policy=email.policy.compat32)


def decoded(value: str) -> str:
    return str(make_header(decode_header("".join(value.split("\r\n")))))


def body(part: Mail) -> str:
    """The text of a part; a 7bit body ends with a line end, as every mail does."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.parametrize("place", ["subject", "sender"])
def test_an_encoded_word_in_a_text_is_only_text(place: str) -> None:
    """CVE-2024-6923 and its relatives: what is inside such a word became a header on the wire."""
    line = header("Subject", HOSTILE) if place == "subject" else address_header("From", "a@b.example", HOSTILE)
    raw = write_mail([line], "m", "text")
    assert b"Bcc" not in raw and b"=0A" not in raw
    value = read(raw)["Subject" if place == "subject" else "From"]
    assert decoded(value).removesuffix(" <a@b.example>") == HOSTILE


@given(TEXT)
def test_a_subject_arrives_as_it_was_given(text: str) -> None:
    """Whatever the text holds, it is one header of short ASCII lines that decodes to the text."""
    line = header("Subject", text)
    assert all(len(one) <= 78 for one in line.split("\r\n")) and line.isascii()
    assert all(one.startswith(" ") and one.strip() for one in line.split("\r\n")[1:])
    mail = read(write_mail([line], "m", ""))
    assert set(mail) == {"Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
    assert decoded(mail["Subject"]) == text


@given(TEXT.map(str.strip))
def test_a_display_name_arrives_beside_its_address(name: str) -> None:
    """A parser of today finds one address, whatever the name holds."""
    line = address_header("From", "shop@example.com", name)
    assert line.isascii() and all(len(one) <= 128 for one in line.split("\r\n"))
    mail = read(write_mail([line], "m", ""))
    assert set(mail) == {"From", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
    assert mail["From"].endswith("shop@example.com" if not name else "<shop@example.com>")


@given(BODY, BODY)
@example("", " \n")
def test_both_parts_arrive_as_they_were_given(text: str, html: str) -> None:
    """No byte above 126, no long line, no line end but CRLF, and two parts, whatever they hold."""
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
    """Text that no relay changes goes out as it is; the rest in the shorter of two encodings."""
    mail = read(write_mail([], "m", text))
    assert mail["Content-Transfer-Encoding"] == encoding
    assert body(mail).removesuffix("\n") == text.removesuffix("\n")
