"""The template stores: versions, and what the configuration file gave last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.errors import TemplateError
from dispatcher.templates.owned import TemplateQuota, stored_name
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


def of(tenant: str, name: str, text: str) -> TemplateSource:
    return TemplateSource(stored_name(tenant, name), text)


async def test_a_template_of_a_tenant_is_its_own(store: Any) -> None:
    """Two tenants and the common one count their versions apart."""
    assert await store.put(paid("common")) == 1
    assert [await store.put(of("acme", "paid", text)) for text in ("a", "b")] == [1, 2]
    assert await store.put(of("a/b", "paid", "slash")) == 1
    assert await store.latest() == {"paid": 1, "acme/paid": 2, "a/b/paid": 1}
    assert await store.get("acme/paid", 1) == TemplateSource("acme/paid", "a", version=1)


async def test_a_deleted_template_is_kept_for_what_was_accepted(store: Any) -> None:
    """It is no longer the latest of anything; made again, its versions go on, so a number means one text."""
    assert await store.put(of("acme", "paid", "first")) == 1
    assert [await store.delete("acme/paid"), await store.delete("acme/paid")] == [True, False]
    assert await store.latest() == {}
    assert await store.get("acme/paid", 1) == TemplateSource("acme/paid", "first", version=1)
    assert await store.put(of("acme", "paid", "first")) == 2
    assert [(await store.get("acme/paid", v)).text for v in (1, 2)] == ["first", "first"]


async def test_a_file_gives_again_what_was_deleted(store: Any) -> None:
    """The store forgets what the file gave last, together with the template."""
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.delete("paid")
    assert await store.put(paid("one"), by_file=True) == 2


async def test_a_tenant_has_so_many_names(store: Any) -> None:
    """Another tenant and the common templates are not counted; a new version of a known name is no new name."""
    quota = TemplateQuota(2, 10_000)
    await store.put(of("other", "x", "1"), quota=quota)
    await store.put(paid("1"))
    for name in ("x", "y"):
        await store.put(of("acme", name, "1"), quota=quota)
    with pytest.raises(TemplateError, match="may store 2 templates"):
        await store.put(of("acme", "z", "1"), quota=quota)
    assert await store.put(of("acme", "x", "2"), quota=quota) == 2
    assert await store.put(of("acme", "x", "2"), quota=quota) == 2
    await store.delete("acme/y")
    with pytest.raises(TemplateError, match="deleted ones included for 31 days"):
        await store.put(of("acme", "z", "1"), quota=quota)
    assert sorted(await store.latest()) == ["acme/x", "other/x", "paid"]


async def test_a_tenant_may_have_none(store: Any) -> None:
    """A quota of no names refuses the first."""
    with pytest.raises(TemplateError, match="may store 0 templates"):
        await store.put(of("acme", "x", "1"), quota=TemplateQuota(0, 1000))


async def test_a_tenant_has_so_many_bytes(store: Any) -> None:
    """All versions count, for they are kept; what is refused changes nothing."""
    quota = TemplateQuota(10, 350)
    assert await store.put(of("acme", "x", "1" * 100), quota=quota) == 1
    assert await store.put(of("acme", "x", "2" * 100), quota=quota) == 2
    for name in ("x", "y"):
        with pytest.raises(TemplateError, match="may store 350 bytes"):
            await store.put(of("acme", name, "3" * 100), quota=quota)
    assert await store.latest() == {"acme/x": 2}
    assert await store.put(of("other", "x", "3" * 100), quota=quota) == 1


async def test_what_was_deleted_long_ago_is_forgotten_but_its_numbers(store: Any, monkeypatch: Any) -> None:
    """Its texts no longer count, and a name made again has none of the numbers that a dead letter may name."""
    monkeypatch.setattr("dispatcher.templates.store.DELETED_KEPT_MS", 1)
    monkeypatch.setattr("dispatcher.adapters.redis.templates.DELETED_KEPT_MS", 1)
    quota = TemplateQuota(1, 10_000)
    for text in ("1", "2", "3"):
        await store.put(of("acme", "x", text), quota=quota)
    await store.delete("acme/x")
    await asyncio.sleep(0.05)
    assert await store.get("acme/x", 3) is None
    assert await store.put(of("acme", "y", "other"), quota=quota) == 4
    assert await store.latest() == {"acme/y": 4}
    await store.delete("acme/y")
    await asyncio.sleep(0.05)
    assert await store.put(of("acme", "x", "again"), quota=quota) == 5
