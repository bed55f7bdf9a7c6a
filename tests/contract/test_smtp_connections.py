"""Tests how the SMTP adapter makes, keeps and gives up connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from actors.assembly import courier_limits
from dispatcher.adapters.providers import build, smtp
from dispatcher.config.settings import CourierSettings, VendorSettings
from dispatcher.core.life.outcome import Outcome, OutcomeKind
from dispatcher.ports import Vendor
from tests.contract.certificates import Authority
from tests.contract.vendors import EMAIL, send

YES = {"EHLO": "250 up", "DATA": "354 go on"}


class Relay:
    """A server that accepts every command, and keeps the commands of each connection in `heard`.

    `ended` counts the connections that have ended. After `mute` is set, the first connection gets no answers any more.
    """

    def __init__(self, *, mails_max: int = 1000, goodbye: str = "", delay_s: float = 0.0) -> None:
        self.heard: list[list[str]] = []
        self.mails = self.ended = 0
        self.mute = asyncio.Event()
        self._mails_max, self._goodbye, self._delay_s = mails_max, goodbye, delay_s

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands: list[str] = []
        self.heard.append(commands)
        first, mails = len(self.heard) == 1, 0
        writer.write(b"220 up\r\n")
        try:
            while line := (await reader.readline()).decode().strip():
                commands.append(line)
                verb = line.split()[0].upper()
                if first and self.mute.is_set():
                    continue
                if verb == "MAIL" and mails == self._mails_max:
                    writer.write(self._goodbye.encode())
                    return
                writer.write(f"{YES.get(verb, '250 ok')}\r\n".encode())
                if verb == "DATA":
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self._delay_s)
                    mails, self.mails = mails + 1, self.mails + 1
                    writer.write(b"250 taken\r\n")
        finally:
            writer.close()
            self.ended += 1


def vendor(port: int, host: str = "127.0.0.1", **options: Any) -> Vendor:
    return build("smtp", "relay", "email", {"host": host, "port": port, "sender": "shop@example.com", **options})


class Served:
    """Lets a relay listen inside the `async with` block. Entering the block returns the port."""

    def __init__(self, relay: Relay, context: ssl.SSLContext | None = None) -> None:
        self._relay, self._context = relay, context

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def test_a_kept_connection_is_used_again() -> None:
    """Two mails go through one connection. For the second mail the client begins with MAIL, without a new greeting."""
    relay = Relay()
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        for _ in range(2):
            assert (await v.send(EMAIL, 2.0)).kind is OutcomeKind.ACCEPTED
        await v.close()
    assert [len(one) for one in relay.heard] == [7]


async def test_a_connection_idle_for_a_minute_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for too long is not used again, because load balancers forget it, often silently."""
    relay = Relay()
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        await v.send(EMAIL, 2.0)
        monkeypatch.setattr(smtp, "IDLE_S_MAX", 0.0)
        assert (await send(v, EMAIL)).kind is OutcomeKind.ACCEPTED
    assert [len(one) for one in relay.heard] == [4, 4]


