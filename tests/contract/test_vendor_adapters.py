"""Tests each adapter against the sandbox's real wire formats, and against peers that break off at a chosen byte.

The rules of core/life/outcome.py say which outcome a call has. They ask whether bytes were written, which status came,
and whether the vendor's id is valid. An outcome of *local origin* is a fault on our side of the network: no byte was
sent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
import json
import time
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from cluster.local.state_directory import free_port
from dispatcher.adapters.providers import build
from dispatcher.adapters.providers.http import ANSWER_BYTES_MAX, retry_after_s
from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope
from dispatcher.core.life.receipt import ReceiptLinks, Told
from dispatcher.core.life.rendered_message import Message
from dispatcher.errors import ConfigError
from tests.contract.vendors import EMAIL, HTTP_ADAPTERS, SID, SMS, Sandbox, http, make, message_for, send

FORBIDDEN = {
    "twilio": {"status": 403, "message": "Permission denied"},
    "vonage": {"title": "Forbidden", "detail": "no"},
    "sendgrid": {"errors": [{"message": "access forbidden", "field": None}]},
}
"""Each provider's own form of a refusal that names no code."""


@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_an_accepted_message_arrives_as_it_was_meant(sandbox: Sandbox, adapter: str) -> None:
    """An accepted outcome has the vendor's id, and the vendor received the recipient and the text exactly once."""
    message = message_for(adapter)
    outcome = await send(sandbox.vendor(adapter), message)
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert outcome.vendor_message_id
    received = (await sandbox.received(adapter))["received"]
    assert [(r["to"], r["text"].strip()) for r in received] == [(message.to, message.text.strip())]


@pytest.mark.parametrize("adapter", ["twilio", "vonage"])
async def test_a_vendor_that_is_asked_tells_what_became_of_it(sandbox: Sandbox, adapter: str) -> None:
    """A message is sent to the sandbox with an address for receipts. The vendor calls this address. The receipt names
    the notification, says that the message was delivered, and has a valid token.
    """
    heard: asyncio.Queue[list[Told]] = asyncio.Queue()

    async def hear(request: web.BaseRequest) -> web.Response:
        heard.put_nowait(read_receipts(adapter, request.query, await request.read()))
        return web.Response()

    runner = web.ServerRunner(web.Server(hear))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        links = ReceiptLinks(f"http://127.0.0.1:{runner.addresses[0][1]}", "secret")
        message = dataclasses.replace(SMS, receipt=links.link(adapter, SMS.notification_id))
        assert (await send(sandbox.vendor(adapter), message)).kind is OutcomeKind.ACCEPTED
        (told,) = await asyncio.wait_for(heard.get(), 5.0)
        assert (told.notification_id, told.carried) == (SMS.notification_id, True)
        assert links.verified(adapter, told)
    finally:
        await runner.cleanup()


EXPECTED = {
    "error": {"http": ("unknown", "http_500"), "smtp": ("failed", "smtp_451")},
    "hang": {"http": ("unknown", "timeout"), "smtp": ("unknown", "timeout")},
    "reset": {"http": ("unknown", "connection_lost"), "smtp": ("unknown", "connection_lost")},
    "drip": {"http": ("unknown", "timeout"), "smtp": ("failed", "smtp_451")},
}


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_a_broken_vendor_gives_the_outcome_its_bytes_allow(sandbox: Sandbox, adapter: str, mode: str) -> None:
    """A vendor breaks in one of several ways. If the request was written, silence, a reset and a 5xx give the outcome
    unknown.

    A 4xx of an SMTP server gives the outcome failed.
    """
    await sandbox.fault(adapter, mode=mode)
    outcome = await send(sandbox.vendor(adapter), message_for(adapter), 0.4)
    assert (outcome.kind.value, outcome.reason) == EXPECTED[mode]["smtp" if adapter == "smtp" else "http"]


@pytest.mark.parametrize(
    ("adapter", "kind", "reason"),
    [
        ("twilio", "rejected", "twilio_21610"),
        ("vonage", "rejected", "vonage_7"),
        ("sendgrid", "rejected", "http_400"),
        ("smtp", "rejected", "smtp_550"),
    ],
)
async def test_a_permanent_no_is_rejected(sandbox: Sandbox, adapter: str, kind: str, reason: str) -> None:
    """The provider's documented permanent error is rejected, also if it comes inside an HTTP 200."""
    await sandbox.fault(adapter, mode="reject")
    outcome = await send(sandbox.vendor(adapter), message_for(adapter))
    assert (outcome.kind.value, outcome.reason) == (kind, reason)


