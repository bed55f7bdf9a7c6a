"""A new cell gets the templates of the first cell under the same numbers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.errors import UnavailableError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.copying import TemplateCopying
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.unit.operate.over_cells.two_cells import Silence

PAID = TemplateSource("paid", "first")


class Counting(MemoryTemplateStore):
    """A store that counts how many versions it was given."""

    given = 0

    async def copy(self, source: TemplateSource) -> int | None:
        self.given += 1
        return await super().copy(source)


def test_a_new_cell_gets_what_the_first_cell_has() -> None:
    """The latest versions are copied once with their numbers. Nothing is deleted if the first cell has lost its data,
    and a lower number is not copied afterwards.
    """
    first, store = MemoryTemplateStore(), Counting()
    cache = TemplateCache(store)
    copying = TemplateCopying(cache, first, [])

    async def scene() -> None:
        for source in (PAID, replace(PAID, text="second"), TemplateSource("acme/paid", "own")):
            await first.put(source)
        await copying.copy()
        assert await store.latest() == dict(cache.latest) == {"paid": 2, "acme/paid": 1}
        assert await store.get("paid", 2) == replace(PAID, text="second", version=2)
        first._kept.clear()
        await copying.copy()
        assert await store.latest() == {"paid": 2, "acme/paid": 1}
        await first.put(replace(PAID, text="after the loss"))
        await copying.copy()
        assert await store.latest() == {"paid": 2, "acme/paid": 1}
        assert store.given == 2

    asyncio.run(scene())


def test_a_first_cell_that_is_away_does_not_stop_the_other() -> None:
    """The cell goes on with its own templates. A template of the file that it does not have yet is "being stored"."""
    first, store = Silence(MemoryTemplateStore()), MemoryTemplateStore()
    cache = TemplateCache(store)

    async def scene() -> None:
        await store.put(PAID)
        first.on = True
        await TemplateCopying(cache, first, [PAID, TemplateSource("new", "x")]).copy()

    asyncio.run(scene())
    assert cache.loaded
    assert cache.find(None, "paid") == ("paid", 1)
    with pytest.raises(UnavailableError, match="is being stored"):
        cache.find(None, "new")
