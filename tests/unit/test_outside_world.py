"""Checks the guard of the folder `tests/unit`: a test that starts a process or a server, or opens Redis, fails."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import redis


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda: subprocess.run([sys.executable, "-c", ""], check=True), id="a process"),
        pytest.param(lambda: os.fork(), id="a fork"),
        pytest.param(lambda: socket.create_server(("127.0.0.1", 0)), id="a server"),
        pytest.param(lambda: asyncio.run(_serve()), id="a server of asyncio"),
        pytest.param(lambda: redis.Redis().ping(), id="Redis"),
    ],
)
def test_a_unit_test_reaches_nothing_outside(step: Callable[[], object]) -> None:
    """Each way to start a process or a server or to open Redis raises AssertionError with the text "a unit test
    may not".
    """
    with pytest.raises(AssertionError, match="a unit test may not"):
        step()


async def _serve() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
