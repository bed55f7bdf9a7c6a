"""The two worlds: every contract test that asks for `world` runs on Redis and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.scripts import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.views import RedisViews
from tests.contract.worlds import World

RETENTION_MS = 60_000


@pytest.fixture
async def redis_world(redis_url: str, redis_client: redis.asyncio.Redis) -> AsyncIterator[World]:
    waiting = client(redis_url, connections_max=2)
    yield World(
        RedisStore(redis_client, waiting, retention_ms=RETENTION_MS),
        RedisControl(redis_client),
        RedisViews(redis_client, retention_ms=RETENTION_MS),
    )
    await waiting.aclose()


@pytest.fixture(params=["redis"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found
