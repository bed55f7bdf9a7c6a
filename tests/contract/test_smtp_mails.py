"""Tests the bytes of a mail, as an SMTP server of another project (aiosmtpd) receives them."""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
from email.header import decode_header, make_header
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from cluster.local.state_directory import free_port
from dispatcher.adapters.providers import build
from dispatcher.core.life.outcome import OutcomeKind
from dispatcher.core.life.rendered_message import Message
from tests.contract.vendors import EMAIL


class Mailbox:
    """Keeps each mail that the server received, with the options of its MAIL command."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.mail_options, envelope.original_content))
        return "250 OK"


async def received(*messages: Message, **options: Any) -> list[bytes]:
    """Send `messages` to a server and return the mails as they arrived, byte for byte."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(controller.start)
    try:
        given = {"host": "127.0.0.1", "port": controller.port, "starttls": False, "sender": "shop@example.com"}
        vendor = build("smtp", "relay", "email", {**given, **options})
        for message in messages:
            assert (await vendor.send(message, 2.0)).kind is OutcomeKind.ACCEPTED
        await vendor.close()
    finally:
        await asyncio.to_thread(controller.stop)
    assert all(announced == [] or "BODY=8BITMIME" not in announced for announced, _ in mailbox.mails)
    return [content for _, content in mailbox.mails]


def lines_of(raw: bytes) -> list[bytes]:
    return raw.partition(b"\r\n\r\n")[0].split(b"\r\n")


@pytest.mark.parametrize(
    "subject",
    [
        "=?utf-8?q?=0ABcc:_e@x.org?=",
        "=?utf-8?q?=0D=0A=0D=0Abody?=",
        "=?utf-8?b?CkJjYzogZUB4Lm9yZw==?= and more",
        "=?utf-8?q?ordinary?=",
        "Bestellung 17 für Jürgen – bezahlt, und ein Text, der für eine einzige Zeile entschieden zu lang ist",
        "An order with a subject of plain words that is too long for one line but needs no encoding at all",
        "two  spaces",
    ],
)
async def test_a_subject_arrives_exactly_and_brings_no_header(subject: str) -> None:
    """A hostile or long subject arrives unchanged and adds no header.

    Python 3.10 to 3.12 decode an encoded word that is given to them, so that a line end in it began a new header.
    """
    plain, hostile = await received(EMAIL, dataclasses.replace(EMAIL, subject=subject))
    names = [[line.partition(b":")[0] for line in lines_of(raw) if line[:1] != b" "] for raw in (plain, hostile)]
    assert names[0] == names[1]
    assert b"Bcc" not in hostile
    value = email.message_from_bytes(hostile, policy=email.policy.compat32)["Subject"].replace("\r\n", "")
    assert str(make_header(decode_header(value))) == subject


async def test_no_byte_needs_8bitmime() -> None:
    """A mail with any characters is sent in ASCII only, because a server need not offer 8BITMIME (RFC 6152)."""
    message = dataclasses.replace(EMAIL, text="Grüße, 5 €\n" * 3, html="<p>Здравствуйте</p>\n", subject="Größe")
    (raw,) = await received(message)
    assert raw.isascii() and max(map(len, raw.split(b"\r\n"))) <= 78
    mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
    plain, rich = mail.get_payload()
    assert isinstance(plain, email.message.EmailMessage) and isinstance(rich, email.message.EmailMessage)
    assert plain.get_content().replace("\r\n", "\n") == message.text
    assert rich.get_content().replace("\r\n", "\n") == message.html


@pytest.mark.parametrize("text", ["a" * 3000, ".\n..\nx", "no line end", "", "tab\t\n", "\r", "--=_\n\n--=_--"])
async def test_a_text_arrives_exactly(text: str) -> None:
    """A text arrives unchanged, alone and beside an HTML part, whatever its lines are."""
    alone, beside = await received(
        dataclasses.replace(EMAIL, text=text, html=None), dataclasses.replace(EMAIL, text=text)
    )
    for raw in (alone, beside):
        mail = email.message_from_bytes(raw, policy=email.policy.compat32)
        part: Any = mail.get_payload()[0] if mail.is_multipart() else mail  # type: ignore[index, union-attr]
        arrived = part.get_payload(decode=True).decode().replace("\r\n", "\n")
        assert arrived.removesuffix("\n") == text.removesuffix("\n")


async def test_no_out_of_office_answer_is_asked_for() -> None:
    """Every mail has `Auto-Submitted: auto-generated` (RFC 3834), so that no automatic reply is sent."""
    (raw,) = await received(EMAIL)
    assert b"Auto-Submitted: auto-generated" in lines_of(raw)


async def test_headers_of_the_configuration_are_in_every_mail() -> None:
    """A mail has the configured Reply-To, the configured headers, and both headers of RFC 8058 with the notification's
    id.
    """
    (raw,) = await received(
        EMAIL,
        reply_to="Hilfe für alle <help@example.com>",
        headers={"X-Shop": "Größe 1", "Feedback-ID": "a:b"},
        list_unsubscribe="https://shop.example.com/off?n={notification_id}",
    )
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert str(mail["Reply-To"]) == "Hilfe für alle <help@example.com>"
    assert str(mail["X-Shop"]) == "Größe 1"
    assert b"Feedback-ID: a:b" in lines_of(raw)
    assert b"List-Unsubscribe: <https://shop.example.com/off?n=0-a.1>" in lines_of(raw)
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines_of(raw)
