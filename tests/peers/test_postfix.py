"""Our mails pass through a postfix with its strictest settings to aiosmtpd.

Postfix checks every command and every line. It would convert, wrap or refuse whatever does not fit into seven bits,
because the next server offers no 8BITMIME. The mail is compared byte for byte with the same mail sent to aiosmtpd
directly.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiosmtpd.controller import Controller

from cluster.local.state_directory import free_port
from dispatcher.adapters.providers import build, smtp
from dispatcher.core.life.outcome import OutcomeKind, Scope
from dispatcher.core.life.rendered_message import Message
from tests.contract.certificates import Authority
from tests.contract.vendors import EMAIL, send
from tests.leftovers import short_folder
from tests.peers.postfix import Postfix

pytestmark = pytest.mark.peers

ARRIVE_S_MAX = 20.0

STRICT = {
    "smtpd_helo_required": "yes",
    "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
    "smtpd_sender_restrictions": "reject_non_fqdn_sender, check_sender_access inline:{{nobody@example.com = REJECT}}",
    "smtpd_recipient_restrictions": "reject_non_fqdn_recipient, check_recipient_access inline:{"
    "{unknown@example.com = 550 5.1.1 no such user} {grey@example.com = 450 4.7.1 greylisted, come back} "
    "{full@example.com = 452 4.2.2 mailbox full} {policy@example.com = 554 5.7.1 rejected by policy}}, "
    "permit_mynetworks, reject",
    "smtpd_data_restrictions": "reject_unauth_pipelining",
    "strict_rfc821_envelopes": "yes",
    "strict_7bit_headers": "yes",
    "strict_8bitmime": "yes",
    "strict_mime_encoding_domain": "yes",
    "smtpd_forbid_bare_newline": "yes",
    "disable_vrfy_command": "yes",
    "message_size_limit": "2000000",
    "smtp_discard_ehlo_keywords": "8bitmime",
}
TALKATIVE = {"smtpd_client_message_rate_limit": "1", "smtpd_client_event_limit_exceptions": ""}


class Inbox:
    """Keeps the mails that arrive, by recipient."""

    def __init__(self) -> None:
        self.mails: dict[str, list[bytes]] = {}

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        (recipient,) = envelope.rcpt_tos
        self.mails.setdefault(recipient, []).append(envelope.original_content)
        return "250 OK"

    async def arrived(self, recipient: str, count: int = 1) -> list[bytes]:
        until = time.monotonic() + ARRIVE_S_MAX
        while len(self.mails.get(recipient, ())) < count and time.monotonic() < until:  # noqa: ASYNC110 (it comes in a thread)
            await asyncio.sleep(0.02)
        return self.mails.get(recipient, [])


class World(NamedTuple):
    postfix: Postfix
    inbox: Inbox
    direct: int
    plain: int
    implicit: int
    talkative: int
    ca_file: Path

    def relay(self, port: int, **options: Any) -> dict[str, Any]:
        tls = {"tls": "starttls", "ca_file": str(self.ca_file)}
        return {"host": "127.0.0.1", "port": port, "sender": "Müller & Söhne <shop@example.com>", **tls, **options}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = short_folder("nd-postfix-")
    folder.chmod(0o755)  # its daemons drop privileges
    authority = Authority(folder)
    authority.server()
    (pair,) = folder.glob("server-*.pem")
    inbox, direct = Inbox(), free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=direct)
    controller.start()
    plain, implicit, talkative = free_port(), free_port(), free_port()
    settings = {
        **STRICT,
        "relayhost": f"[127.0.0.1]:{direct}",
        "smtpd_tls_chain_files": str(pair),
        "smtpd_tls_security_level": "encrypt",
    }
    postfix = Postfix(folder, settings, {plain: {}, implicit: {"smtpd_tls_wrappermode": "yes"}, talkative: TALKATIVE})
    try:
        postfix.start()
        yield World(postfix, inbox, direct, plain, implicit, talkative, authority.file)
    finally:
        postfix.stop()
        controller.stop()


def without_traces(raw: bytes) -> bytes:
    """Return the mail without the Received headers that relays put before it."""
    return re.sub(rb"\A(?:Received: .*\r\n(?:[ \t].*\r\n)*)+", b"", raw)


LONG = "An order with a subject of plain words that is too long for one line but needs no encoding at all"
MAILS = {
    "plain": EMAIL,
    "text alone": replace(EMAIL, html=None),
    "umlauts": replace(EMAIL, subject="Größe – bezahlt, für Jürgen", text="Grüße, 5 €\n" * 30),
    "cyrillic": replace(EMAIL, text="Здравствуйте\n" * 200, html="<p>Здравствуйте</p>\n" * 200),
    "long line": replace(EMAIL, subject=LONG, text="a" * 5000 + "\nb", html="<p>" + "ä" * 3000 + "</p>"),
    "dots": replace(EMAIL, text=".\n..\n.x\n\n.\n", html=None),
    "smuggling": replace(EMAIL, text="a\n.\r\nMAIL FROM:<x@example.com>\r\n.\nb\r.\rc", html=None),
    "from line": replace(EMAIL, text="From the shop\nFrom  us \n", html=None),
    "no line end": replace(EMAIL, text="no line end", html=None),
    "empty": replace(EMAIL, text="", html=None, subject=""),
    "encoded words": replace(EMAIL, subject="=?utf-8?q?=0D=0ABcc:_e@x.org?="),
    "boundaries": replace(EMAIL, text="--=_\n\n--=_--\n"),
    "controls": replace(EMAIL, text="tab\t\nbell\x07 nul\x00 del\x7f nel\x85 ls\u2028\n"),
}
HEADERS = {
    "reply_to": "Hilfe für alle <help@example.com>",
    "headers": {"X-Shop": "Größe 1", "Feedback-ID": "a:b"},
    "list_unsubscribe": "https://shop.example.com/off?n={notification_id}",
}


@pytest.mark.parametrize("name", MAILS)
async def test_a_mail_arrives_byte_for_byte(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each mail goes once through postfix and once directly to the receiving server. Both arrive with the same bytes,
    so no relay has to convert or wrap the mail.
    """
    monkeypatch.setattr(smtp, "formatdate", lambda: "Mon, 02 Mar 2026 10:00:00 -0000")
    mail = replace(MAILS[name], to=f"{name.replace(' ', '-')}@example.com")
    for options in (
        world.relay(world.plain, **HEADERS),
        {**world.relay(world.direct, **HEADERS), "tls": "none", "ca_file": None},
    ):
        outcome = await send(build("smtp", "relay", "email", options), mail, 20.0)
        assert outcome.kind is OutcomeKind.ACCEPTED, (outcome, world.postfix.log[-2000:])
    through, straight = sorted(await world.inbox.arrived(mail.to, 2), key=len, reverse=True)
    assert b"Received: from example.com" in through  # the name of our greeting
    assert without_traces(through) == straight