@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_a_throttle_is_no_failure(sandbox: Sandbox, adapter: str) -> None:
    """A vendor answers 429, or what its provider sends in place of a 429. The outcome is `throttled`.

    If the answer has a Retry-After header, the outcome has the wait from it.
    """
    await sandbox.fault(adapter, mode="throttle", retry_after_s=7)
    outcome = await send(sandbox.vendor(adapter), message_for(adapter))
    assert outcome.kind is OutcomeKind.THROTTLED
    assert outcome.retry_after_s == (7.0 if adapter in ("twilio", "sendgrid") else None)


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def against(adapter: str, answer: bytes, timeout_s: float = 5.0, heads: list[bytes] | None = None) -> Outcome:
    """Send to a peer that reads the whole request, answers with `answer` and closes. Return the outcome.

    The head of the request is added to `heads`.
    """

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await send(make(adapter, f"http://127.0.0.1:{port}"), message_for(adapter), timeout_s)


@pytest.mark.parametrize(
    ("adapter", "answer", "kind"),
    [
        ("twilio", http("200 OK", b"<html>It works!</html>"), "unknown"),
        ("twilio", http("201 Created", b""), "unknown"),
        ("twilio", http("201 Created", b'{"sid": "SM123"}'), "unknown"),
        ("twilio", http("201 Created", b'{"sid": "' + SID + b'", "status": "failed"}'), "unknown"),
        ("twilio", http("201 Created", b'{"sid": "' + SID + b'"}'), "accepted"),
        ("twilio", http("201 Created", b'{"sid": "' + SID + b'"')[:-5], "unknown"),
        ("twilio", http("404 Not Found", b"<html>nginx</html>"), "failed"),
        ("twilio", http("302 Found", b"", b"Location: http://127.0.0.1:1/"), "failed"),
        ("twilio", http("201 Created", b"x" * 70_000), "unknown"),
        ("vonage", http("200 OK", b'{"messages": []}'), "unknown"),
        ("vonage", http("200 OK", b'{"messages": [{"status": "0"}]}'), "unknown"),
        ("vonage", http("200 OK", b'{"messages": [{"status": "0", "message-id": "A"}, {"status": "5"}]}'), "unknown"),
        ("vonage", http("200 OK", b'{"messages": [{"status": "9"}]}'), "failed"),
        ("vonage", http("200 OK", b'{"messages": [{"status": "1"}]}'), "throttled"),
        ("vonage", http("200 OK", b"null"), "unknown"),
        ("sendgrid", http("202 Accepted", b""), "unknown"),
        ("sendgrid", http("202 Accepted", b"", b"X-Message-Id: abcdefgh"), "accepted"),
        ("sendgrid", http("200 OK", b"", b"X-Message-Id: abcdefgh"), "unknown"),
        ("sendgrid", b"HTTP/1.1 202 Acc", "unknown"),
        ("sendgrid", b"", "unknown"),
    ],
)
async def test_only_a_valid_answer_counts_as_accepted(adapter: str, answer: bytes, kind: str) -> None:
    """An answer that is HTML, empty, cut, too large or without an id is not accepted."""
    assert (await against(adapter, answer)).kind.value == kind


