"""The template stores: versions, and what the configuration file gave last."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryTemplateStore()
    connection: redis.asyncio.Redis = request.getfixturevalue("redis_client")
    return RedisTemplateStore(connection)


def paid(text: str) -> TemplateSource:
    return TemplateSource("paid", text, "Größe")


async def test_the_same_content_is_the_same_version(store: Any) -> None:
    """Only a change makes a version; the old ones stay as they are."""
    assert [await store.put(paid(text)) for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    assert await store.get("paid", 2) == TemplateSource("paid", "b", "Größe", version=2)
    assert await store.get("paid", 4) is None
    assert await store.latest() == {"paid": 3}


async def test_a_file_given_again_changes_nothing(store: Any) -> None:
    """A version that somebody put since stays, until the file's own text changes."""
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.put(paid("over the API")) == 2
    assert await store.put(paid("one"), by_file=True) == 2
    assert await store.put(paid("two"), by_file=True) == 3
    assert await store.put(paid("two"), by_file=True) == 3
    assert await store.put(paid("one"), by_file=True) == 4
    assert await store.latest() == {"paid": 4}


async def test_a_file_takes_over_a_template_that_was_there(store: Any) -> None:
    """The file takes a template over when it first gives it; equal content makes no version."""
    assert await store.put(paid("one")) == 1
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.put(TemplateSource("other", "x")) == 1
    assert await store.put(TemplateSource("other", "y"), by_file=True) == 2