async def test_many_mails_use_few_connections(world: World) -> None:
    """Two hundred mails are sent at once. Each arrives once, over a few connections that are reused."""
    vendor = build("smtp", "relay", "email", world.relay(world.plain))
    before = world.postfix.log.count("connect from")
    mails = [replace(EMAIL, notification_id=f"0-many.{number}", to="many@example.com") for number in range(200)]
    outcomes = await asyncio.gather(*(vendor.send(mail, 60.0) for mail in mails))
    await vendor.close()
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ACCEPTED}
    arrived = await world.inbox.arrived("many@example.com", 200)
    ids = {re.search(rb"^Message-ID: (.*)\r$", raw, re.MULTILINE)[1] for raw in arrived}  # type: ignore[index]
    assert (len(arrived), len(ids)) == (200, 200)
    assert world.postfix.log.count("connect from") - before <= 2 * smtp.CONNECTIONS_MAX


async def test_implicit_tls(world: World) -> None:
    """A mail arrives over implicit TLS, as on port 465, with a certificate of our own authority."""
    options = world.relay(world.implicit, tls="implicit")
    outcome = await send(build("smtp", "relay", "email", options), replace(EMAIL, to="implicit@example.com"), 20.0)
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert await world.inbox.arrived("implicit@example.com")


async def test_a_relay_that_nobody_vouches_for_is_not_used(world: World) -> None:
    """A relay whose certificate the machine's authorities do not know gets no mail.

    The outcome is `failed` with the reason `tls`.
    """
    options = {**world.relay(world.plain), "ca_file": None}
    outcome = await send(build("smtp", "relay", "email", options), EMAIL, 20.0)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "tls")


@pytest.mark.parametrize(
    ("to", "kind", "reason"),
    [
        ("unknown@example.com", OutcomeKind.REJECTED, "smtp_550"),
        ("grey@example.com", OutcomeKind.DEFERRED, "smtp_450"),
        ("full@example.com", OutcomeKind.DEFERRED, "smtp_452"),
        ("policy@example.com", OutcomeKind.FAILED, "smtp_554"),
    ],
)
async def test_postfixs_words_are_read(world: World, to: str, kind: OutcomeKind, reason: str) -> None:
    """Postfix refuses four recipients for four reasons. Each refusal becomes the right outcome: rejected, deferred, or
    failed for this vendor.

    The connection stays usable for the next mail.
    """
    vendor = build("smtp", "relay", "email", world.relay(world.plain))
    outcome = await vendor.send(replace(EMAIL, to=to), 20.0)
    after = await vendor.send(replace(EMAIL, to="after@example.com"), 20.0)
    await vendor.close()
    assert (outcome.kind, outcome.reason) == (kind, reason), outcome
    assert after.kind is OutcomeKind.ACCEPTED


async def test_what_postfix_has_against_us_is_the_accounts(world: World) -> None:
    """A refused greeting or sender is read as a fault of our account, at whichever command postfix refuses it."""
    for options in ({"helo_name": "shop"}, {"sender": "nobody@example.com"}):
        outcome = await send(build("smtp", "relay", "email", world.relay(world.plain, **options)), EMAIL, 20.0)
        assert outcome.scope is Scope.ACCOUNT, outcome


async def test_too_much_mail_slows_us(world: World) -> None:
    """Postfix refuses mail because one client sends too many messages (anvil). The outcome is throttled, and not a
    failure.
    """
    vendor = build("smtp", "relay", "email", world.relay(world.talkative))
    outcomes = [await vendor.send(replace(EMAIL, to="fast@example.com"), 20.0) for _ in range(3)]
    await vendor.close()
    assert [outcome.kind for outcome in outcomes][-1] is OutcomeKind.THROTTLED, outcomes


async def test_a_mail_that_is_too_large_goes_to_the_next_vendor(world: World) -> None:
    """A refusal for size (552) sends the mail to the next vendor, because another relay may accept larger mails."""
    mail: Message = replace(EMAIL, text="x" * 78 + "\n", html="<p>" + "y" * 3_000_000 + "</p>")
    outcome = await send(build("smtp", "relay", "email", world.relay(world.plain)), mail, 60.0)
    assert (outcome.scope, outcome.reason) == (Scope.UNLISTED, "smtp_552"), outcome