async def test_the_connections_of_a_peak_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three mails are sent at the same time, and then one after the other. The two further connections are closed after
    their time, although they are not used again.
    """
    monkeypatch.setattr(smtp, "IDLE_S_MAX", 0.3)
    relay = Relay()
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        await asyncio.gather(*(v.send(EMAIL, 2.0) for _ in range(3)))
        assert (len(relay.heard), relay.ended) == (3, 0)
        for _ in range(12):
            await asyncio.sleep(0.05)
            await v.send(EMAIL, 2.0)
        assert (len(relay.heard), relay.ended) == (3, 2)
        await v.close()


async def test_a_connection_that_died_silently_costs_no_failure() -> None:
    """A kept connection gives no answer. The mail is sent at once on a new connection, and is accepted."""
    relay = Relay()
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        await v.send(EMAIL, 2.0)
        relay.mute.set()
        assert (await send(v, EMAIL, 2.0)).kind is OutcomeKind.ACCEPTED
    assert len(relay.heard) == 2 and relay.mails == 2


@pytest.mark.parametrize("goodbye", ["", "421 4.7.0 too many mails in this session\r\n"])
async def test_a_server_that_closes_after_its_last_mail_costs_no_failure(goodbye: str) -> None:
    """An SMTP server closes each connection after two mails, silently or with a 421. Five mails are sent one after
    another.

    All five are accepted.
    """
    relay = Relay(mails_max=2, goodbye=goodbye)
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        for _ in range(5):
            assert (await v.send(EMAIL, 2.0)).kind is OutcomeKind.ACCEPTED
        await v.close()
    assert len(relay.heard) == 3 and relay.mails == 5


async def test_a_fresh_connection_that_is_refused_is_not_repeated() -> None:
    """A server answers 421 on a new connection. The outcome is throttled, and no second connection is made."""
    relay = Relay(mails_max=0, goodbye="421 busy\r\n")
    async with Served(relay) as port:
        assert (await send(vendor(port, tls="none"), EMAIL)) == Outcome.throttled("smtp_421")
    assert len(relay.heard) == 1


async def test_waiting_for_a_connection_eats_no_deadline() -> None:
    """There are twice as many calls at once as the adapter may have connections. Half of the calls wait for a
    connection.

    This wait does not count against a call's time limit. So all mails are accepted, although the last calls take longer
    than the limit.
    """
    relay = Relay(delay_s=2.0)
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        outcomes = await asyncio.gather(*(v.send(EMAIL, 3.5) for _ in range(2 * smtp.CONNECTIONS_MAX)))
        await v.close()
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ACCEPTED}
    assert len(relay.heard) == smtp.CONNECTIONS_MAX


async def test_waiting_for_a_connection_has_an_end() -> None:
    """All connections stay busy for longer than a call's time-out. The waiting call ends as throttled.

    Neither the network nor the relay is at fault.
    """
    relay = Relay(delay_s=60.0)
    async with Served(relay) as port:
        v = vendor(port, tls="none")
        busy = [asyncio.create_task(v.send(EMAIL, 60.0)) for _ in range(smtp.CONNECTIONS_MAX)]
        await asyncio.sleep(0.1)
        assert await v.send(EMAIL, 0.2) == Outcome.throttled("no_free_connection")
        for one in busy:
            one.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await v.close()


def test_no_actor_makes_more_calls_than_it_has_connections() -> None:
    """An SMTP actor makes at most as many calls at the same time as it may have connections, whatever is configured."""
    settings = {"channel": "email", "adapter": "smtp", "concurrency_max": 64}
    limits = courier_limits(VendorSettings.model_validate(settings), CourierSettings())
    assert limits.concurrency_max == smtp.CONNECTIONS_MAX
    settings |= {"channel": "sms", "adapter": "twilio"}
    assert courier_limits(VendorSettings.model_validate(settings), CourierSettings()).concurrency_max == 64


async def test_an_address_that_is_a_black_hole_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two addresses never answers a connection, so the second is tried meanwhile (RFC 8305). The mail is
    accepted.

    The silent address is a socket whose backlog is full.
    """
    hole = socket.create_server(("127.0.0.2", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(hole.getsockname())
    relay = Relay()
    async with Served(relay) as port:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", hole.getsockname()),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

        async def look_up(*_: Any, **__: Any) -> Any:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        began_s = time.monotonic()
        outcome = await send(vendor(port, "relay.example", tls="none"), EMAIL, 60.0)
    for one in (hole, *fillers):
        one.close()
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert time.monotonic() - began_s < 30.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "example.com"),
        ({"helo_name": "mx.shop.example"}, "mx.shop.example"),
        ({"helo_name": "192.0.2.1"}, "[192.0.2.1]"),
        ({"helo_name": "2001:db8::1"}, "[IPv6:2001:db8::1]"),
    ],
)
async def test_the_greeting_names_us(options: dict[str, str], said: str) -> None:
    """EHLO names `helo_name`, or by default the sender's domain. Many servers refuse `EHLO localhost`."""
    relay = Relay()
    async with Served(relay) as port:
        await send(vendor(port, tls="none", **options), EMAIL)
    assert relay.heard[0][0] == f"EHLO {said}"


async def test_implicit_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    """With `tls: implicit`, TLS comes first, as on port 465 (RFC 8314). The mail is accepted if `ca_file` names the
    authority.

    Without `ca_file` the machine's authorities count, and the outcome is failed.
    """
    authority = Authority(tmp_path)
    relay = Relay()
    async with Served(relay, authority.server()) as port:
        trusting = vendor(port, tls="implicit", ca_file=str(authority.file))
        assert (await send(trusting, EMAIL)).kind is OutcomeKind.ACCEPTED
        refused = await send(vendor(port, tls="implicit"), EMAIL)
    assert (refused.kind, refused.reason) == (OutcomeKind.FAILED, "tls")


@pytest.mark.parametrize(
    ("options", "protection"),
    [
        ({}, "starttls"),
        ({"port": 465}, "implicit"),
        ({"port": "465", "tls": "starttls"}, "starttls"),
        ({"tls": "none"}, "none"),
        ({"starttls": False}, "none"),
        ({"starttls": True}, "starttls"),
        ({"port": 465, "starttls": True}, "starttls"),
    ],
)
def test_the_port_and_the_options_decide_on_tls(options: dict[str, Any], protection: str) -> None:
    """The option `tls` decides how the connection is protected. Without it the older option `starttls` decides, or the
    port.
    """
    v: Any = build("smtp", "v", "email", {"host": "h.example", "sender": "shop@example.com", **options})
    assert v._protection == protection
