"""Tests the connection that all scripts share: each caller gets its own answer or an error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from dispatcher.adapters.redis.script_calls import Client, client

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def impatient(redis_url: str) -> AsyncIterator[Client]:
    found = client(redis_url, timeout_s=3.0)
    yield found
    await found.aclose()


async def serving(serve: Serve) -> tuple[asyncio.Server, Client]:
    """Start a server that runs `serve` for each connection. Return the server and a client of it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, client(f"redis://127.0.0.1:{port}", timeout_s=0.3)


async def logged_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the two CLIENT SETINFO commands that a client sends first."""
    for _ in range(2):
        while not (await reader.readline()).startswith((b"redis-py", b"8.", b"LIB-VER")):
            pass
        writer.write(b"+OK\r\n")


async def test_everybody_gets_his_own_answers(impatient: Client) -> None:
    """400 tasks call at the same time, and some are cancelled. Each other task gets the answers to its own commands."""
    chance = random.Random(7)

    async def one(n: int) -> None:
        await asyncio.sleep(chance.random() * 0.05)
        commands = [("ECHO", f"{n}.{i}") for i in range(n % 4 + 1)]
        replies = await impatient.shared.ask([*commands, ("NOSUCH",)])
        assert replies[:-1] == [text for _, text in commands]
        assert isinstance(replies[-1], ResponseError)

    tasks = [asyncio.create_task(one(n)) for n in range(400)]
    while not all(task.done() for task in tasks):
        tasks[chance.randrange(100)].cancel()
        await asyncio.sleep(0.001)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(e) for e in ended[100:]} == {type(None)}
    assert {type(e) for e in ended[:100]} <= {type(None), asyncio.CancelledError}


async def test_a_silent_server_is_left_although_everybody_lost_patience_before() -> None:
    """The server does not answer, and all callers are cancelled before the time-out of their commands.

    The time-out still ends the connection, so the next caller gets a new one.
    """
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await logged_in(reader, writer)
        silent = connections == 1
        while line := await reader.readline():
            if line == b"PING\r\n" and not silent:
                writer.write(b"+PONG\r\n")
        writer.close()

    server, asking = await serving(serve)
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asking.shared.ask([("PING",)]), 0.05)
    await asyncio.sleep(0.3)
    assert await asyncio.wait_for(asking.shared.ask([("PING",)]), 1) == ["PONG"]
    assert connections == 2
    await asking.aclose()
    server.close()


async def test_a_broken_connection_is_told_to_all_who_wait_and_nothing_is_sent_again() -> None:
    """The connection breaks after three requests arrived. All three callers get ConnectionError, and no request is
    repeated.
    """
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await logged_in(reader, writer)
        while came.count(b"ECHO\r\n") < 3:
            came.append(await reader.readline())
        writer.close()

    server, asking = await serving(serve)
    calls = [asyncio.create_task(asking.shared.ask([("ECHO", str(n))])) for n in range(3)]
    ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 2)
    assert [type(e) for e in ended] == [ConnectionError] * 3
    await asyncio.sleep(0.05)
    assert came.count(b"ECHO\r\n") == 3
    await asking.aclose()
    server.close()


async def test_one_attempt_to_connect_serves_all_who_wait_for_it() -> None:
    """Ten callers wait for a connection to a silent server. One attempt to connect is made, and all fail after one
    time-out.
    """
    took = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal took
        took += 1
        await reader.read()
        writer.close()

    server, asking = await serving(serve)
    began = asyncio.get_running_loop().time()
    calls = [asyncio.create_task(asking.shared.ask([("PING",)])) for _ in range(10)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(e) for e in ended} <= {ConnectionError, TimeoutError}
    assert took == 1
    assert asyncio.get_running_loop().time() - began < 2
    await asking.aclose()
    server.close()


async def test_closing_tells_those_who_wait(impatient: Client) -> None:
    """When the client is closed, a waiting caller gets ConnectionError."""
    await impatient.execute_command("CLIENT", "PAUSE", "100")
    asked = asyncio.create_task(impatient.shared.ask([("INCR", "x")]))
    await asyncio.sleep(0.05)
    await impatient.aclose()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(asked, 1)
    await asyncio.sleep(0.1)
