"""Fixtures of the contract tests. A test that asks for `world` runs once on Redis and once on the memory store.

The fixture of the sandbox vendors is here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import redis.asyncio

from cluster.rehearsal.sandbox.__main__ import serve
from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from tests.contract.vendors import Sandbox
from tests.contract.worlds import RETENTION_MS, World
from tests.private_redis import ANSWER_S
from tests.smallest_user import SMALLEST_USER


@pytest.fixture
async def user_url(redis_url: str, redis_client: redis.asyncio.Redis) -> str:
    """Return the URL of the private server for the Redis user with the fewest rights."""
    rules = SMALLEST_USER.rules("secret", (await redis_client.info("server"))["redis_version"])
    await redis_client.execute_command("ACL", "SETUSER", SMALLEST_USER.name, "reset", *rules)
    return redis_url.replace("unix://", f"unix://{SMALLEST_USER.name}:secret@")


@pytest.fixture
async def redis_world(user_url: str) -> AsyncIterator[World]:
    connection, waiting = (client(user_url, timeout_s=ANSWER_S, connections_max=most) for most in (32, 2))
    yield World(
        RedisStore(connection, waiting, retention_ms=RETENTION_MS),
        RedisControl(connection),
        RedisViews(connection, retention_ms=RETENTION_MS),
    )
    await waiting.aclose()
    await connection.aclose()


@pytest.fixture
def memory_world() -> World:
    cell = Cell(SystemClock())
    return World(MemoryStore(cell, RETENTION_MS), MemoryControl(cell), MemoryViews(cell, RETENTION_MS))


@pytest.fixture(params=["redis", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Start the sandbox vendors in this process, without a fault, and yield them."""
    http, smtp, smtp_port = await serve("127.0.0.1", 0, 0, "smtp", latency_ms=1.0)
    async with aiohttp.ClientSession() as session:
        yield Sandbox(f"http://127.0.0.1:{http.port}", smtp_port, session)
    smtp.close()
    http.close()
