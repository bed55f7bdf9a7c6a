"""Tests the two template stores, in memory and on Redis: versions, deletion, quotas, and templates from the
configuration file.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
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
    """A changed text makes a new version, and an equal text makes none. Old versions stay readable."""
    assert [await store.put(paid(text)) for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    assert await store.get("paid", 2) == TemplateSource("paid", "b", "Größe", version=2)
    assert await store.get("paid", 4) is None
    assert await store.latest() == {"paid": 3}


async def test_a_file_given_again_changes_nothing(store: Any) -> None:
    """A version that was put over the API stays the latest while the configuration file is read again unchanged.

    When the template's text in the file changes, the new text becomes the latest version.
    """
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.put(paid("over the API")) == 2
    assert await store.put(paid("one"), by_file=True) == 2
    assert await store.put(paid("two"), by_file=True) == 3
    assert await store.put(paid("two"), by_file=True) == 3
    assert await store.put(paid("one"), by_file=True) == 4
    assert await store.latest() == {"paid": 4}


async def test_a_file_takes_over_a_template_that_was_there(store: Any) -> None:
    """A template was put over the API. Then the configuration file gives a template of the same name.

    The file's template becomes a new version only if its text differs.
    """
    assert await store.put(paid("one")) == 1
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.put(TemplateSource("other", "x")) == 1
    assert await store.put(TemplateSource("other", "y"), by_file=True) == 2


def of(tenant: str, name: str, text: str) -> TemplateSource:
    return TemplateSource(stored_name(tenant, name), text)


async def test_a_template_of_a_tenant_is_its_own(store: Any) -> None:
    """Two tenants and the common templates count their versions separately."""
    assert await store.put(paid("common")) == 1
    assert [await store.put(of("acme", "paid", text)) for text in ("a", "b")] == [1, 2]
    assert await store.put(of("a/b", "paid", "slash")) == 1
    assert await store.latest() == {"paid": 1, "acme/paid": 2, "a/b/paid": 1}
    assert await store.get("acme/paid", 1) == TemplateSource("acme/paid", "a", version=1)


async def test_a_deleted_template_is_kept_for_what_was_accepted(store: Any) -> None:
    """A deleted template is not in `latest`, but its versions are readable. A new template of this name continues its
    numbers.
    """
    assert await store.put(of("acme", "paid", "first")) == 1
    assert [await store.delete("acme/paid"), await store.delete("acme/paid")] == [True, False]
    assert await store.latest() == {}
    assert await store.get("acme/paid", 1) == TemplateSource("acme/paid", "first", version=1)
    assert await store.put(of("acme", "paid", "first")) == 2
    assert [(await store.get("acme/paid", v)).text for v in (1, 2)] == ["first", "first"]


async def test_a_file_gives_again_what_was_deleted(store: Any) -> None:
    """A template of the configuration file is deleted, and then the file gives the same text again. This makes a new
    version.
    """
    assert await store.put(paid("one"), by_file=True) == 1
    assert await store.delete("paid")
    assert await store.put(paid("one"), by_file=True) == 2


async def test_a_tenant_has_so_many_names(store: Any) -> None:
    """A tenant may store a limited number of names. Deleted names count, but versions and other tenants' names
    do not.
    """
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
    """With a quota of 0 templates, the first template is refused."""
    with pytest.raises(TemplateError, match="may store 0 templates"):
        await store.put(of("acme", "x", "1"), quota=TemplateQuota(0, 1000))


async def test_a_tenant_has_so_many_bytes(store: Any) -> None:
    """A tenant may store a limited number of bytes over all versions. A refused text changes nothing."""
    quota = TemplateQuota(10, 350)
    assert await store.put(of("acme", "x", "1" * 100), quota=quota) == 1
    assert await store.put(of("acme", "x", "2" * 100), quota=quota) == 2
    for name in ("x", "y"):
        with pytest.raises(TemplateError, match="may store 350 bytes"):
            await store.put(of("acme", name, "3" * 100), quota=quota)
    assert await store.latest() == {"acme/x": 2}
    assert await store.put(of("other", "x", "3" * 100), quota=quota) == 1


async def test_what_was_deleted_long_ago_is_forgotten_but_its_numbers(store: Any, monkeypatch: Any) -> None:
    """The texts of a template that was deleted long ago are gone and use no quota. A new template gets higher numbers.

    So a number in a dead letter never means another text.
    """
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


async def test_a_version_is_copied_under_its_number(store: Any) -> None:
    """A copied version becomes the latest under the number that another cell gave it. A repeat changes nothing, and a
    later version continues from this number.
    """
    assert await store.copy(replace(paid("a"), version=3)) is None
    assert await store.copy(replace(paid("a"), version=3)) is None
    assert await store.latest() == {"paid": 3}
    assert await store.get("paid", 3) == TemplateSource("paid", "a", "Größe", version=3)
    assert await store.put(paid("a")) == 3
    assert await store.put(paid("b")) == 4


async def test_a_number_never_means_another_text_after_a_copy(store: Any) -> None:
    """A copy is refused if the store gave its number, or a greater one, to another text. A new version can be given a
    number above the greatest, also with an unchanged text.
    """
    for text in ("a", "b"):
        await store.put(paid(text))
    assert await store.copy(replace(paid("other"), version=2)) == 2
    assert await store.copy(replace(paid("other"), version=1)) == 2
    assert await store.copy(replace(paid("a"), version=1)) == 2
    assert await store.latest() == {"paid": 2}
    assert await store.put(paid("b"), above=1) == 2
    assert await store.put(paid("b"), above=6) == 7
    assert await store.put(paid("b"), by_file=True) == 7
    assert await store.put(paid("b"), by_file=True, above=7) == 8


async def test_a_copy_brings_a_deleted_template_back(store: Any) -> None:
    """The bytes of a copied version count for the tenant's quota once."""
    await store.put(of("acme", "x", "1"))
    await store.delete("acme/x")
    copied = replace(of("acme", "x", "2"), version=5)
    assert [await store.copy(copied), await store.copy(copied)] == [None, None]
    assert await store.latest() == {"acme/x": 5}
    sizes = [len(of("acme", "x", text).canonical().encode()) for text in ("1", "2", "3")]
    with pytest.raises(TemplateError, match="bytes"):
        await store.put(of("acme", "x", "3"), quota=TemplateQuota(5, sum(sizes) - 1))
    assert await store.put(of("acme", "x", "3"), quota=TemplateQuota(5, sum(sizes))) == 6
