"""Tests what a permanent refusal of an SMTP server is about: our account, the recipient, or the message."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from dispatcher.adapters.providers import build
from dispatcher.core.life.outcome import Outcome, Scope
from dispatcher.ports import Vendor
from tests.contract.vendors import EMAIL, send

YES = {"": "220 up", "EHLO": "250-up\r\n250 AUTH PLAIN", "AUTH": "235 welcome", "DATA": "354 go on", ".": "250 taken"}


class Relay:
    """A server that refuses the commands in `no`, with the given replies, and accepts all others.

    `connections` counts its connections.
    """

    def __init__(self, **no: str) -> None:
        self.no = {{"GREETING": "", "DOT": "."}.get(verb, verb): reply for verb, reply in no.items()}
        self.connections = 0
        self.heard: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        verb = ""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while verb != "QUIT":
                writer.write(f"{self.no.get(verb) or YES.get(verb, '250 ok')}\r\n".encode())
                if verb == "DATA" and verb not in self.no:
                    await reader.readuntil(b"\r\n.\r\n")
                    verb = "."
                    continue
                verb = (await reader.readuntil(b"\n")).split()[0].decode().upper()
                self.heard.append(verb)
        writer.close()


def vendor(port: int, username: str | None = None, **changes: Any) -> Vendor:
    options = {"host": "127.0.0.1", "port": port, "starttls": False, "sender": "shop@example.com"}
    login = {} if username is None else {"username": username, "password": "p"}
    return build("smtp", "relay", "email", {**options, **login, **changes})


async def refused(no: dict[str, str], username: str | None = None) -> Outcome:
    server = await asyncio.start_server(Relay(**no), "127.0.0.1", 0)
    async with server:
        return await send(vendor(server.sockets[0].getsockname()[1], username), EMAIL)


@pytest.mark.parametrize(
    "no",
    [
        pytest.param({"GREETING": "554 5.7.1 your address is blocked"}, id="the greeting"),
        pytest.param({"EHLO": "550 who are you", "HELO": "550 who are you"}, id="EHLO and HELO"),
        pytest.param({"AUTH": "535 5.7.8 no such user or password"}, id="AUTH"),
        pytest.param({"MAIL": "530 5.7.0 authentication required"}, id="MAIL, not logged in"),
        pytest.param({"MAIL": "550 sender not allowed"}, id="MAIL, 550"),
        pytest.param({"MAIL": "553 5.7.1 not owned by you"}, id="MAIL, 553"),
        pytest.param({"MAIL": "554 blocked"}, id="MAIL, 554"),
        pytest.param({"RCPT": "530 5.7.0 authentication required"}, id="RCPT, not logged in"),
        pytest.param({"RCPT": "550 5.1.8 <shop@example.com>: domain not found"}, id="RCPT, the sender's domain"),
        pytest.param({"DATA": "530 authentication required"}, id="DATA, not logged in"),
    ],
)
async def test_a_no_to_the_account_is_no_word_about_the_recipient(no: dict[str, str]) -> None:
    """A relay refuses the greeting, the login or the sender. The outcome is failed with account scope, and not
    rejected, because nothing is said about the recipient.

    So the message goes to the next vendor, and the breaker opens.
    """
    outcome = await refused(no, "shop")
    (reply,) = set(no.values())
    assert outcome == Outcome.failed(f"smtp_{reply[:3]}", scope=Scope.ACCOUNT)


@pytest.mark.parametrize(
    ("ehlo", "options"),
    [
        ("250 up", {"username": "shop", "password": "p"}),
        ("250-up\r\n250 AUTH GSSAPI NTLM", {"username": "shop", "password": "p"}),
        ("250 up", {"starttls": True}),
    ],
    ids=["no AUTH", "no AUTH of ours", "no STARTTLS"],
)
async def test_what_a_relay_does_not_offer_is_the_configurations_fault(ehlo: str, options: dict[str, Any]) -> None:
    """If a relay offers no AUTH or STARTTLS that we need, the outcome has account scope, and no login or mail is sent.

    The operator is told at once (docker-sentry 101, PHPMailer 3021).
    """
    relay = Relay(EHLO=ehlo)
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        outcome = await send(vendor(server.sockets[0].getsockname()[1], **options), EMAIL)
    assert outcome == Outcome.failed("not_offered", scope=Scope.ACCOUNT)
    assert relay.heard == ["EHLO"]


async def test_relaying_denied_goes_elsewhere() -> None:
    """A relay refuses a recipient with "relay access denied". The outcome is failed with scope UNLISTED, because the
    refusal may concern this recipient only.

    So the message goes to the next vendor instead of becoming a dead letter, and the refusal does not count against the
    relay.
    """
    assert await refused({"RCPT": "554 5.7.1 relay access denied"}) == Outcome.failed("smtp_554", scope=Scope.UNLISTED)


@pytest.mark.parametrize("reply", ["550 no such user", "554 no", "550 5.4.1 Recipient address rejected: Access denied"])
async def test_a_plain_no_to_the_recipient_proves_nothing(reply: str) -> None:
    """A refusal of the recipient without a final enhanced code is failed (scope UNLISTED), so the next vendor gets the
    message.

    Gmail and SES answer in this way when our quota is used up.
    """
    assert await refused({"RCPT": reply}) == Outcome.failed(f"smtp_{reply[:3]}", scope=Scope.UNLISTED)


@pytest.mark.parametrize("reply", ["450 4.2.0 Greylisted", "451 try again", "452 4.2.2 full", "552 5.2.2 full"])
async def test_a_no_for_now_to_the_recipient_is_its_own(reply: str) -> None:
    assert await refused({"RCPT": reply}) == Outcome.deferred(f"smtp_{reply[:3]}")


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "550 5.2.1 disabled", "553 5.1.3 syntax"])
async def test_a_no_to_the_recipient_is_final(reply: str) -> None:
    assert await refused({"RCPT": reply}) == Outcome.rejected(f"smtp_{reply[:3]}", Scope.RECIPIENT)


@pytest.mark.parametrize("verb", ["DATA", "DOT"])
async def test_a_no_to_the_message_goes_elsewhere(verb: str) -> None:
    """A relay refuses the message itself. The outcome is failed and not rejected, so that the next vendor is tried: its
    relay may accept the message.
    """
    assert await refused({verb: "554 5.7.1 spam"}) == Outcome.failed("smtp_554", scope=Scope.UNLISTED)


@pytest.mark.parametrize("verb", ["GREETING", "AUTH", "MAIL", "RCPT", "DOT"])
async def test_a_no_for_now_is_none_of_them(verb: str) -> None:
    """At any SMTP command, the reply 451 gives the outcome `failed` with vendor scope, and the reply 421 the outcome
    `throttled`. Neither is a refusal of the account.
    """
    assert await refused({verb: "451 4.3.0 later"}, "shop") == Outcome.failed("smtp_451")
    assert await refused({verb: "421 too many"}, "shop") == Outcome.throttled("smtp_421")


async def test_a_connection_that_was_refused_the_sender_is_not_kept() -> None:
    """After a refused recipient the connection is kept. After a refused sender it is closed, because a new login may
    help.
    """
    relay = Relay(RCPT="550 no such user")
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        v = vendor(server.sockets[0].getsockname()[1], "shop")
        await v.send(EMAIL, 2.0)
        relay.no = {"MAIL": "530 5.7.0 authentication required"}
        assert (await v.send(EMAIL, 2.0)).scope is Scope.ACCOUNT
        assert relay.connections == 1
        relay.no = {}
        assert (await send(v, EMAIL)).reason == "accepted"
        assert relay.connections == 2
