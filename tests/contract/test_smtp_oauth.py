"""Tests a relay that accepts only access tokens: XOAUTH2 at another project's SMTP server, with tokens by RFC 6749."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from cluster.local.state_directory import free_port
from dispatcher.adapters.providers import build
from dispatcher.core.life.outcome import OutcomeKind, Scope
from dispatcher.errors import ConfigError
from dispatcher.ports import Vendor
from tests.contract.certificates import Authority
from tests.contract.vendors import EMAIL

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")

REFUSAL = "eyJzdGF0dXMiOiI0MDAifQ=="


@dataclass
class Relay:
    """Accepts a login of `user` with a token in `good`. It refuses others as Google and Microsoft do, with a challenge
    first.
    """

    good: set[str]
    user: str = "shop@example.com"
    mails: int = 0

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        text = b64decode(args[1]).decode()
        if text in {f"user={self.user}\1auth=Bearer {token}\1\1" for token in self.good}:
            return AuthResult(success=True)
        await server.push(f"334 {REFUSAL}")
        await server._reader.readline()
        return AuthResult(success=False, handled=False)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        assert session.authenticated
        self.mails += 1
        return "250 OK"


@dataclass
class Endpoint:
    """A fake endpoint that issues the tokens `t1`, `t2` and so on.

    Each reply has a token, the fields in `answer`, and the HTTP status `status`.
    """

    status: int = 200
    answer: dict[str, Any] = field(default_factory=lambda: {"expires_in": 3600})
    asked: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        token = {"access_token": f"t{len(self.asked)}", "token_type": "Bearer"}
        return web.json_response({**token, **self.answer}, status=self.status)


@asynccontextmanager
async def relayed(folder: Path, relay: Relay, endpoint: Endpoint, **oauth: str) -> AsyncIterator[Vendor]:
    authority = Authority(folder)
    runner = web.ServerRunner(web.Server(endpoint))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context: ssl.SSLContext = authority.server()
    controller = Controller(
        relay, hostname="127.0.0.1", port=free_port(), ssl_context=context, auth_require_tls=False, auth_required=True
    )
    # Its own trigger would use the server's context for a client.
    controller._trigger_server = lambda: socket.create_connection(("127.0.0.1", controller.port)).close()
    await asyncio.to_thread(controller.start)
    options = {
        "host": "127.0.0.1",
        "port": controller.port,
        "tls": "implicit",
        "ca_file": str(authority.file),
        "sender": "shop@example.com",
        "username": "shop@example.com",
        "oauth_token_url": f"http://127.0.0.1:{runner.addresses[0][1]}/token",
        "oauth_client_id": "app",
        "oauth_client_secret": "s+cret&",
        **oauth,
    }
    vendor = build("smtp", "relay", "email", options)
    try:
        yield vendor
    finally:
        await vendor.close()
        await asyncio.to_thread(controller.stop)
        await runner.cleanup()


async def test_one_token_serves_many_connections(tmp_path: Path) -> None:
    """Five mails are sent at the same time. One token is asked for, with the client's credentials, and all mails are
    accepted.
    """
    relay, endpoint = Relay({"t1"}), Endpoint()
    async with relayed(tmp_path, relay, endpoint, oauth_scope="https://outlook.office365.com/.default") as vendor:
        outcomes = await asyncio.gather(*(vendor.send(EMAIL, 10.0) for _ in range(5)))
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ACCEPTED}
    assert relay.mails == 5
    assert endpoint.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "app",
            "client_secret": "s+cret&",
            "scope": "https://outlook.office365.com/.default",
        }
    ]


async def test_a_refresh_token_asks_for_a_user(tmp_path: Path) -> None:
    """With `oauth_refresh_token`, the token endpoint gets a request with the grant type `refresh_token` and this token.

    The refresh token stands for a user. Google offers no tokens for client credentials here.
    """
    endpoint = Endpoint()
    async with relayed(tmp_path, Relay({"t1"}), endpoint, oauth_refresh_token="r") as vendor:
        assert (await vendor.send(EMAIL, 10.0)).kind is OutcomeKind.ACCEPTED
    (asked,) = endpoint.asked
    assert (asked["grant_type"], asked["refresh_token"]) == ("refresh_token", "r")


async def test_a_token_that_was_revoked_early_costs_no_failure(tmp_path: Path) -> None:
    """The relay refuses a token that was revoked. A new token is asked for at once, and the mail is accepted.

    Otherwise the refusal 535 would count against the account.
    """
    relay, endpoint = Relay({"t2"}), Endpoint()
    async with relayed(tmp_path, relay, endpoint) as vendor:
        assert (await vendor.send(EMAIL, 10.0)).kind is OutcomeKind.ACCEPTED
    assert len(endpoint.asked) == 2


async def test_a_token_at_its_end_is_replaced(tmp_path: Path) -> None:
    """When a token has expired, the next mail asks for a new one. `expires_in` may be a text."""
    endpoint = Endpoint(answer={"expires_in": "1"})
    relay = Relay({"t1", "t2"})
    async with relayed(tmp_path, relay, endpoint) as vendor:
        await vendor.send(EMAIL, 10.0)
        vendor._tokens._until_s = 0.0  # type: ignore[attr-defined]
        vendor._idle.clear()  # type: ignore[attr-defined]
        await vendor.send(EMAIL, 10.0)
    assert (len(endpoint.asked), relay.mails) == (2, 2)


async def test_a_relay_that_refuses_every_token_is_the_accounts_fault(tmp_path: Path) -> None:
    """If the relay refuses every token, the outcome is a refusal of our account, and the mail goes to the next
    vendor.
    """
    async with relayed(tmp_path, Relay(set()), Endpoint()) as vendor:
        outcome = await vendor.send(EMAIL, 10.0)
    assert (outcome.reason, outcome.scope) == ("smtp_535", Scope.ACCOUNT)


@pytest.mark.parametrize(
    ("endpoint", "reason", "scope"),
    [
        (Endpoint(status=401, answer={"error": "invalid_client"}), "token_refused", Scope.ACCOUNT),
        (Endpoint(status=400, answer={"error": "invalid_grant"}), "token_refused", Scope.ACCOUNT),
        (Endpoint(status=503), "no_token", Scope.VENDOR),
        (Endpoint(status=429), "no_token", Scope.VENDOR),
        (Endpoint(answer={"access_token": 7}), "no_token", Scope.VENDOR),
        (Endpoint(answer={"access_token": "a\r\nRSET"}), "no_token", Scope.VENDOR),
        (Endpoint(answer={"expires_in": "soon"}), "no_token", Scope.VENDOR),
    ],
)
async def test_without_a_token_nothing_is_sent(tmp_path: Path, endpoint: Endpoint, reason: str, scope: Scope) -> None:
    """If the endpoint gives no token, the outcome is failed and no mail is sent.

    Refused credentials have account scope. An error of the endpoint has vendor scope.
    """
    relay = Relay({"t1"})
    async with relayed(tmp_path, relay, endpoint) as vendor:
        outcome = await vendor.send(EMAIL, 10.0)
    assert (outcome.kind, outcome.reason, outcome.scope) == (OutcomeKind.FAILED, reason, scope)
    assert relay.mails == 0


URL = "https://login.example/token"
OAUTH = {"oauth_token_url": URL, "oauth_client_id": "a", "oauth_client_secret": "b"}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (OAUTH, "username: is needed"),
        ({**OAUTH, "username": "u", "password": "p"}, "password: must be left out"),
        ({**OAUTH, "username": "u", "tls": "none"}, "tls: must not be none"),
        ({**OAUTH, "username": "u", "oauth_token_url": "login.example"}, "oauth_token_url: must begin with http"),
        ({"oauth_token_url": URL, "username": "u"}, "oauth_client_id: is needed"),
        ({"oauth_scope": "mail", "username": "u"}, "oauth_token_url: is needed"),
    ],
)
def test_a_wrong_login_is_refused_by_its_field(options: dict[str, Any], fault: str) -> None:
    """If login options contradict each other, building the vendor raises ConfigError that names the field."""
    with pytest.raises(ConfigError, match=fault):
        build("smtp", "relay", "email", {"host": "relay.example", "sender": "shop@example.com", **options})