def gzipped(content: bytes, times: int = 1) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(content) for _ in range(times)) + packer.flush()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: gzipped(b'{"sid": "' + SID + b'"}'), id="a yes"),
        pytest.param(lambda: gzipped(bytes(1 << 20), times=60), id="a bomb: 60 MiB in 60 KiB"),
        pytest.param(lambda: gzipped(gzipped(bytes(1 << 20), times=1000)), id="a bomb in a bomb"),
    ],
)
async def test_a_packed_answer_is_not_unpacked(body: Callable[[], bytes]) -> None:
    """The vendor sends a compressed answer, for which we did not ask. The outcome is unknown.

    The answer is not unpacked, because a small packed answer could fill the memory.
    """
    packed = body()
    assert len(packed) < ANSWER_BYTES_MAX, "within the cap, as it travels"
    tracemalloc.start()
    try:
        outcome = await against("twilio", http("201 Created", packed, b"Content-Encoding: gzip"), 2.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert peak < (1 << 20)


@pytest.mark.parametrize("adapter", HTTP_ADAPTERS)
async def test_no_packing_is_offered(adapter: str) -> None:
    """The adapters ask for answers without compression, so that the size limit counts every byte."""
    heads: list[bytes] = []
    await against(adapter, b"", heads=heads)
    assert b"accept-encoding: identity" in heads[0].lower()


@pytest.mark.parametrize("adapter", HTTP_ADAPTERS)
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_account_is_the_accounts_fault(adapter: str, status: str) -> None:
    """A 401 or 403 in the provider's own form is failed with account scope, so that it costs no attempt."""
    outcome = await against(adapter, http(status, json.dumps(FORBIDDEN[adapter]).encode()))
    assert (outcome.kind, outcome.scope) == (OutcomeKind.FAILED, Scope.ACCOUNT)


@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_nobody_there_is_not_sent(adapter: str) -> None:
    """The vendor's server refuses the connection. The outcome is failed, as a fault on our side, so another vendor can
    safely be tried.
    """
    port = free_port()
    outcome = await send(make(adapter, f"http://127.0.0.1:{port}", port), message_for(adapter))
    assert (outcome.kind, outcome.local_origin) == (OutcomeKind.FAILED, True)


@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_the_deadline_is_total(sandbox: Sandbox, adapter: str) -> None:
    """A call to a vendor that hangs ends at its deadline."""
    await sandbox.fault(adapter, mode="hang")
    began = time.monotonic()
    await send(sandbox.vendor(adapter), message_for(adapter), 0.3)
    assert time.monotonic() - began < 30.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("1e9", 300.0), ("inf", 300.0), ("nan", None), ("soon", None), ("", None)],
)
def test_retry_after_is_capped_and_never_absurd(value: str, seconds: float | None) -> None:
    """Retry-After in seconds is limited to 0 to 300. A value that is no number and no date gives no wait."""
    assert retry_after_s({"Retry-After": value}, 0.0) == seconds


