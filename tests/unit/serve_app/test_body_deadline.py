"""A body that arrived in time is read, however late the event loop is."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from serve_app.body_deadline import read_within


async def test_a_late_loop_is_no_slow_client() -> None:
    """A client sends its body at once, and then the loop is blocked for longer than the deadline.

    The body is still read.
    """
    mine, theirs = socket.socketpair()
    with mine, theirs:
        reader, writer = await asyncio.open_connection(sock=mine)
        asyncio.get_running_loop().call_soon(time.sleep, 0.7)
        asyncio.get_running_loop().call_soon(theirs.sendall, b"x" * 20_000)
        assert len(await read_within(reader.readexactly(20_000), 0.5)) == 20_000
        writer.close()


async def test_stalls_while_a_body_drips_do_not_count() -> None:
    """A body comes in pieces, and the event loop stalls between them. Only a short part of each stall counts towards
    the body's deadline, so the body is read.
    """

    async def drip() -> str:
        for _ in range(3):
            await asyncio.sleep(0.05)
            time.sleep(0.4)  # noqa: ASYNC251  # the stall that this test is about
        return "whole"

    assert await read_within(drip(), 0.9) == "whole"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """If a body does not come within the deadline, `TimeoutError` is raised and the reading ends."""
    ended = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    began_s = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await read_within(never(), 0.5)
    await asyncio.wait_for(ended.wait(), 30.0)
    assert 0.45 <= time.monotonic() - began_s < 30.0


async def test_an_error_of_the_body_is_passed_on() -> None:
    async def refused() -> None:
        raise ValueError("too large")

    with pytest.raises(ValueError, match="too large"):
        await read_within(refused(), 0.5)
