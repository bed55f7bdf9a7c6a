"""Tests where an HTTP/1.1 answer ends, which connection may be used again, and which requests cannot be written.

The rules are those of RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dispatcher.adapters.providers import exchange
from dispatcher.adapters.providers.http import Answer, HttpClient
from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope

DEADLINE_S = 5.0


class Scripted:
    """A server that answers the n-th request with the n-th of `answers`, counted over all connections.

    `connections` counts the connections, and `closed` those that have ended. With `closes`, the server closes a
    connection after each answer. `late` holds bytes that the server sends a moment after each answer, without a
    request.
    """

    def __init__(self, *answers: bytes, closes: bool = False, late: bytes = b"") -> None:
        self.connections = self.closed = 0
        self.requests: list[bytes] = []
        self.over = asyncio.Event()
        self._answers, self._closes, self._late = list(answers), closes, late

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                self.requests.append(head + (await reader.readexactly(length[0]) if length else b""))
                writer.write(self._answers.pop(0))
                await writer.drain()
                if self._closes:
                    break
                if self._late:
                    await asyncio.sleep(0.02)
                    writer.write(self._late)
        writer.close()
        self.closed += 1
        self.over.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages"
        server.close()


def said(status: str, body: bytes = b"", *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), *fields, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


YES = said("201 Created", b"yes", b"X-Message-Id: first", b"x-message-id: second")


async def post_to(server: Scripted, times: int = 1) -> list[Answer | Outcome]:
    client = HttpClient()
    async with server.open() as url:
        found = []
        for _ in range(times):
            found.append(await client.post(url, DEADLINE_S, b"a=1", {"X-Try": "1"}))
            await asyncio.sleep(0.05)  # what the server sends or does after its answer arrives
        await client.close()
    return found


async def test_an_answer_is_told_as_it_came() -> None:
    """A server's answer is read with its status, body and header fields. The case of a field's name makes no
    difference.

    If a field comes twice, its first value counts.
    """
    server = Scripted(YES)
    (answer,) = await post_to(server)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (201, b"yes")
    assert answer.headers["X-MESSAGE-ID"] == "first" and answer.headers.get("Retry-After") is None
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /messages HTTP/1.1" and body == b"a=1"
    assert lines[1].startswith(b"Host: 127.0.0.1:")
    assert {b"X-Try: 1", b"Content-Length: 3", b"Accept-Encoding: identity"} <= set(lines)


async def test_a_connection_is_used_again() -> None:
    server = Scripted(YES, YES, said("204 No Content"), YES)
    answers = await post_to(server, times=4)
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [201, 201, 204, 201]
    assert server.connections == 1


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Message-Id: no\r\n\r\n"]
)
async def test_an_interim_answer_is_none(interim: bytes) -> None:
    server = Scripted(interim + YES, interim + interim + YES)
    for answer in await post_to(server, times=2):
        assert isinstance(answer, Answer) and (answer.status, answer.body) == (201, b"yes")
        assert answer.headers["x-message-id"] == "first"
    assert server.connections == 1


@pytest.mark.parametrize(
    "unframed",
    [
        b"HTTP/1.1 201 Created\r\n\r\nyes",
        b"HTTP/1.0 201 Created\r\n\r\nyes",
        b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\nyes",
    ],
)
async def test_without_a_length_the_end_of_the_connection_is_the_end(unframed: bytes) -> None:
    server = Scripted(unframed, unframed, closes=True)
    for answer in await post_to(server, times=2):
        assert isinstance(answer, Answer) and answer.body == b"yes"
    assert server.connections == 2


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nyes",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nyes!",
        b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\nyes",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nyes\r\n",
    ],
)
async def test_an_answer_that_is_cut_or_is_none_is_unknown(cut: bytes) -> None:
    assert await post_to(Scripted(cut, closes=True)) == [Outcome.unknown("connection_lost")]


async def test_chunks_and_trailers_are_one_body() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1;x=y\r\ns\r\n0\r\nX-Sum: 7\r\n\r\n"
    server = Scripted(chunked, YES)
    first, second = await post_to(server, times=2)
    assert isinstance(first, Answer) and first.body == b"yes"
    assert isinstance(second, Answer) and second.status == 201
    assert server.connections == 1


@pytest.mark.parametrize("fields", [(b"Connection: close",), (b"Connection: Close, x",)])
async def test_a_server_that_wants_to_close_is_not_asked_again(fields: tuple[bytes, ...]) -> None:
    server = Scripted(said("200 OK", b"yes", *fields), YES)
    answers = await post_to(server, times=2)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert server.connections == 2


@pytest.mark.parametrize("more", [said("200 OK", b"other"), b"HTTP/1.1 200 OK\r\nContent-Le", b"garbage"])
async def test_what_follows_an_answer_is_never_the_next_ones(more: bytes) -> None:
    """Bytes after an answer end the connection. The next request uses a new connection and gets its own answer."""
    for server in (Scripted(YES + more, YES), Scripted(YES, YES, late=more)):
        answers = await post_to(server, times=2)
        assert [(one.status, one.body) for one in answers if isinstance(one, Answer)] == [(201, b"yes")] * 2
        assert server.connections == 2


@pytest.mark.parametrize("behind", [b"", YES.replace(b"yes", b"old")], ids=["closes", "sends a second answer"])
async def test_what_a_busy_loop_has_not_read_yet_counts(behind: bytes) -> None:
    """After an answer, the server closes the connection or sends more bytes while our event loop is busy elsewhere.

    The next request does not use this connection, although the loop has not read the end or the bytes yet.
    """
    listening, done = socket.create_server(("127.0.0.1", 0)), threading.Event()
    listening.settimeout(DEADLINE_S)

    def serve() -> None:
        with listening:
            for answer in (YES, YES.replace(b"yes", b"new")):
                with contextlib.closing(listening.accept()[0]) as peer:
                    peer.recv(4096)
                    peer.sendall(answer)
                    go_on.wait(DEADLINE_S)
                    peer.sendall(behind)
                    if behind:
                        done.set()
                        over.wait(DEADLINE_S)
                done.set()

    go_on, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client, url = HttpClient(), f"http://127.0.0.1:{listening.getsockname()[1]}/"
    first = await client.post(url, DEADLINE_S, b"a=1", {})
    go_on.set()
    assert done.wait(DEADLINE_S), "the loop stands still meanwhile"
    over.set()
    second = await client.post(url, DEADLINE_S, b"a=2", {})
    await client.close()
    thread.join(DEADLINE_S)
    assert [one.body if isinstance(one, Answer) else one for one in (first, second)] == [b"yes", b"new"]


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """The server closes an idle connection. The next request uses a new one."""
    server = Scripted(YES, YES, closes=True)
    answers = await post_to(server, times=2)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert server.connections == 2


async def test_a_connection_that_idled_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "KEEPALIVE_S", 0.0)
    server = Scripted(YES, YES)
    await post_to(server, times=2)
    assert server.connections == 2


async def test_the_connections_of_a_peak_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests are open at the same time, and then one after the other. The two further connections are closed
    after their time, although they are not used again.
    """
    monkeypatch.setattr(exchange, "KEEPALIVE_S", 0.3)
    server = Scripted(*[YES] * 20)
    client = HttpClient()
    async with server.open() as url:
        await asyncio.gather(*(client.post(url, DEADLINE_S, b"a=1", {}) for _ in range(3)))
        assert (server.connections, server.closed) == (3, 0)
        for _ in range(12):
            await asyncio.sleep(0.05)
            await client.post(url, DEADLINE_S, b"a=1", {})
        assert (server.connections, server.closed) == (3, 2)
        await client.close()


