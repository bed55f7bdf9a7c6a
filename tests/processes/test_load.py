"""Tests the load client: it sends a request for each trigger, and no trigger suffers from the delay of another."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable
from unittest import mock

from cluster.rehearsal.load import Posted, post_in_turn, post_steadily
from cluster.rehearsal.load_connection import Connection, Pool


class Server:
    """Answers a request with `script(key, n)`, where n counts the requests with this key.

    If the script returns None, the server closes the connection without an answer.
    """

    def __init__(self, script: Callable[[str, int], bytes | None]) -> None:
        self._script, self.came, self.connections = script, Counter[str](), 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.wait(self._serving, timeout=1)  # each ends with its connection, which the client has closed

    async def answered(self, key: str, times: int) -> bytes | None:
        return self._script(key, times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = json.loads(await reader.readexactly(int(fields["Content-Length"])))
                key = fields["Idempotency-Key"]
                assert body["recipient"]["id"] == key
                self.came[key] += 1
                answer = await self.answered(key, self.came[key])
                if answer is None:
                    break
                for part in (answer[:20], answer[20:]):
                    writer.write(part)
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


def answer(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def accepted(key: str, times: int) -> bytes:
    return answer(202, json.dumps({"id": f"t-{key}"}).encode())


async def post(server: Server, count: int = 20, rate: float = 500) -> list[Posted]:
    bodies = [(f"k{n}", {"recipient": {"id": f"k{n}"}}) for n in range(count)]
    return await post_steadily(server.url, bodies, rate)


async def test_every_trigger_is_posted_once_on_connections_that_are_kept() -> None:
    """40 triggers are each posted once, over fewer than 40 connections. Each has its id, its times and its status."""
    async with Server(accepted) as server:
        posted = await post(server, 40, 200)
    assert [(p.key, p.trigger_id, p.status, p.tries) for p in posted] == [
        (f"k{n}", f"t-k{n}", 202, 1) for n in range(40)
    ]
    assert all(p.accepted_s is not None and p.accepted_s >= p.sent_s >= p.due_s for p in posted)
    assert server.connections < 40


async def test_what_was_cut_off_or_refused_for_now_is_tried_again_with_its_key() -> None:
    """A lost connection, and a 503 that closes the connection, are followed by a second try with the same key."""

    def script(key: str, times: int) -> bytes | None:
        if times == 1 and key == "k1":
            return None
        if times == 1 and key == "k2":
            return answer(503, b"<html>no server</html>", "Connection: close\r\n")
        return accepted(key, times)

    async with Server(script) as server:
        posted = await post(server, 5)
    assert [p.tries for p in posted] == [1, 2, 2, 1, 1]
    assert [p.first_status for p in posted] == [202, 0, 503, 202, 202]
    assert {p.status for p in posted} == {202}


async def test_what_is_refused_for_good_is_not_tried_again() -> None:
    """A trigger that is answered 422 is not posted again. Its result has the body of the answer as `problem`."""
    async with Server(lambda key, times: answer(422, b'{"field": "x"}')) as server:
        posted = await post(server, 2)
    assert [(p.tries, p.status, p.problem, p.accepted_s) for p in posted] == [(1, 422, {"field": "x"}, None)] * 2


async def test_a_connection_lost_before_its_request_is_an_answer_too() -> None:
    """The server resets a connection before the client has sent a request on it. The request then ends with the status
    0.

    If it had no end, the whole load would wait for it.
    """
    told = asyncio.get_running_loop().create_future()
    connection = Connection(Pool("http://127.0.0.1:1"))
    connection.connection_made(mock.Mock(spec=asyncio.Transport))
    connection.connection_lost(ConnectionResetError())
    connection.post(b"", 3.0, lambda status, body: told.set_result((status, body)))
    assert await asyncio.wait_for(told, 1) == (0, b"")


async def test_a_late_answer_holds_up_nobody_who_is_due() -> None:
    """The server leaves one of ten triggers without an answer. The other triggers are posted when they are due.

    The trigger without an answer is tried a second time.
    """

    def script(key: str, times: int) -> bytes | None:
        return b"" if (key, times) == ("k0", 1) else accepted(key, times)

    async with Server(script) as server:
        tries_s, began = 0.3, asyncio.get_running_loop().time()
        with mock.patch("cluster.rehearsal.load.TRY_S", tries_s):
            posted = await post(server, 10)
    assert posted[0].tries == 2 and all(p.tries == 1 for p in posted[1:])
    assert max(p.accepted_s - p.due_s for p in posted[1:] if p.accepted_s) < tries_s
    assert asyncio.get_running_loop().time() - began < 2


async def test_each_client_posts_when_its_last_was_answered() -> None:
    """Three clients each have one request at a time. Each body is posted once, and the last answers are waited for."""
    at_once = most = 0

    class Slow(Server):
        async def answered(self, key: str, times: int) -> bytes | None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.05)
            at_once -= 1
            return accepted(key, times)

    endless = ((f"k{n}", {"recipient": {"id": f"k{n}"}}) for n in itertools.count())
    async with Slow(accepted) as server:
        posted = await post_in_turn(server.url, endless, 3, 0.3)
    assert most == 3
    assert 9 <= len(posted) <= 24
    assert {(p.status, p.tries) for p in posted} == {(202, 1)}
    assert list(server.came.values()) == [1] * len(posted)


async def test_clients_end_when_there_is_nothing_more_to_post() -> None:
    bodies = iter([(f"k{n}", {"recipient": {"id": f"k{n}"}}) for n in range(5)])
    async with Server(accepted) as server:
        posted = await asyncio.wait_for(post_in_turn(server.url, bodies, 3, 60.0), 5.0)
    assert [p.status for p in posted] == [202] * 5