def test_retry_after_takes_a_date() -> None:
    """Retry-After as an HTTP date gives the seconds until then, or 0 if the date has passed."""
    headers = {"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}
    assert retry_after_s(headers, 40.0) == 60.0
    assert retry_after_s(headers, 400.0) == 0.0


class Mailbox:
    """Keeps the envelopes that an SMTP server of another project (aiosmtpd) received."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        return "250 OK"


async def test_smtp_sends_one_recipient_and_keeps_its_message_id() -> None:
    """An SMTP server gets exactly one recipient and both parts of the mail. A repeat has the same Message-ID."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(controller.start)
    try:
        vendor = make("smtp", port=controller.port)
        for _ in range(2):
            assert (await vendor.send(EMAIL, 2.0)).kind is OutcomeKind.ACCEPTED
        await vendor.close()
    finally:
        await asyncio.to_thread(controller.stop)
    assert [rcpt for _, rcpt, _ in mailbox.envelopes] == [["ada@example.com"]] * 2
    assert all(b"Message-ID: <0-a.1@example.com>" in content for _, _, content in mailbox.envelopes)
    assert all(b"text/html" in content for _, _, content in mailbox.envelopes)


@pytest.mark.parametrize(
    "to",
    [
        "a@x.de, b@y.de",
        "a@x.de\r\nRCPT TO:<evil@x.de>",
        "a@x.de>\r\nRCPT TO:<evil@x.de",
        "a@x.de SIZE=1",
        "Ada <a@x.de>",
        "a\x00@x.de",
        "a@b@c.de",
    ],
)
async def test_smtp_refuses_an_address_that_is_more_than_one(to: str) -> None:
    """An address that could become a second recipient, a header or a parameter is rejected before connecting."""
    outcome = await send(make("smtp", port=1), Message("0-a.0", "k", "email", to, "text", "subject"))
    assert outcome.kind is OutcomeKind.REJECTED


def test_options_name_the_field_and_hide_secrets() -> None:
    """A missing or unknown option raises ConfigError that names vendor and field. A secret is not shown in repr."""
    with pytest.raises(ConfigError, match=r"vendors\.v\.options\.auth_token: is needed"):
        build("twilio", "v", "sms", {"account_sid": "AC1", "sender": "+49"})
    with pytest.raises(ConfigError, match=r"vendors\.v\.options\.colour: is not an option"):
        build("vonage", "v", "sms", {"api_key": "a", "api_secret": "hidden-1", "sender": "S", "colour": "red"})
    vendor = build("vonage", "v", "sms", {"api_key": "a", "api_secret": "hidden-1", "sender": "S"})
    assert "hidden-1" not in repr(vars(vendor))


@pytest.mark.parametrize("mode", ["error", "reject"])
@pytest.mark.parametrize("adapter", [*HTTP_ADAPTERS, "smtp"])
async def test_the_sandbox_fails_for_some_recipients_alone(sandbox: Sandbox, adapter: str, mode: str) -> None:
    """A fault of the sandbox has the option `to`, the beginning of an address. Messages to addresses that begin so
    fail.

    Messages to all other addresses are accepted.
    """
    message = message_for(adapter)
    await sandbox.fault(adapter, mode=mode, to=message.to[:3])
    assert (await send(sandbox.vendor(adapter), message)).kind is not OutcomeKind.ACCEPTED
    await sandbox.fault(adapter, mode=mode, to="+999" if message.to.startswith("+") else "nobody")
    assert (await send(sandbox.vendor(adapter), message)).kind is OutcomeKind.ACCEPTED
    assert (await sandbox.received(adapter))["accepted"] == 1


async def test_the_sandbox_refuses_a_wrong_fault(sandbox: Sandbox) -> None:
    """A fault with an unknown mode or a wrong value is answered 422 and changes nothing."""
    assert await sandbox.fault("twilio", mode="explode") == 422
    assert await sandbox.fault("twilio", mode="error", ratio=2) == 422
    assert await sandbox.fault("twilio", mode="error", to="49") == 422
    assert (await sandbox.received("twilio"))["mode"] == "none"


@pytest.mark.parametrize("adapter", HTTP_ADAPTERS)
async def test_the_sandbox_checks_requests_as_the_provider_would(sandbox: Sandbox, adapter: str) -> None:
    """The sandbox refuses an incomplete request in the provider's own form, and records no delivery."""
    path = {"twilio": "/2010-04-01/Accounts/AC1/Messages.json", "vonage": "/sms/json", "sendgrid": "/v3/mail/send"}
    async with sandbox.session.post(f"{sandbox.url}/{adapter}{path[adapter]}", data=b"{}") as answer:
        assert answer.status in (200, 401)
    found = await sandbox.received(adapter)
    assert (found["accepted"], found["calls"]) == (0, 1)


@pytest.mark.parametrize("sender", ["shop@example.com", "Müller, Söhne <shop@example.com>"])
async def test_a_sender_with_a_name_arrives_with_both(sender: str) -> None:
    """A sender is given with a display name or without one. The envelope has the bare address. The mail has the display
    name too, if there is one.

    This holds for SMTP and for SendGrid.
    """
    written = f'"{sender.partition(" <")[0]}" <shop@example.com>' if "<" in sender else sender
    seen: list[Any] = []

    class Post:
        async def post_json(self, url: str, timeout_s: float, body: Any, headers: Any) -> Outcome:
            seen.append(body["from"])
            return Outcome.unknown("test")

        async def close(self) -> None:
            return

    grid: Any = build("sendgrid", "g", "email", {"api_key": "k", "sender": written})
    grid._http = Post()
    await send(grid, message_for("smtp"))
    relay: Any = build("smtp", "r", "email", {"host": "h.example", "sender": written})
    mail = email.message_from_bytes(relay._content(message_for("smtp")), policy=email.policy.SMTP)
    (address,) = mail["From"].addresses
    name = "Müller, Söhne" if "<" in sender else ""
    assert (address.display_name, address.addr_spec) == (name, "shop@example.com")
    assert relay._sender == "shop@example.com"
    assert seen == [{"email": "shop@example.com", **({"name": name} if name else {})}]