async def test_an_early_answer_to_half_a_request_ends_the_connection() -> None:
    """The server answers 413 before it has read the body. The next request uses a new connection.

    Otherwise the rest of the body would be read as the beginning of the next request.
    """

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said("413 Content Too Large"))
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    connections = 0
    client = HttpClient()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1024) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            answer = await client.post(url, DEADLINE_S, b"x" * (16 << 20), {})
            assert isinstance(answer, Answer) and answer.status == 413
        await client.close()
    assert connections == 2


async def test_a_call_that_is_given_up_takes_its_connection_along() -> None:
    """A cancelled call closes its connection, so that its late answer is not taken for the next request's answer."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            begun.set()
            await asyncio.sleep(0.1 if connections == 1 else 0)
            writer.write(said("200 OK", b"%d" % connections))
            await reader.read()
            gone.set()
        writer.close()

    connections = 0
    client = HttpClient()
    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        call = asyncio.create_task(client.post(url, DEADLINE_S, b"x", {}))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), DEADLINE_S)
        answer = await client.post(url, DEADLINE_S, b"x", {})
        await client.close()
    assert isinstance(answer, Answer) and answer.body == b"2"


@pytest.mark.parametrize(
    ("url", "host", "line"),
    [
        ("http://[::1]:80/a", b"[::1]:80", b"/a"),
        ("https://api.example.com", b"api.example.com", b"/"),
        ("http://api.example.com/2010/a.json?To=+49&x=ä", b"api.example.com", b"/2010/a.json?To=+49&x=%C3%A4"),
        ("http://api.example.com/a b/%20#fragment", b"api.example.com", b"/a%20b/%20"),
    ],
)
def test_an_address_is_written_as_servers_read_it(url: str, host: bytes, line: bytes) -> None:
    _, head = exchange.target(url)
    request = exchange.written("GET", head, {}, b"")
    assert request.startswith(b"GET " + line + b" HTTP/1.1\r\nHost: " + host + b"\r\n")
    assert request.endswith(b"\r\n\r\n") and b"Content-Length" not in request


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/", {"Authorization": "Bearer SG.key\n"}),
        ("http://127.0.0.1:1/", {"Author\nization": "x"}),
        ("http://:1", {}),
        ("ftp://127.0.0.1/", {}),
        ("http://user:word@127.0.0.1:1/", {"Authorization": "Bearer x"}),
        (f"http://{'a' * 70}.example:1/", {}),
    ],
)
async def test_a_request_that_cannot_be_written_is_the_configurations_fault(url: str, headers: dict[str, str]) -> None:
    """A request that HTTP cannot carry counts as a fault of the account and not of our network. Nothing is sent."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = HttpClient()
        outcome = await client.post(url.replace(":1/", f":{port}/"), 2.0, b"x", headers)
        await client.close()
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.scope, outcome.local_origin) == (OutcomeKind.FAILED, Scope.ACCOUNT, False)
    assert outcome.reason == "not_writable"
