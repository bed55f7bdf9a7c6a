"""Tests a vendor whose answer does not end: a limit of bytes ends the call, long before the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import Callable

import pytest

from dispatcher.adapters.providers.http import HttpClient
from dispatcher.core.life.outcome import Outcome
from tests.contract.vendors import HTTP_ADAPTERS, make, message_for, send

DEADLINE_S = 20.0
MEMORY_MAX = 4 << 20
"""The most bytes for the capped answer, the buffers at both ends of the connection, and this test itself."""

CHUNK = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"


class Endless:
    """Reads a request up to `until`, answers `first`, then sends `again` until the client closes. `sent` counts these
    bytes.
    """

    def __init__(self, first: bytes, again: bytes, until: bytes = b"\r\n\r\n") -> None:
        self._first, self._again, self._until = first, again, until
        self.sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._until:
                await reader.readuntil(self._until)
            writer.write(self._first)
            while True:
                writer.write(self._again)
                await writer.drain()
                self.sent += len(self._again)
                await asyncio.sleep(0)  # drain does not wait while there is room
        writer.close()


async def against(peer: Endless, call: Callable[[int], object]) -> tuple[object, int]:
    """Return the answer of `call`, which gets the port of `peer`, and the most memory in bytes that it used."""
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        tracemalloc.start()
        try:
            answer = await call(server.sockets[0].getsockname()[1])  # type: ignore[misc]
            return answer, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


BODIES = {
    "chunked": (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
    "chunked, of an error": (b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
    "until it closes": (b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n", b"x" * 8192),
    "of a length promised": (b"HTTP/1.1 201 Created\r\nContent-Length: 10737418240\r\n\r\n", b"x" * 8192),
}
HEADS = {
    "one long header": (b"HTTP/1.1 201 Created\r\nX-Long: ", b"x" * 8192),
    "headers without end": (b"HTTP/1.1 201 Created\r\n", b"X-More: x\r\n" * 512),
    "a status line without end": (b"HTTP/1.1 201 ", b"x" * 8192),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("adapter", HTTP_ADAPTERS)
async def test_an_endless_body_is_too_large(adapter: str, body: str) -> None:
    """An answer with an endless body is unknown, whatever its status, and memory stays below a limit."""
    peer = Endless(*BODIES[body])
    outcome, peak = await against(
        peer, lambda port: send(make(adapter, f"http://127.0.0.1:{port}"), message_for(adapter), DEADLINE_S)
    )
    assert outcome == Outcome.unknown("answer_too_large")
    assert peak < MEMORY_MAX


@pytest.mark.parametrize("head", HEADS)
async def test_endless_headers_are_no_answer(head: str) -> None:
    """The headers or the status line of an answer do not end. The outcome is unknown, and memory stays below a
    limit.
    """
    peer = Endless(*HEADS[head])
    outcome, peak = await against(
        peer, lambda port: send(make("twilio", f"http://127.0.0.1:{port}"), message_for("twilio"), DEADLINE_S)
    )
    assert outcome == Outcome.unknown("connection_lost")
    assert peak < MEMORY_MAX


async def test_an_endless_look_up_is_no_answer() -> None:
    """A GET with an endless answer, as in a look-up, returns None, and memory stays below a limit."""

    async def ask(port: int) -> object:
        client = HttpClient()
        try:
            return await client.get(f"http://127.0.0.1:{port}/", DEADLINE_S, {})
        finally:
            await client.close()

    answer, peak = await against(Endless(*BODIES["chunked"]), ask)
    assert answer is None
    assert peak < MEMORY_MAX


SMTP = {
    "a greeting of one line": (b"220 ", b"x" * 8192),
    "a greeting of many": (b"", b"220-more\r\n" * 512),
    "no SMTP at all": (b"", b"<html>\r\n"),
    "an answer of many": (b"220 here\r\n", b"250-more\r\n" * 512),
}


@pytest.mark.parametrize("reply", SMTP)
async def test_an_endless_smtp_reply_is_not_sent(reply: str) -> None:
    """The server sends an endless SMTP reply before the mail itself was sent. The outcome is `failed`.

    So the mail counts as not sent, the recipient counts as not refused, and the memory in use stays bounded.
    """
    peer = Endless(*SMTP[reply], until=b"")
    outcome, peak = await against(peer, lambda port: send(make("smtp", port=port), message_for("smtp"), DEADLINE_S))
    assert outcome == Outcome.failed("smtp_protocol")
    assert peak < MEMORY_MAX


@pytest.mark.parametrize("again", [b"250-more\r\n" * 512, b"<html>\r\n", b"x" * 8192], ids=["many", "html", "one line"])
async def test_an_endless_smtp_reply_to_the_message_is_unknown(again: bytes) -> None:
    """An endless SMTP reply after the message is unknown, because the server may have the message."""

    class Taking(Endless):
        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in (b"220 here", b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
                writer.write(answer + b"\r\n")
                await reader.readline()
            await super().__call__(reader, writer)

    peer = Taking(b"", again, until=b"\r\n.\r\n")
    outcome, peak = await against(peer, lambda port: send(make("smtp", port=port), message_for("smtp"), DEADLINE_S))
    assert outcome == Outcome.unknown("smtp_protocol")
    assert peak < MEMORY_MAX
